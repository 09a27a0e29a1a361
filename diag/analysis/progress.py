"""How consumer groups went on, partition by partition: rates, standstills, backlogs, changes of membership.

From the frames of a live window, and from the history where there is one. Commits come in
steps, so rates are Theil-Sen slopes (the median of the slopes between all pairs of points),
which one early or late commit cannot bend. Source: Sen 1968, JASA 63.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from datetime import datetime
from functools import cached_property, lru_cache
from itertools import combinations, pairwise
from typing import TypeAlias

from msgspec import Struct

from diag.analysis.consumer_lag import PartitionRow, partition_rows
from diag.snapshots.base import Window
from diag.snapshots.kafka import ConsumerGroup, KafkaHistory, KafkaLag, LogEnds, Member, TopicPartition
from diag.text import ServerText

Points: TypeAlias = tuple[tuple[float, int], ...]
"""(seconds, offset or records), oldest first; seconds count back from the last frame, hence are never positive."""
Seen: TypeAlias = list[tuple[datetime, ConsumerGroup]]
"""One group as it was in each frame that has it."""
_MOST_POINTS = 40  # 780 slopes: more points make a median no better


class Course(Struct, frozen=True, kw_only=True, dict=True, eq=False):
    """How one group went on one partition. `row` is its newest row, `log` the partition's ends, if known."""

    group: ConsumerGroup
    member: Member | None
    row: PartitionRow
    log: LogEnds | None
    committed: Points
    ends: Points

    @property
    def on(self) -> TopicPartition:
        """The partition."""
        return TopicPartition(self.row.topic, self.row.partition)  # type: ignore[arg-type]

    @property
    def lag_records(self) -> int:
        """Records that are left to read; 0 where it is unknown."""
        return self.row.lag_records or 0

    @property
    def span_s(self) -> float:
        """Seconds between the first and the last known commit."""
        return self.committed[-1][0] - self.committed[0][0]

    @property
    def still_s(self) -> float:
        """Seconds for which the committed offset is known not to have changed, at least."""
        newest_at, newest = self.committed[-1]
        since = newest_at
        for at_s, offset in reversed(self.committed):
            if offset != newest:
                break
            since = at_s
        return newest_at - since

    @cached_property
    def produce_per_s(self) -> float | None:
        """Records written each second; None with one point."""
        return slope(self.ends)

    @cached_property
    def consume_per_s(self) -> float | None:
        """Records committed each second; None with one point."""
        return slope(self.committed)

    @cached_property
    def lags(self) -> Points:
        """Lag in records at every instant where a commit is known."""
        return tuple((at_s, max(0, at(self.ends, at_s) - offset)) for at_s, offset in self.committed)

    @property
    def largest_step_records(self) -> int:
        """Most records between two neighbouring commits: what a commit interval takes off the lag at once."""
        return max((abs(after - before) for (_, before), (_, after) in pairwise(self.committed)), default=0)

    @property
    def backlogged(self) -> bool:
        """Whether there was more to read all along than one commit takes away: then its rate is its capacity."""
        return min((lag for _, lag in self.lags), default=0) > max(0, self.largest_step_records)

    @property
    def held_by_transaction(self) -> bool:
        """Whether the next record is the first of an open transaction, which read_committed readers wait for.

        A reader that commits the offset behind its last record stands one before it, at the marker in between.
        """
        log = self.log
        return (
            log is not None
            and log.last_stable_offset is not None
            and self.row.committed_offset + 1 >= log.last_stable_offset
            and log.last_stable_offset < log.log_end_offset
        )


class GroupCourse(Struct, frozen=True, kw_only=True, dict=True, eq=False):
    """How one group went on everywhere. `changed_at` are the instants at which its membership changed."""

    group: ConsumerGroup
    courses: tuple[Course, ...]
    changed_at: tuple[datetime, ...]
    member_ids: tuple[frozenset[ServerText], ...]
    poll_interval_s: float | None = None

    @cached_property
    def lagging(self) -> tuple[Course, ...]:
        """The partitions with something left to read."""
        return tuple(course for course in self.courses if course.lag_records > 0)

    @cached_property
    def by_member(self) -> dict[ServerText, tuple[Course, ...]]:
        """The partitions of every member that owns some, by member id."""
        owned: dict[ServerText, list[Course]] = {}
        for course in self.courses:
            if course.member is not None:
                owned.setdefault(course.member.member_id, []).append(course)
        return {member_id: tuple(courses) for member_id, courses in owned.items()}


