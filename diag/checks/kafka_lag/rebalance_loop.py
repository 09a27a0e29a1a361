"""The membership of a group does not come to rest: members come and go, and each time all partitions pause.

Often a member takes longer for the records of one poll than max.poll.interval.ms, is expelled,
comes back, and reads the same records again. Members that crash or miss heartbeats do it, too.

Facts    ListGroups, DescribeGroups (members, state, epoch) frame by frame; generations from the history
Units    s; a change is a new set of members, a new epoch or generation, or a rebalance under way
Source   Kafka documentation, max.poll.interval.ms, max.poll.records; KIP-62, KIP-848
Blind    why members go: their own logs tell; without history, a loop slower than the window
"""

from collections.abc import Iterator

from msgspec import Struct

from diag.analysis.progress import GroupCourse, group_courses
from diag.analysis.turnover import Turnover, loop
from diag.checks.kafka_lag._turnover import not_a_deployment, pace, poll_evidence, polls_of, steps
from diag.findings import Basis, Check, Evidence, Finding, Quantity, Severity, Subject, say
from diag.snapshots.base import Target, Window
from diag.snapshots.kafka import KafkaHistory, KafkaLag


class Facts(Struct, frozen=True, kw_only=True):
    """What it judges: the window, and the past where it was asked for."""

    window: Window[KafkaLag]
    history: KafkaHistory | None


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many changes are a loop, and how long members may take for a poll."""

    observed_for_s: float = 15.0  # three auto.commit.interval.ms of 5 s: what stands still shows, too
    changes: int = 3  # one member replaced by another makes two
    recent_s: float = 1_800.0  # 30 min: a loop at the default max.poll.interval.ms changes six times in it
    max_poll_records: int = 500  # the default; brokers do not know what the members have set
    poll_interval_s: float = 300.0  # the default max.poll.interval.ms, where no history tells the members' own


def judge(facts: Facts, limits: Limits) -> Iterator[Finding]:
    """Find groups with something to read whose membership does not come to rest."""
    window, history = facts.window, facts.history
    for group in group_courses(window, history):
        turnover = loop(group, window, history, changes=limits.changes, recent_s=limits.recent_s)
        if turnover is not None:
            yield _finding(group, turnover, limits, window.last.target)


def _finding(group: GroupCourse, turnover: Turnover, limits: Limits, target: Target) -> Finding:
    name = group.group.group
    moved = sum(one.still_s < turnover.span_s and bool(one.consume_per_s) for one in group.courses)
    polls = polls_of(group, limits.max_poll_records, limits.poll_interval_s)
    return Finding(
        severity=Severity.WARNING if moved else Severity.CRITICAL,
        basis=Basis.OBSERVED,
        subject=Subject(group=name),
        summary=say(
            "the members of group {group} changed {n} times in {span} and do not come to rest; {records} wait",
            group=name,
            n=len(turnover.changes),
            span=Quantity(turnover.span_s, "s"),
            records=Quantity(sum(one.lag_records for one in group.courses), "records"),
        ),
        evidence=(
            *pace(turnover),
            Evidence(name="state of the group", value=group.group.state, source="ListGroups"),
            Evidence(name="partitions that moved", value=moved, source="OffsetFetch"),
            *poll_evidence(polls),
        ),
        ruled_out=tuple(not_a_deployment(turnover)),
        steps=steps(target, name, polls),
    )


_EXPLAINS = (
    *("time-lag", "under-capacity", "slow-member", "downstream-outage", "idle-members", "stalled-partition"),
    "dead-group",  # between two generations a group may be empty
)
CHECK = Check(
    title="Rebalance after rebalance",
    facts=Facts,
    needs=("groups", "members"),
    limits=Limits(),
    judge=judge,
    explains=tuple(f"kafka-lag/{name}" for name in _EXPLAINS),
)
