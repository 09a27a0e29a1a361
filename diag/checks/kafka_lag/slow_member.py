"""One member is late on all its partitions, and the others keep up with as much.

The partitions are alike, so it is the member: its host, its neighbours there, its way to what it
writes to. More members do not help it, since its partitions have no other reader.

Facts    ListGroups (state), DescribeGroups (members, hosts), OffsetFetch, ListOffsets over a window
Units    s = age of the next unread record; rates are records a second; the lag's own: records over age
Source   Kafka documentation, "Consumers": one reader for each partition in a group
Blind    records that take longer on some partitions; members of share groups; what the host does
"""

from collections.abc import Iterator

from msgspec import Struct

from diag.analysis.progress import group_courses
from diag.analysis.slow_members import drain_s, slow_members
from diag.checks.kafka_lag._members import show_members
from diag.checks.kafka_lag._next_steps import look_at_group
from diag.checks.kafka_lag._slow_member_words import causes_excluded_for, evidence_of, how_it_reads, steps_for
from diag.findings import Basis, Check, Finding, Quantity, Severity, Subject, say
from diag.snapshots.base import Window
from diag.snapshots.kafka import KafkaLag


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a member stands out."""

    late_s: float = 30.0  # a fraud check or a notification is late for the person waiting
    critical_s: float = 300.0  # five minutes late: they have lost their point
    near_s: float = 10.0  # two auto.commit.interval.ms of 5 s: as far behind looks who keeps up
    near_ratio: float = 0.1  # or a tenth of what the late one has: another order of magnitude
    skew_ratio: float = 1.5  # members differ by one partition of two or three; more is a hot partition
    moves_s: float = 15.0  # three commit intervals: shorter windows do not tell whether it reads
    catch_up_s: float = 600.0  # 10 min: who has read that up by then was away, and is not slow


def judge(window: Window[KafkaLag], limits: Limits) -> Iterator[Finding]:
    """Find members that are late where the others of their group are not."""
    alike = {"near_s": limits.near_s, "near_ratio": limits.near_ratio, "skew_ratio": limits.skew_ratio}
    for group in group_courses(window):
        name = group.group.group
        for slow in slow_members(group, late_s=limits.late_s, **alike):
            if drain_s(slow, limits.moves_s) <= limits.catch_up_s:
                continue
            yield Finding(
                severity=Severity.CRITICAL if slow.lag_s >= limits.critical_s else Severity.WARNING,
                basis=Basis.DERIVED,
                subject=Subject(group=name, topic=slow.topic, member=slow.member.client_id, host=slow.member.host),
                summary=say(
                    "{member} of group {group} on {host} is {late} behind on {topic}, the others at most {near}; {how}",
                    member=slow.member.client_id,
                    group=name,
                    host=slow.member.host,
                    late=Quantity(slow.lag_s, "s"),
                    topic=slow.topic,
                    near=Quantity(slow.others_lag_s, "s"),
                    how=how_it_reads(slow, limits.moves_s),
                ),
                evidence=tuple(evidence_of(slow)),
                ruled_out=tuple(causes_excluded_for(slow)),
                steps=(*look_at_group(name), show_members(window.last.target, name), *steps_for(slow)),
            )


CHECK = Check(
    title="One slow member",
    facts=Window[KafkaLag],
    needs=("groups", "members", "commits", "log_ends", "record_times"),
    limits=Limits(),
    judge=judge,
    # idle members are no cause where the others keep up
    explains=("kafka-lag/time-lag", "kafka-lag/under-capacity", "kafka-lag/idle-members"),
    min_frames=2,
)