@lru_cache(maxsize=4)
def group_courses(window: Window[KafkaLag], history: KafkaHistory | None = None) -> tuple[GroupCourse, ...]:
    """Return the course of every group that has something left to read, most records first.

    All its partitions are in it, also those that are read to the end: they are what the others
    are compared with. Groups whose lag is zero or unknown everywhere are left out.
    """
    rows: dict[ServerText, list[PartitionRow]] = {}
    for row in partition_rows(window):
        rows.setdefault(row.group, []).append(row)
    behind = {group: of_group for group, of_group in rows.items() if any(row.lag_records for row in of_group)}
    told = [(frame.observed_at, {group.group: group for group in frame.groups}) for frame in window.frames]
    groups = told[-1][1]
    curves = _Curves(window, history, set(behind))
    found = []
    for name, of_group in behind.items():
        group = groups.get(name, ConsumerGroup(group=name, state="unknown", members=None))
        owners = {on: member for member in group.members or () for on in member.assigned}
        courses = tuple(_course(row, group, owners, curves) for row in of_group)
        seen = [(when, then[name]) for when, then in told if name in then]
        changes, poll_interval_s = _changes(seen, history, name)
        found.append(
            GroupCourse(
                group=group,
                courses=courses,
                changed_at=changes,
                member_ids=_member_ids(seen),
                poll_interval_s=poll_interval_s,
            )
        )
    return tuple(sorted(found, key=lambda one: -sum(course.lag_records for course in one.courses)))


def _course(row: PartitionRow, group: ConsumerGroup, owners: dict[TopicPartition, Member], curves: _Curves) -> Course:
    on = TopicPartition(row.topic, row.partition)  # type: ignore[arg-type]
    return Course(
        group=group,
        member=owners.get(on),
        row=row,
        log=curves.logs.get(on),
        committed=curves.committed.get((row.group, on), ((0.0, row.committed_offset),)),
        ends=curves.ends.get(on, ((0.0, row.committed_offset + (row.lag_records or 0)),)),
    )


class _Curves:
    """The points of all partitions that matter, history first, then the frames."""

    def __init__(self, window: Window[KafkaLag], history: KafkaHistory | None, wanted: set[ServerText]) -> None:
        now = window.last.observed_at
        self.logs = {log.on: log for log in window.last.log_ends}
        committed: dict[tuple[ServerText, TopicPartition], list[tuple[float, int]]] = {}
        ends: dict[TopicPartition, list[tuple[float, int]]] = {}
        first = window.first.observed_at
        for commits in history.committed if history else ():
            marks = [((mark.at - now).total_seconds(), int(mark.offset)) for mark in commits.marks if mark.at < first]
            committed[commits.group, commits.on] = marks
        for produced in history.produced if history else ():
            marks = [((mark.at - now).total_seconds(), int(mark.offset)) for mark in produced.marks if mark.at < first]
            ends[produced.on] = marks
        for frame in window.frames:
            at_s = (frame.observed_at - now).total_seconds()
            for commit in frame.commits:
                if commit.group in wanted:
                    committed.setdefault((commit.group, commit.on), []).append((at_s, commit.offset))
            for log in frame.log_ends:
                ends.setdefault(log.on, []).append((at_s, log.log_end_offset))
        self.committed = {key: tuple(points) for key, points in committed.items()}
        self.ends = {on: tuple(points) for on, points in ends.items()}


def _member_ids(seen: Seen) -> tuple[frozenset[ServerText], ...]:
    """Return the member ids of a group in each frame where they are known."""
    return tuple(
        frozenset(member.member_id for member in group.members) for _, group in seen if group.members is not None
    )


def _changes(seen: Seen, history: KafkaHistory | None, name: ServerText) -> tuple[tuple[datetime, ...], float | None]:
    """Return when the membership changed, and the longest poll interval that its members declared.

    In frames a change is another set of member ids, another epoch, or a state in which a rebalance is
    under way; from `__consumer_offsets` it is every new generation or epoch.
    """
    rebalances = [one for one in history.rebalances if one.group == name] if history else []
    changed = [one.at for one in rebalances]
    newest = changed[-1] if changed else None
    before: tuple[object, ...] | None = None
    for when, group in seen:
        members = None if group.members is None else frozenset(member.member_id for member in group.members)
        moving = group.state in ("PreparingRebalance", "CompletingRebalance", "Assigning", "Reconciling")
        now = (members, group.epoch)
        if (moving or (before is not None and now != before)) and (newest is None or when > newest):
            changed.append(when)
        before = now
    intervals = [one.poll_interval_s for one in rebalances if one.poll_interval_s]
    return tuple(changed), max(intervals, default=None)


def slope(points: Points) -> float | None:
    """Return the Theil-Sen slope in units a second; None without two instants."""
    thinned = points if len(points) <= _MOST_POINTS else _thinned(points)
    slopes = [
        (late[1] - early[1]) / (late[0] - early[0]) for early, late in combinations(thinned, 2) if late[0] > early[0]
    ]
    return statistics.median(slopes) if slopes else None


def _thinned(points: Points) -> Points:
    last = len(points) - 1
    return tuple(points[round(number * last / (_MOST_POINTS - 1))] for number in range(_MOST_POINTS))


def at(points: Points, at_s: float) -> int:
    """Return the value of a curve at an instant, on the straight line between its neighbours."""
    before = points[0]
    for point in points:
        if point[0] >= at_s:
            if point[0] == before[0]:
                return point[1]
            share = (at_s - before[0]) / (point[0] - before[0])
            return round(before[1] + max(0.0, share) * (point[1] - before[1]))
        before = point
    return before[1]


def spread_s(instants: Sequence[datetime]) -> float:
    """Return the seconds between the first and the last of some instants; 0 for fewer than two."""
    return (max(instants) - min(instants)).total_seconds() if len(instants) > 1 else 0.0
