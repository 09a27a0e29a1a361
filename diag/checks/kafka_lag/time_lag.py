"""A consumer group is behind by more seconds than its readers can bear.

Records tell how much is left, seconds tell how late it is. A thousand records are nothing
for one topic and an hour for another, so the limit is on the age of the next record to read.

Facts    ListGroups, OffsetFetch, then ListOffsets of the ends, and by timestamp for the age
Units    s = age of the next unread record by its own timestamp; lag counts records
Source   Kafka documentation, "Monitoring"; message.timestamp.type says whose clock it is
Blind    CreateTime is the producer's clock: old records that were written late look late;
         out of order, the age is that of the newest record so far (understated, never overstated)
"""

from collections.abc import Iterator

from msgspec import Struct

from diag.analysis.consumer_lag import TopicLag, topic_lags
from diag.analysis.group_lags import group_rows
from diag.checks.kafka_lag._next_steps import look_at_group
from diag.checks.kafka_lag._readers import reads
from diag.checks.kafka_lag._trend import trend
from diag.findings import Basis, Check, Evidence, Finding, Phrase, Quantity, Severity, Subject, say
from diag.snapshots.base import Window
from diag.snapshots.kafka import KafkaLag
from diag.text import ServerText


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How late is late."""

    warning_s: float = 30.0  # later than this, a fraud check or a notification is late for the person waiting
    abandoned_s: float = 604_800.0  # 7 d without members: offsets.retention.minutes, a leftover and not a lag
    critical_s: float = 300.0  # five minutes late: notifications and fraud checks have lost their point


def judge(window: Window[KafkaLag], limits: Limits) -> Iterator[Finding]:
    """Find groups whose next unread record on some topic is too old."""
    rows = {(row.group, row.topic): row for row in group_rows(window)}
    for lag in topic_lags(window):
        if lag.lag_s is None or lag.lag_s < limits.warning_s:
            continue
        left_over = lag.group.state == "Empty" and lag.lag_s >= limits.abandoned_s
        if left_over or (lag.group.state == "Stable" and reads(lag.group, lag.topic) is False):
            continue
        behind = [row for row in lag.rows if row.lag_s is not None and row.lag_s >= limits.warning_s]
        yield Finding(
            severity=Severity.CRITICAL if lag.lag_s >= limits.critical_s else Severity.WARNING,
            basis=Basis.OBSERVED,
            subject=Subject(group=lag.group.group, topic=lag.topic),
            summary=say(
                "group {group} is {late} behind on {topic}: {records} to read, {trend}",
                group=lag.group.group,
                late=Quantity(lag.lag_s, "s"),
                topic=lag.topic,
                records=Quantity(lag.lag_records, "records"),
                trend=trend(lag, rows.get((lag.group.group, lag.topic))),
            ),
            evidence=(
                Evidence(name="lag", value=Quantity(lag.lag_records, "records"), source="OffsetFetch, ListOffsets"),
                Evidence(name="time lag", value=Quantity(lag.lag_s, "s"), source="ListOffsets by timestamp"),
                Evidence(name="worst partition", value=lag.worst.partition, source="OffsetFetch, ListOffsets"),
                Evidence(name="late partitions", value=len(behind), source="ListOffsets by timestamp"),
                Evidence(name="state of the group", value=lag.group.state, source="ListGroups"),
                *_clock(window, lag.topic),
            ),
            ruled_out=_ruled_out(lag),
            steps=look_at_group(lag.group.group),
        )


def _clock(window: Window[KafkaLag], topic: ServerText) -> Iterator[Evidence]:
    kinds = [one.timestamp_type for one in window.last.topics if one.topic == topic and one.timestamp_type]
    yield from (Evidence(name="timestamps", value=kind, source="message.timestamp.type") for kind in kinds)


def _ruled_out(lag: TopicLag) -> tuple[Phrase, ...]:
    if not lag.group.members:
        return ()
    return (say("a group without members: it has {n}", n=Quantity(len(lag.group.members), "members")),)


CHECK = Check(
    title="Time lag over the limit",
    facts=Window[KafkaLag],
    needs=("groups", "commits", "log_ends", "record_times"),
    limits=Limits(),
    judge=judge,
)
