"""The members of a group work, all of them, and less is read than is written.

What they read while there is more to read is all they can: their capacity. Where that is less
than what is written, the lag never drains, and only more readers or faster ones help.

Facts    ListGroups (state, members), OffsetFetch, then ListOffsets, over a window; retention.ms
Units    rates are records a second (Theil-Sen slopes); s = age of the next unread record
Source   Kafka documentation, "Consumer Configs", "Topic Configs"; fluid queues (Kleinrock, vol. 2)
Blind    a burst of more than half a minute looks the same without --history; small deficits; share groups
"""

from collections.abc import Iterator

from msgspec import Struct

from diag.analysis.capacity import loss_in_s
from diag.analysis.overload import overload
from diag.analysis.progress import group_courses
from diag.checks.kafka_lag._members import show_members
from diag.checks.kafka_lag._next_steps import look_at_group
from diag.checks.kafka_lag._overload_words import causes_excluded_for, evidence_of, relief, what_helps
from diag.findings import Basis, Check, Finding, Quantity, Severity, Subject, say
from diag.snapshots.base import Window
from diag.snapshots.kafka import KafkaHistory, KafkaLag


class Facts(Struct, frozen=True, kw_only=True):
    """What it judges: the window, and the past where it was asked for."""

    window: Window[KafkaLag]
    history: KafkaHistory | None


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When less is read than written, and how soon it should be caught up."""

    observed_for_s: float = 15.0  # three auto.commit.interval.ms of 5 s: commits come in steps
    samples: int = 5  # offsets in time: one early or late commit does not bend the median of ten slopes
    late_s: float = 30.0  # until then a burst may drain before anybody waits for it
    critical_s: float = 300.0  # five minutes late: notifications and fraud checks have lost their point
    recent_s: float = 60.0  # twelve commit intervals: the rates of now, not of the hour
    catch_up_s: float = 600.0  # 10 min: two bursts of a 5 min cron job; also what is written is averaged over it
    loss_critical_s: float = 3_600.0  # 1 h: about what a deploy and a catch-up take


def judge(facts: Facts, limits: Limits) -> Iterator[Finding]:
    """Find groups whose members together read less than is written."""
    now, limit_s = facts.window.last, limits.catch_up_s
    retained_s = {kept.topic: kept.retention_s for kept in now.topics if not kept.compacted}
    spans = {"late_s": limits.late_s, "recent_s": limits.recent_s, "average_s": limit_s}
    for group in group_courses(facts.window, facts.history):
        name, found = group.group.group, overload(group, now=now.observed_at, samples=limits.samples, **spans)
        if found is None:
            continue
        losses_s = [loss_in_s(retained_s.get(topic), age_s) for topic, age_s in found.lag_s.items()]
        lost_s = min((loss_s for loss_s in losses_s if loss_s is not None), default=None)
        topic = min(found.lag_s) if len(found.lag_s) == 1 else None
        soon = lost_s is not None and lost_s < limits.loss_critical_s
        yield Finding(
            severity=Severity.CRITICAL if soon or max(found.lag_s.values()) >= limits.critical_s else Severity.WARNING,
            basis=Basis.DERIVED,
            subject=Subject(group=name, topic=topic),
            summary=say(
                "group {group} reads {read} a second, {written} are written to {topic}: it never catches up; {help}",
                group=name,
                read=Quantity(found.read_per_s, "records"),
                written=Quantity(found.written_per_s, "records"),
                topic=topic or "its topics",
                help=what_helps(found, limit_s),
            ),
            evidence=tuple(evidence_of(found, limit_s, lost_s)),
            ruled_out=tuple(causes_excluded_for(found)),
            steps=(*look_at_group(name), show_members(now.target, name), relief(found, name, limit_s)),
        )


CHECK = Check(
    title="Members read less than is written",
    facts=Facts,
    needs=("groups", "members", "commits", "log_ends", "record_times"),
    limits=Limits(),
    judge=judge,
    explains=("kafka-lag/time-lag",),
)
