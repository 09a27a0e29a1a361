"""A group is late while some of its members own no partition: as it is set up, more members do not help.

A partition has one reader in a group, so members beyond the number of partitions are idle. An
assignor can leave more of them idle: "range" deals out each topic anew, from the same first member on.

Facts    ListGroups (state), DescribeGroups (members, assignments), OffsetFetch, ListOffsets
Units    members and partitions are counted; s = age of the next unread record
Source   Kafka documentation, partition.assignment.strategy; RangeAssignor Javadoc; KIP-848
Blind    members that subscribe to other topics on purpose; share groups, whose members share partitions
"""

from collections.abc import Iterator

from msgspec import Struct

from diag.analysis.progress import GroupCourse, group_courses
from diag.analysis.workload import idle_members, is_late
from diag.checks.kafka_lag._idle_words import busy_again, why_idle
from diag.checks.kafka_lag._members import show_members
from diag.checks.kafka_lag._next_steps import look_at_group
from diag.findings import Basis, Check, Evidence, Finding, Quantity, Severity, Subject, say
from diag.snapshots.base import Window
from diag.snapshots.kafka import KafkaLag


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When idle members are worth a word: spares of a group that keeps up are fine."""

    late_s: float = 30.0  # later than this somebody waits, and may be about to add members


def judge(window: Window[KafkaLag], limits: Limits) -> Iterator[Finding]:
    """Find late groups in which some members own nothing."""
    for group in group_courses(window):
        idle, late = idle_members(group, window), [one for one in group.courses if is_late(one, limits.late_s)]
        ages_s = [one.row.lag_s or 0.0 for one in late if one.member]
        if idle and ages_s:
            yield _finding(window, group, len(idle), max(ages_s))


def _finding(window: Window[KafkaLag], group: GroupCourse, idle: int, late_s: float) -> Finding:
    name, members = group.group.group, group.group.members or ()
    owned = {on for member in members for on in member.assigned}
    topics = {on.topic for on in owned}
    spread = min(len(members), len(owned)) - (len(members) - idle)  # idle members that could own something
    numbers = {"members": len(members), "idle members": idle, "partitions": len(owned), "topics": len(topics)}
    counted = (Evidence(name=noun, value=number, source="DescribeGroups") for noun, number in numbers.items())
    return Finding(
        severity=Severity.WARNING,
        basis=Basis.OBSERVED,
        subject=Subject(group=name, topic=min(topics) if len(topics) == 1 else None),
        summary=say(
            "group {group} is {late} behind, and {idle} of its {members} own none of its {partitions}: {why}",
            group=name,
            late=Quantity(late_s, "s"),
            idle=idle,
            members=Quantity(len(members), "members"),
            partitions=Quantity(len(owned), "partitions"),
            why=why_idle(group.group, spread),
        ),
        evidence=(
            Evidence(name="time lag", value=Quantity(late_s, "s"), source="record at the committed offset"),
            *counted,
            Evidence(name="assignor", value=group.group.assignor, source="DescribeGroups"),
        ),
        ruled_out=(say("too few members: {idle} have nothing to do", idle=Quantity(idle, "members")),),
        steps=(*look_at_group(name), show_members(window.last.target, name), busy_again(group.group, spread)),
    )


CHECK = Check(
    title="Idle members of a late group",
    facts=Window[KafkaLag],
    needs=("groups", "members", "commits", "log_ends", "record_times"),
    limits=Limits(),
    judge=judge,
    explains=("kafka-lag/time-lag", "kafka-lag/under-capacity"),
)
