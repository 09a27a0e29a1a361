"""All members of a group stand still at the same time, and all of them are still there.

One member hangs by itself, one record stops one partition. What stops everybody at once is
something they share: the database or the service that they write to, or call for each record.

Facts    ListGroups (state), DescribeGroups (members), OffsetFetch, ListOffsets with the LSO, over a window
Units    records are counted; s = age of the next unread record, and how long no offset moved
Source   Kafka documentation, "Consumer Configs": auto.commit.interval.ms, max.poll.interval.ms
Blind    what they write to; members that commit more seldom than every 15 s (unless --history shows it); share groups
"""

from collections.abc import Iterator

from msgspec import Struct

from diag.analysis.outage import outage
from diag.analysis.progress import group_courses
from diag.checks.kafka_lag._members import show_members
from diag.checks.kafka_lag._next_steps import look_at_group
from diag.checks.kafka_lag._outage_words import causes_excluded_for, evidence_of, look_behind, who_stands_still
from diag.findings import Basis, Check, Finding, Severity, Subject
from diag.snapshots.base import Window
from diag.snapshots.kafka import KafkaHistory, KafkaLag


class Facts(Struct, frozen=True, kw_only=True):
    """What it judges: the window, and the past where it was asked for."""

    window: Window[KafkaLag]
    history: KafkaHistory | None


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a pause is a standstill."""

    observed_for_s: float = 15.0  # three auto.commit.interval.ms of 5 s without a commit
    late_s: float = 30.0  # a fraud check or a notification is late for the person waiting
    critical_s: float = 60.0  # nobody reads at all: as bad as a group without members
    together_s: float = 15.0  # three commit intervals: what stops at once looks that far apart


def judge(facts: Facts, limits: Limits) -> Iterator[Finding]:
    """Find groups in which nobody moves although records wait."""
    frame = facts.window.last
    spans = {"observed_for_s": limits.observed_for_s, "late_s": limits.late_s, "together_s": limits.together_s}
    for group in group_courses(facts.window, facts.history):
        still, name = outage(group, frame, **spans), group.group.group
        if still is None:
            continue
        topics = {course.on.topic for course in still.waiting}
        yield Finding(
            severity=Severity.CRITICAL if (still.lag_s or 0.0) >= limits.critical_s else Severity.WARNING,
            basis=Basis.HYPOTHESIS if still.can_be_one_reader else Basis.DERIVED,
            subject=Subject(group=name, topic=min(topics) if len(topics) == 1 else None),
            summary=who_stands_still(name, still),
            evidence=tuple(evidence_of(still)),
            ruled_out=tuple(causes_excluded_for(still, frame)),
            steps=(*look_at_group(name), show_members(frame.target, name), look_behind(name, still)),
        )


CHECK = Check(
    title="All members of a group stand still",
    facts=Facts,
    needs=("groups", "members", "commits", "log_ends", "leaderless", "transactions"),
    limits=Limits(),
    judge=judge,
    # idle members are no cause where those that own partitions do not move either
    explains=("kafka-lag/time-lag", "kafka-lag/under-capacity", "kafka-lag/idle-members"),
)
