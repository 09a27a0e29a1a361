"""Members of a group come and go again, and none of them gets past one offset of one partition.

A member reads to one record and dies; its partition goes to the next member, or to the same one
restarted, which reads the same record. At each death all partitions of the group pause.

Facts    ListGroups, DescribeGroups, OffsetFetch, then ListOffsets; generations from the history
Units    s; offsets as committed (the next record to read); a change is one of the membership
Source   Kafka documentation, session.timeout.ms, "Consumer Position"; KIP-848 (group epoch)
Blind    whether a member died or was expelled in a long poll: its log tells; two records at once
"""

from collections.abc import Iterator

from msgspec import Struct

from diag.analysis.frozen_partitions import FrozenPartitions, is_all_there_is
from diag.analysis.progress import group_courses
from diag.analysis.turnover import Turnover, loop
from diag.checks.kafka_lag._record import Frozen, evidence, not_kafka, steps
from diag.checks.kafka_lag._turnover import not_a_deployment, pace
from diag.findings import Basis, Check, Finding, Quantity, Severity, Subject, say
from diag.snapshots.base import Window
from diag.snapshots.kafka import KafkaHistory, KafkaLag


class Facts(Struct, frozen=True, kw_only=True):
    """What it judges: the window, and the past where it was asked for."""

    window: Window[KafkaLag]
    history: KafkaHistory | None


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How often members have to change, and how long the offset has to stand meanwhile."""

    observed_for_s: float = 15.0  # three auto.commit.interval.ms of 5 s: commits come in steps
    changes: int = 3  # one member replaced by another makes two
    many: int = 12  # changes after which a partition that is behind has had its turn in some life, too
    recent_s: float = 1_800.0  # 30 min: a loop at the default max.poll.interval.ms changes six times in it
    late_s: float = 30.0  # a record nobody handles for half a minute holds up whoever waits for the next


def judge(facts: Facts, limits: Limits) -> Iterator[Finding]:
    """Find partitions that stand through a membership that does not come to rest."""
    window, history, now = facts.window, facts.history, facts.window.last
    for group in group_courses(window, history):
        turnover = loop(group, window, history, changes=limits.changes, recent_s=limits.recent_s)
        if turnover is None:
            continue
        still = FrozenPartitions(group, window, for_s=limits.observed_for_s, late_s=limits.late_s)
        for course in still.standing:
            since = sum((now.observed_at - at).total_seconds() <= course.still_s for at in group.changed_at)
            moving = still.moving_beside(course, group.courses, course.still_s, may_be_behind=since >= limits.many)
            if since >= limits.changes and (moving or is_all_there_is(group, course)):
                frozen = Frozen(course=course, now=now, since_s=course.still_s, moving=len(moving))
                yield _finding(frozen, turnover)


def _finding(frozen: Frozen, turnover: Turnover) -> Finding:
    course = frozen.course
    return Finding(
        severity=Severity.CRITICAL,
        basis=Basis.DERIVED,
        subject=Subject(group=course.group.group, topic=course.on.topic, partition=course.on.partition),
        summary=say(
            "members of group {group} come and go, {changes} in {span}, and none gets past offset {offset} of {topic}, "
            "partition {partition}; {records} wait behind it",
            **frozen.named,
            changes=Quantity(len(turnover.changes), "changes"),
            span=Quantity(turnover.span_s, "s"),
            records=Quantity(course.lag_records, "records"),
        ),
        evidence=(*pace(turnover), *evidence(frozen)),
        ruled_out=(*not_a_deployment(turnover), *not_kafka(course)),
        steps=steps(frozen),
    )


_EXPLAINS = (
    *("stalled-partition", "rebalance-loop", "downstream-outage", "under-capacity", "time-lag", "slow-member"),
    "dead-group",  # between two lives a group is empty
)
CHECK = Check(
    title="Members die at one offset, again and again",
    facts=Facts,
    needs=("groups", "commits", "log_ends", "members", "record_times"),
    limits=Limits(),
    judge=judge,
    explains=tuple(f"kafka-lag/{name}" for name in _EXPLAINS),
)
