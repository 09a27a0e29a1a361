"""Members that all work and together read less than is written.

What a member reads while there is always more to read is its capacity; below that the lag grows
on all of them alike. One member, one partition or a burst that passes is no overload.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

import msgspec
from msgspec import Struct

from diag.analysis.capacity import Capacity, capacity
from diag.analysis.progress import Course, GroupCourse, at
from diag.analysis.workload import growth_records, in_use, is_late, owned_by_member, summed
from diag.text import ServerText


class Overload(Struct, frozen=True, kw_only=True):
    """One group on all topics its members read: what it can read of what is written, and where the lag grows.

    A member that reads several topics divides its time among them, so what it can read is the sum. `lag_s`
    has the worst age of each topic.
    """

    capacity: Capacity
    lag_s: dict[ServerText, float]
    late_partitions: int
    partitions_in_use: int
    strained_members: int

    @property
    def read_per_s(self) -> float:
        """Records that all members together read each second."""
        return self.capacity.consume_per_s or 0.0

    @property
    def written_per_s(self) -> float:
        """Records that are written each second."""
        return self.capacity.produce_per_s or 0.0

    def members_for(self, deadline_s: float) -> int | None:
        """Return how many members catch up within `deadline_s`: more than there are, else they would."""
        wanted = self.capacity.members_for(deadline_s)
        return None if wanted is None else max(wanted, self.capacity.members + 1)


def overload(  # noqa: PLR0913  one argument for each thing that makes it one
    group: GroupCourse, *, now: datetime, late_s: float, recent_s: float, average_s: float, samples: int
) -> Overload | None:
    """Return how the group is overloaded by the rates of the last `recent_s` seconds; None when it is not.

    The lag has to be `late_s` old on most partitions and to grow at most members by more than one
    commit takes away; where the past is known, also the average of `average_s` must be more than is read.
    """
    owned = owned_by_member(group)
    courses = in_use(course for theirs in owned.values() for course in theirs)
    late = [course for course in courses if is_late(course, late_s)]
    if 2 * len(late) <= len(courses):
        return None
    members = {member: summed(theirs, recent_s) for member, theirs in owned.items()}
    strained = [one for one in members.values() if _is_strained(one, samples)]
    since = now + timedelta(seconds=min(one.committed[0][0] for one in members.values()))
    if 2 * len(strained) <= len(members) or any(changed > since for changed in group.changed_at):
        return None
    able = _capacity(owned, members, recent_s)
    if not _never_drains(able, courses, average_s):
        return None
    lag_s: dict[ServerText, float] = {}
    for course in late:
        lag_s[course.on.topic] = max(lag_s.get(course.on.topic, 0.0), course.row.lag_s or 0.0)
    return Overload(
        capacity=able,
        lag_s=lag_s,
        late_partitions=len(late),
        partitions_in_use=len(courses),
        strained_members=len(strained),
    )


def _is_strained(member: Course, samples: int) -> bool:
    enough = len(member.committed) >= samples
    return enough and member.backlogged and growth_records(member) > member.largest_step_records


def _capacity(
    owned: Mapping[ServerText, tuple[Course, ...]], members: Mapping[ServerText, Course], recent_s: float
) -> Capacity:
    """Do the arithmetic by member, and look for the hottest partition among their partitions."""
    each = [course for theirs in owned.values() for course in theirs]
    rates = [summed((course,), recent_s).produce_per_s for course in each]
    return msgspec.structs.replace(
        capacity(tuple(members.values())),
        partitions=len(each),
        hottest_produce_per_s=max((rate for rate in rates if rate is not None), default=None),
    )


def _never_drains(able: Capacity, courses: tuple[Course, ...], average_s: float) -> bool:
    if not able.consume_per_s or able.produce_per_s is None or able.consume_per_s < 0:
        return False
    average = sum(_average_per_s(course, average_s) for course in courses)
    return able.produce_per_s > able.consume_per_s and average > able.consume_per_s


def _average_per_s(course: Course, span_s: float) -> float:
    """Return what was written each second over the last `span_s`, or as far back as is known."""
    since_s = max(-span_s, course.ends[0][0])
    written = course.ends[-1][1] - at(course.ends, since_s)
    return written / -since_s if since_s < 0 else 0.0
