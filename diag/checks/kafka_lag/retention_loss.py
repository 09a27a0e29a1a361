"""Records were deleted before a group read them, or are about to be.

The committed offset lies before the log start: what was in between is gone. The next fetch
there fails (OFFSET_OUT_OF_RANGE), and auto.offset.reset of the consumer decides how it goes on.

Facts    OffsetFetch, ListOffsets (log start), members and what they own; retention.ms by DescribeConfigs
Units    records from the commit to the log start; s = retention.ms less the age of the next unread record
Source   retention.ms, auto.offset.reset; KafkaConsumer, "Offsets and Consumer Position"
Blind    deletion by retention.bytes ahead of time; the last few records of an emptied log may be markers
"""

from collections.abc import Iterator

from msgspec import Struct

from diag.analysis.capacity import loss_in_s
from diag.analysis.consumer_lag import PartitionRow, TopicLag, partition_rows, topic_lags
from diag.checks.kafka_lag._deletion import evidence_of, is_left_behind, loses, steps_for
from diag.checks.kafka_lag._next_steps import look_at_group
from diag.findings import Basis, Check, Finding, Quantity, Severity, Subject, say
from diag.snapshots.base import Window
from diag.snapshots.kafka import KafkaLag
from diag.text import ServerText


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What counts as a loss, and how close to one is too close."""

    lost_records: int = 1  # one record deleted unread is one message that nobody will ever handle
    marker_records: int = 16  # behind the commit of an idle topic lie markers only, one for each last producer
    used_ratio: float = 0.8  # of retention.ms: what is left of 7 d is 34 h, a night and a day to act in
    critical_s: float = 3_600.0  # 1 h: a fix, its deploy and the catching up take about that long
    abandoned_s: float = 604_800.0  # 7 d without members: offsets.retention.minutes, a leftover and not a loss


def judge(window: Window[KafkaLag], limits: Limits) -> Iterator[Finding]:
    """Find groups that lost records on a topic they still read, and those whose unread records go soon."""
    retention_s = {one.topic: one.retention_s for one in window.last.topics if one.retention_s}
    lags = {(lag.group.group, lag.topic): lag for lag in topic_lags(window)}
    lost: dict[tuple[ServerText, ServerText], list[PartitionRow]] = {}
    for row in partition_rows(window):
        if row.lost_records and (row.lag_records or row.lost_records > limits.marker_records):
            lost.setdefault((row.group, row.topic), []).append(row)
    groups = {group.group: group for group in window.last.groups}
    for on in lost | lags:
        lag, group = lags.get(on), groups.get(on[0])
        if is_left_behind(group, on[1], lag, limits.abandoned_s):
            continue
        keeps_s, lag_s = retention_s.get(on[1]), lag.lag_s if lag else None
        left_s = loss_in_s(keeps_s, lag_s)
        if sum(row.lost_records for row in lost.get(on, ())) >= limits.lost_records:
            severity = Severity.CRITICAL if group and group.members else Severity.WARNING
            yield _finding(window.last, lost[on], severity, lag, left_s)
        elif lag and keeps_s and lag_s is not None and left_s is not None and lag_s >= limits.used_ratio * keeps_s:
            in_time = lag.drain_s is not None and lag.drain_s < left_s
            late = left_s <= limits.critical_s and not in_time
            yield _finding(window.last, [lag.worst], Severity.CRITICAL if late else Severity.WARNING, lag, left_s)


def _finding(
    frame: KafkaLag, rows: list[PartitionRow], severity: Severity, lag: TopicLag | None, left_s: float | None
) -> Finding:
    worst, lost = max(rows, key=lambda row: row.lost_records), sum(row.lost_records for row in rows)
    return Finding(
        severity=severity,
        basis=Basis.OBSERVED if lost else Basis.DERIVED,
        subject=Subject(group=worst.group, topic=worst.topic, partition=worst.partition if len(rows) == 1 else None),
        summary=say(
            "group {group} {loses}; {left} of {topic} are left to read",
            group=worst.group,
            loses=loses(lost, left_s or 0.0),
            left=Quantity(lag.lag_records if lag else 0, "records"),
            topic=worst.topic,
        ),
        evidence=tuple(evidence_of(worst, lost, left_s)),
        steps=(*look_at_group(worst.group), *steps_for(frame, worst.topic)),
    )


CHECK = Check(
    title="Records deleted unread",
    facts=Window[KafkaLag],
    needs=("groups", "commits", "log_ends"),
    limits=Limits(),
    judge=judge,
)
