"""A consumer group has no members, and what it should read piles up.

Nobody is slow: nobody is there. The coordinator still keeps the group's offsets, so the
group looks alive in every list that shows offsets only.

Facts    ListGroups (state), OffsetFetch, then ListOffsets of the ends, and by timestamp for the age
Units    lag counts records; s = age of the oldest record nobody has read
Source   Kafka documentation, group states; offsets.retention.minutes (7 d by default)
Blind    readers that assign partitions by hand and commit: their group is Empty too
"""

from collections.abc import Iterator
from datetime import timedelta

from msgspec import Struct

from diag.analysis.consumer_lag import TopicLag, topic_lags
from diag.checks.kafka_lag._next_steps import look_at_group
from diag.findings import Basis, Check, Evidence, Finding, Phrase, Quantity, Risk, Severity, Step, Subject, say
from diag.snapshots.base import Window
from diag.snapshots.kafka import KafkaLag


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When an empty group is an incident and not a leftover."""

    lag_records: int = 1  # one unread record is one message that nobody will handle
    critical_s: float = 60.0  # longer than a rolling restart leaves a group empty
    abandoned_s: float = 604_800.0  # 7 d: offsets.retention.minutes, after which the broker forgets it


def judge(window: Window[KafkaLag], limits: Limits) -> Iterator[Finding]:
    """Find groups with unread records and nobody to read them."""
    for lag in topic_lags(window):
        late_s = lag.lag_s or 0.0
        if lag.group.state not in ("Empty", "Dead") or lag.lag_records < limits.lag_records:
            continue
        moved = lag.consume_per_s is not None and lag.consume_per_s > 0
        if late_s >= limits.abandoned_s or moved:
            continue
        yield Finding(
            severity=Severity.CRITICAL if late_s >= limits.critical_s else Severity.WARNING,
            basis=Basis.OBSERVED,
            subject=Subject(group=lag.group.group, topic=lag.topic),
            summary=say(
                "group {group} has no members; {records} of {topic} wait, {age}",
                group=lag.group.group,
                records=Quantity(lag.lag_records, "records"),
                topic=lag.topic,
                age=_age(window, lag),
            ),
            evidence=(
                Evidence(name="state of the group", value=lag.group.state, source="ListGroups"),
                Evidence(name="lag", value=Quantity(lag.lag_records, "records"), source="OffsetFetch, ListOffsets"),
                *_rates(lag),
            ),
            ruled_out=(say("slow consumers: there are none"),),
            steps=(
                *look_at_group(lag.group.group),
                Step(
                    title=say("Start the consumers of {group} again; change no offset", group=lag.group.group),
                    risk=Risk.REVERSIBLE,
                    expect=say("the state becomes Stable and the committed offsets move on from where they stopped"),
                ),
            ),
        )


def _age(window: Window[KafkaLag], lag: TopicLag) -> Phrase:
    if lag.lag_s is None:
        return say("since when is unknown")
    since = window.last.observed_at - timedelta(seconds=lag.lag_s)
    return say("the oldest written {ago} ago, at {since}", ago=Quantity(lag.lag_s, "s"), since=since)


def _rates(lag: TopicLag) -> Iterator[Evidence]:
    if lag.growth_per_s is not None:
        yield Evidence(
            name="lag grows each second by", value=Quantity(lag.growth_per_s, "records"), source="ListOffsets"
        )


CHECK = Check(
    title="Consumer group without members",
    facts=Window[KafkaLag],
    needs=("groups", "commits", "log_ends"),
    limits=Limits(),
    judge=judge,
    explains=("kafka-lag/time-lag",),
)
