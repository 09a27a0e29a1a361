"""One partition's committed offset is frozen before a record, and its member's other partitions move.

The member lives, polls and commits, so no list of groups shows anything: it retries one record
for ever, or has lost the worker of that partition. A restart reads the same record again.

Facts    ListGroups, DescribeGroups, OffsetFetch, then ListOffsets; the history where asked for
Units    s; offsets as committed (the next record to read); lag counts records
Source   Kafka documentation, "Consumer Position"; KIP-41 for readers that take partitions in turns
Blind    share groups; one partition that moves, but is behind itself, beside one that stands
"""

from collections.abc import Iterator
from datetime import timedelta

from msgspec import Struct

from diag.analysis.frozen_partitions import FrozenPartitions, members_others
from diag.analysis.progress import Course, group_courses
from diag.checks.kafka_lag._record import Frozen, evidence, not_kafka, steps
from diag.findings import Basis, Check, Finding, Quantity, Severity, Subject, say
from diag.snapshots.base import Window
from diag.snapshots.kafka import KafkaHistory, KafkaLag


class Facts(Struct, frozen=True, kw_only=True):
    """What it judges: the window, and the past where it was asked for."""

    window: Window[KafkaLag]
    history: KafkaHistory | None


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long a partition has to stand, and before how old a record."""

    observed_for_s: float = 15.0  # three auto.commit.interval.ms of 5 s: commits come in steps
    late_s: float = 30.0  # a record that takes half a minute holds up whoever waits for the next
    critical_s: float = 300.0  # max.poll.interval.ms: no healthy member takes longer for all records of a poll


def judge(facts: Facts, limits: Limits) -> Iterator[Finding]:
    """Find partitions that stand in a group at rest, while comparable partitions move."""
    now = facts.window.last
    for group in group_courses(facts.window, facts.history):
        if group.group.state != "Stable" or group.group.protocol == "share":
            continue
        at_rest_s = min(((now.observed_at - at).total_seconds() for at in group.changed_at), default=float("inf"))
        still = FrozenPartitions(group, facts.window, for_s=limits.observed_for_s, late_s=limits.late_s)
        for course in still.standing:
            since_s, own = min(course.still_s, at_rest_s), members_others(group, course)
            moving = still.moving_beside(course, own or group.courses, since_s)
            if course.member is not None and since_s >= limits.observed_for_s and moving:
                yield _finding(Frozen(course=course, now=now, since_s=since_s, moving=len(moving)), own, limits)


def _finding(frozen: Frozen, own: tuple[Course, ...], limits: Limits) -> Finding:
    course = frozen.course
    hangs = (say("a member that hangs: it reads on from {n} other partitions", n=frozen.moving),) if own else ()
    return Finding(
        severity=Severity.CRITICAL if (course.row.lag_s or 0.0) >= limits.critical_s else Severity.WARNING,
        basis=Basis.OBSERVED,
        subject=Subject(group=course.group.group, topic=course.on.topic, partition=course.on.partition),
        summary=say(
            "group {group} stands at offset {offset} of {topic}, partition {partition}, since {since} or before; "
            "{records} wait there, while other partitions move",
            **frozen.named,
            since=frozen.now.observed_at - timedelta(seconds=frozen.since_s),
            records=Quantity(course.lag_records, "records"),
        ),
        evidence=evidence(frozen),
        ruled_out=(
            *hangs,
            say("a rebalance: the group is Stable, with the same members since then"),
            *not_kafka(course),
        ),
        steps=steps(frozen),
    )


CHECK = Check(
    title="One partition stands still while others move",
    facts=Facts,
    needs=("groups", "commits", "log_ends", "members", "record_times"),
    limits=Limits(),
    judge=judge,
    explains=("kafka-lag/time-lag", "kafka-lag/slow-member"),
)
