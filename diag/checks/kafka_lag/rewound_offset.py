"""A group's committed offset went back: it reads again what it has read before.

Somebody reset the group, a member seeks back at its start, or the commits were restored. Lag and
time lag jump, and nobody is slow. What is read again is handled twice, unless readers are idempotent.

Facts    OffsetFetch over time (every commit, where the history was asked for), then ListOffsets
Units    s; offsets as committed (the next record to read)
Source   KafkaConsumer, seek and commitSync; kafka-consumer-groups.sh --reset-offsets
Blind    who did it; what was caught up within two commits; a reset forward, which skips records
"""

from collections.abc import Iterator
from datetime import timedelta

from msgspec import Struct

from diag.analysis.progress import group_courses
from diag.analysis.rewinds import Rewind, rewind
from diag.checks.kafka_lag._rewind_words import evidence, ruled_out, steps
from diag.findings import Basis, Check, Finding, Quantity, Severity, Subject, say
from diag.snapshots.base import Window
from diag.snapshots.kafka import KafkaHistory, KafkaLag
from diag.text import ServerText


class Facts(Struct, frozen=True, kw_only=True):
    """What it judges: the window, and the past where it was asked for."""

    window: Window[KafkaLag]
    history: KafkaHistory | None


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a lower offset is a rewind and not an older commit that came late."""

    observed_for_s: float = 1.0  # what went back shows between two looks
    settled_s: float = 15.0  # three auto.commit.interval.ms: a commit that came late is put right by the next
    late_records: int = 500  # max.poll.records: a late commit is a poll behind, a reset usually more


def judge(facts: Facts, limits: Limits) -> Iterator[Finding]:
    """Find groups and topics whose committed offsets went back and are not where they were yet."""
    for group in group_courses(facts.window, facts.history):
        topics: dict[ServerText, list[Rewind]] = {}
        for course in group.courses:
            found = rewind(course, settled_s=limits.settled_s, late_records=limits.late_records)
            if found is not None:
                topics.setdefault(course.on.topic, []).append(found)
        for topic, rewinds in topics.items():
            yield _finding(group.group.group, topic, rewinds, facts.window.last)


def _finding(group: ServerText, topic: ServerText, rewinds: list[Rewind], now: KafkaLag) -> Finding:
    furthest, newest = max(rewinds, key=lambda one: one.records), max(rewinds, key=lambda one: one.at_s)
    at = now.observed_at + timedelta(seconds=newest.at_s)
    return Finding(
        severity=Severity.WARNING,
        basis=Basis.OBSERVED,
        subject=Subject(group=group, topic=topic),
        summary=say(
            "group {group} was rewound on {topic} by {records} on {n}, at {at} or shortly before; on partition "
            "{partition} from offset {before} to {after}",
            group=group,
            topic=topic,
            records=Quantity(sum(one.records for one in rewinds), "records"),
            n=Quantity(len(rewinds), "partitions"),
            at=at,
            partition=furthest.course.on.partition,
            before=furthest.from_offset,
            after=furthest.to_offset,
        ),
        evidence=evidence(rewinds, at),
        ruled_out=ruled_out(furthest),
        steps=steps(group, furthest, at),
    )


CHECK = Check(
    title="Committed offset went back",
    facts=Facts,
    needs=("groups", "commits"),
    limits=Limits(),
    judge=judge,
    explains=("kafka-lag/time-lag", "kafka-lag/under-capacity"),
)
