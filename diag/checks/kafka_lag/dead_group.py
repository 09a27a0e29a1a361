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
from diag.checks.kafka_lag._next_steps import look_at_group, start_consumers
from diag.findings import Basis, Check, Evidence, Finding, Phrase, Quantity, Severity, Subject, say
from diag.snapshots.base import Window
from diag.snapshots.kafka import KafkaLag
from diag.text import ServerText


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When an empty group is an incident and not a leftover."""

    lag_records: int = 1  # one unread record is one message that nobody will handle
    critical_s: float = 60.0  # longer than a rolling restart leaves a group empty
    abandoned_s: float = 604_800.0  # 7 d: offsets.retention.minutes, after which the broker forgets it


def judge(window: Window[KafkaLag], limits: Limits) -> Iterator[Finding]:
    """Find groups with unread records and nobody to read them."""
    dead: dict[ServerText, list[TopicLag]] = {}
    for lag in topic_lags(window):
        moved = lag.consume_per_s is not None and lag.consume_per_s > 0
        if lag.group.state not in ("Empty", "Dead") or lag.lag_records < limits.lag_records or moved:
            continue
        if (lag.lag_s or 0.0) < limits.abandoned_s:
            dead.setdefault(lag.group.group, []).append(lag)
    yield from (_finding(window, group, lags, limits) for group, lags in dead.items())


def _finding(window: Window[KafkaLag], group: ServerText, lags: list[TopicLag], limits: Limits) -> Finding:
    records = Quantity(sum(lag.lag_records for lag in lags), "records")
    late_s = max((lag.lag_s for lag in lags if lag.lag_s is not None), default=None)
    alone = lags[0].topic if len(lags) == 1 else None
    return Finding(
        severity=Severity.CRITICAL if (late_s or 0.0) >= limits.critical_s else Severity.WARNING,
        basis=Basis.OBSERVED,
        subject=Subject(group=group, topic=alone),
        summary=say(
            "group {group} has no members; {records} of {topics} wait, {age}",
            group=group,
            records=records,
            topics=alone or Quantity(len(lags), "topics"),
            age=_age(window, late_s),
        ),
        evidence=(
            Evidence(name="state of the group", value=lags[0].group.state, source="ListGroups"),
            Evidence(name="lag", value=records, source="OffsetFetch, ListOffsets"),
            *_rates(lags),
        ),
        ruled_out=(say("slow consumers: there are none"),),
        steps=(*look_at_group(group), start_consumers(group)),
    )


def _age(window: Window[KafkaLag], late_s: float | None) -> Phrase:
    if late_s is None:
        return say("since when is unknown")
    since = window.last.observed_at - timedelta(seconds=late_s)
    return say("the oldest written {ago} ago, at {since}", ago=Quantity(late_s, "s"), since=since)


def _rates(lags: list[TopicLag]) -> Iterator[Evidence]:
    known = [lag.growth_per_s for lag in lags if lag.growth_per_s is not None]
    if len(known) == len(lags):
        yield Evidence(name="lag grows each second by", value=Quantity(sum(known), "records"), source="ListOffsets")


CHECK = Check(
    title="Consumer group without members",
    facts=Window[KafkaLag],
    needs=("groups", "commits", "log_ends"),
    limits=Limits(),
    judge=judge,
    explains=("kafka-lag/time-lag",),
)
