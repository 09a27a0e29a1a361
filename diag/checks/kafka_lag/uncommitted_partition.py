"""A group reads a topic, but of one partition with records it has never committed anything.

That is how records get lost when partitions are added: members notice a new partition up to
metadata.max.age.ms later, and with auto.offset.reset=latest they begin at its end.

Facts    OffsetFetch, members and what they own, Metadata, ListOffsets: first record, log start, log end
Units    s since the first record was written; records between log start and log end
Source   auto.offset.reset, metadata.max.age.ms (consumer configs); KafkaConsumer, "Offsets and Consumer Position"
Blind    what was skipped before the first commit on a partition; readers that assign partitions by hand
"""

from collections.abc import Iterator

from msgspec import Struct

from diag.checks.kafka_lag._next_steps import look_at_group
from diag.checks.kafka_lag._readers import reads
from diag.checks.kafka_lag._skipped import so_far, steps_for
from diag.findings import Basis, Check, Evidence, Finding, Quantity, Severity, Subject, say
from diag.snapshots.base import Window
from diag.snapshots.kafka import ConsumerGroup, KafkaLag, LogEnds
from diag.text import ServerText


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long a partition with records may be without a commit."""

    old_s: float = 60.0  # a first poll and twelve commit intervals of 5 s; then somebody should have committed
    unnoticed_s: float = 300.0  # metadata.max.age.ms: by then every member has heard of a new partition


def judge(window: Window[KafkaLag], limits: Limits) -> Iterator[Finding]:
    """Find groups with members that have committed on some partitions of a topic, and on others with records not."""
    now = window.last
    aged: dict[ServerText, list[LogEnds]] = {}
    for log in sorted((log for log in now.log_ends if _age_s(log, now) >= limits.old_s), key=lambda log: log.on):
        aged.setdefault(log.on.topic, []).append(log)
    committed = {(commit.group, commit.on) for commit in now.commits if commit.on.topic in aged} if aged else set()
    readers = {(name, on.topic) for name, on in committed}
    for group in now.groups if aged else ():
        for topic, logs in aged.items() if group.members and group.protocol != "share" else ():
            old = [log for log in logs if (group.group, log.on) not in committed]
            if not old or (group.group, topic) not in readers or reads(group, topic) is False:
                continue
            yield _finding(now, group, old, limits)


def _finding(now: KafkaLag, group: ConsumerGroup, old: list[LogEnds], limits: Limits) -> Finding:
    owned = {on for member in group.members or () for on in member.assigned}
    unowned = [log for log in old if owned and log.on not in owned]
    unnoticed = any(_age_s(log, now) >= limits.unnoticed_s for log in unowned)
    worst, topic = max(old, key=lambda log: _age_s(log, now)), old[0].on.topic
    return Finding(
        severity=Severity.CRITICAL if unnoticed else Severity.WARNING,
        basis=Basis.OBSERVED if unowned else Basis.HYPOTHESIS,
        subject=Subject(group=group.group, topic=topic, partition=worst.on.partition if len(old) == 1 else None),
        summary=say(
            "group {group} reads {topic} but has committed nothing on {partitions} of it with {records}: {so}",
            group=group.group,
            topic=topic,
            partitions=Quantity(len(old), "partitions"),
            records=Quantity(sum(map(_records, old)), "records"),
            so=so_far(len(unowned), len(old)),
        ),
        evidence=(
            Evidence(name="partition", value=int(worst.on.partition), source="OffsetFetch, ListOffsets"),
            Evidence(name="age of its first record", value=Quantity(_age_s(worst, now), "s"), source="ListOffsets"),
            Evidence(name="records there", value=Quantity(_records(worst), "records"), source="ListOffsets"),
            Evidence(name="of these partitions unowned", value=len(unowned), source="members of the group"),
        ),
        steps=(*look_at_group(group.group), *steps_for(now, group.group, worst.on)),
    )


def _records(log: LogEnds) -> int:
    return log.log_end_offset - log.log_start_offset


def _age_s(log: LogEnds, now: KafkaLag) -> float:
    """Return the age of the first record there; 0 without records, or where it is not known."""
    return (now.observed_at - log.oldest_at).total_seconds() if log.oldest_at and _records(log) > 0 else 0.0


CHECK = Check(
    title="Partition without a commit",
    facts=Window[KafkaLag],
    needs=("groups", "members", "commits", "log_ends", "record_times"),
    limits=Limits(),
    judge=judge,
)
