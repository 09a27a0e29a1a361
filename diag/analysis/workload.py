"""What the members of a group carry: the partitions each owns, summed up as if they were one.

A consumer that is behind drains what it has fetched of one partition before it turns to the
next, so over seconds a partition can stand still although its member works. What a member
reads shows only in the sum over its partitions. Source: KIP-41 and the fetcher of the Java
client, which hands out one completed fetch (max.partition.fetch.bytes) after the other.
"""

from __future__ import annotations

import statistics
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

import msgspec

from diag.analysis.progress import Course, GroupCourse, Points, at
from diag.snapshots.base import Window
from diag.snapshots.kafka import KafkaLag, Member
from diag.text import ServerText


def owned_by_member(group: GroupCourse) -> Mapping[ServerText, tuple[Course, ...]]:
    """Return the partitions of each member that owns some, by member id.

    Nothing where that says nothing about whose lag it is: outside Stable, and in share groups, whose
    members share partitions.
    """
    told = group.group.state == "Stable" and group.group.protocol != "share"
    return group.by_member if told else {}


def owned_by_topic(group: GroupCourse) -> dict[ServerText, dict[ServerText, tuple[Course, ...]]]:
    """Return the same for each topic."""
    found: dict[ServerText, dict[ServerText, tuple[Course, ...]]] = {}
    for member_id, courses in owned_by_member(group).items():
        for course in courses:
            of_topic = found.setdefault(course.on.topic, {})
            of_topic[member_id] = (*of_topic.get(member_id, ()), course)
    return found


def in_use(courses: Iterable[Course]) -> tuple[Course, ...]:
    """Return the partitions that something is written to or left on; the others say nothing about their reader."""
    return tuple(course for course in courses if course.lag_records > 0 or course.produce_per_s)


def is_late(course: Course, late_s: float) -> bool:
    """Whether the next record is known to be that old."""
    return course.row.lag_s is not None and course.row.lag_s >= late_s


def has_moved(course: Course, recent_s: float) -> bool:
    """Whether the committed offset is known to have changed in the last seconds."""
    return course.still_s < recent_s and len({offset for _, offset in course.committed}) > 1


def summed(courses: Sequence[Course], recent_s: float) -> Course:
    """Return partitions as one course over the last seconds; there must be at least one.

    Between two commits the older one is in force; the log end runs on a straight line.
    """
    since_s = max(-recent_s, *(points[0][0] for course in courses for points in (course.committed, course.ends)))
    committed = [_recent(course.committed, since_s) for course in courses]
    ends = [_recent(course.ends, since_s) for course in courses]
    instants = sorted({since_s, *(at_s for points in committed for at_s, _ in points if at_s >= since_s)})
    first = courses[0]
    return Course(
        group=first.group,
        member=first.member,
        row=msgspec.structs.replace(first.row, lag_records=sum(course.lag_records for course in courses)),
        log=None,
        committed=tuple((at_s, sum(_in_force(points, at_s) for points in committed)) for at_s in instants),
        ends=tuple((at_s, sum(at(points, at_s) for points in ends)) for at_s in instants),
    )


def growth_records(course: Course) -> int:
    """Return by how many records the lag grew from the first to the last known commit."""
    return course.lags[-1][1] - course.lags[0][1]


def usual_commit_interval_s(course: Course) -> float:
    """Return the median time between commits that moved the offset, while it still moved; 0 when not known."""
    moved_at = [late[0] for early, late in pairwise(course.committed) if late[1] != early[1]]
    gaps = [late - early for early, late in pairwise(moved_at)]
    return statistics.median(gaps) if gaps else 0.0


def _recent(points: Points, since_s: float) -> Points:
    """Return the points since an instant and the one before, which is in force there."""
    return points[max(0, bisect_right(points, since_s, key=lambda point: point[0]) - 1) :]


def _in_force(points: Points, at_s: float) -> int:
    return points[max(0, bisect_right(points, at_s, key=lambda point: point[0]) - 1)][1]


def idle_members(group: GroupCourse, window: Window[KafkaLag]) -> tuple[Member, ...]:
    """Return the members that own nothing in any frame that shows them, in a group where others own something."""
    if group.group.state != "Stable" or group.group.protocol == "share":
        return ()
    seen = [one.members or () for frame in window.frames for one in frame.groups if one.group == group.group.group]
    busy = {member.member_id for members in seen for member in members if member.assigned}
    idle = [member for member in group.group.members or () if member.member_id not in busy]
    return tuple(idle) if len(idle) < len(group.group.members or ()) else ()
