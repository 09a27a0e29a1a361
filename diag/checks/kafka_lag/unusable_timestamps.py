"""Records are dated ahead of the clock: how late a group is there, in seconds, cannot be said.

One producer with a wrong clock is enough. Kafka keeps what it says, unless the topic stamps
records itself or refuses dates too far ahead. Lag in records is right all the same.

Facts    OffsetFetch, ListOffsets by timestamp: the newest date up to the next unread record; DescribeConfigs
Units    s between that date and now
Source   message.timestamp.type, message.timestamp.after.max.ms (KIP-32, KIP-937, KIP-1030)
Blind    dates too old, and dates ahead that are past by now, look like any others
"""

from collections.abc import Iterator
from itertools import groupby

from msgspec import Struct

from diag.analysis.consumer_lag import partition_rows
from diag.checks.kafka_lag._readers import by_person, kafka_tool, look
from diag.findings import Basis, Check, Evidence, Finding, Quantity, Risk, Severity, Subject, say
from diag.snapshots.base import Window
from diag.snapshots.kafka import KafkaLag, TimestampType


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How far ahead a date may be."""

    ahead_s: float = 5.0  # clocks kept by NTP differ by far less; a time lag is told in seconds, not below
    named: int = 10  # groups; more names do not help to find the producer


_SETTINGS = ("--describe", "--all", "--entity-type=topics")
_WHOSE = {
    None: "producers or brokers",
    TimestampType.CREATE_TIME: "its producers",
    TimestampType.LOG_APPEND_TIME: "the brokers",
}


def judge(window: Window[KafkaLag], limits: Limits) -> Iterator[Finding]:
    """Find partitions on which the next record, or one before it, is dated ahead of now."""
    now = window.last
    stamped = {one.topic: one.timestamp_type for one in now.topics}
    dated = [
        (row, (row.record_at - now.observed_at).total_seconds()) for row in partition_rows(window) if row.record_at
    ]
    ahead = sorted((pair for pair in dated if pair[1] > limits.ahead_s), key=lambda pair: pair[0].topic)
    for topic, found in groupby(ahead, key=lambda pair: pair[0].topic):
        rows = tuple(found)
        numbers, groups = sorted({row.partition for row, _ in rows}), sorted({row.group for row, _ in rows})
        worst, ahead_s = max(rows, key=lambda pair: pair[1])
        kind = stamped.get(topic)
        yield Finding(
            severity=Severity.WARNING,
            basis=Basis.OBSERVED,
            subject=Subject(topic=topic, partition=numbers[0] if len(numbers) == 1 else None),
            summary=say(
                "records of {topic} are dated up to {ahead} ahead: no time lag on {partitions}, read by {groups}",
                topic=topic,
                ahead=Quantity(ahead_s, "s"),
                partitions=Quantity(len(numbers), "partitions"),
                groups=Quantity(len(groups), "groups"),
            ),
            evidence=(
                Evidence(name="newest date", value=worst.record_at or now.observed_at, source="ListOffsets"),
                Evidence(name="partitions", value=", ".join(map(str, numbers[: limits.named])), source="ListOffsets"),
                Evidence(name="timestamp type", value=kind or "not told", source="DescribeConfigs"),
                *(Evidence(name="group", value=name, source="OffsetFetch") for name in groups[: limits.named]),
            ),
            steps=(
                look(
                    say("See whose clock it is, and how far ahead the topic lets a date be"),
                    kafka_tool("kafka-configs.sh", now.target, *_SETTINGS, ("--entity-name=", topic)),
                    say("message.timestamp.type; message.timestamp.after.max.ms, 1 h by default from 4.0 on"),
                ),
                by_person(
                    say("Set the clocks of {whose} right, which are ahead of ours", whose=_WHOSE[kind]),
                    Risk.REVERSIBLE,
                    say("new records are dated right; there is a time lag again once the old ones are past"),
                ),
            ),
        )


CHECK = Check(
    title="Timestamps ahead of the clock",
    facts=Window[KafkaLag],
    needs=("groups", "commits", "log_ends", "record_times"),
    limits=Limits(),
    judge=judge,
)
