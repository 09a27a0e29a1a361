"""Members that are late where the others of their group are not, although no more is written for them.

What was written lately is not all: a burst that is over can lie on one partition only. So the rate
at which a lag came to be, its records over its age, must not stand out either.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from msgspec import Struct

from diag.analysis.progress import Course, GroupCourse
from diag.analysis.workload import growth_records, in_use, is_late, owned_by_topic, summed
from diag.snapshots.kafka import Member
from diag.text import ServerText


class SlowMember(Struct, frozen=True, kw_only=True):
    """One member that is late on all its partitions of a topic. Rates are records a second.

    `others_lag_s` is the worst age at the other members, `others_produce_per_s` the median of what is
    written for one of them. `still_s` is for how long none of its offsets is known to have moved.
    """

    topic: ServerText
    member: Member
    courses: tuple[Course, ...]
    others: int
    lag_records: int
    lag_s: float
    others_lag_s: float
    produce_per_s: float
    others_produce_per_s: float
    still_s: float


def slow_members(
    group: GroupCourse, *, late_s: float, near_s: float, near_ratio: float, skew_ratio: float
) -> tuple[SlowMember, ...]:
    """Return the late members of each topic, where all the others keep up and are as many at least.

    The others keep up when their next record is no older than `near_s`, or `near_ratio` of what it is
    at the late ones; a member may have `skew_ratio` times the median of what is written for another.
    """
    found: list[SlowMember] = []
    for topic, owned in owned_by_topic(group).items():
        busy = {member: courses for member, theirs in owned.items() if (courses := in_use(theirs))}
        late = {member: theirs for member, theirs in busy.items() if all(is_late(one, late_s) for one in theirs)}
        others = [theirs for member, theirs in busy.items() if member not in late]
        ages_s = [one.row.lag_s for theirs in others for one in theirs]
        if not late or len(late) > len(others):
            continue
        least_s = min(one.row.lag_s or 0.0 for theirs in late.values() for one in theirs)
        if any(age_s is None or age_s > max(near_s, near_ratio * least_s) for age_s in ages_s):
            continue
        found += [
            _slow(topic, theirs, others)
            for theirs in late.values()
            if _is_alike(theirs, others, skew_ratio) and not any(one.held_by_transaction for one in theirs)
        ]
    return tuple(found)


def _is_alike(theirs: Sequence[Course], others: Sequence[Sequence[Course]], skew_ratio: float) -> bool:
    """Whether what is written for a member, in sum and on its hottest partition, does not stand out."""
    usual = statistics.median(_written_per_s(one) for of_other in others for one in of_other)
    usual_sum = statistics.median(sum(map(_written_per_s, of_other)) for of_other in others)
    mine = [_came_per_s(one) for one in theirs]
    return usual > 0 and max(mine) <= skew_ratio * usual and sum(mine) <= skew_ratio * usual_sum


def _written_per_s(course: Course) -> float:
    return course.produce_per_s or 0.0


def _came_per_s(course: Course) -> float:
    """Return what is written now or was written while the lag came to be, whichever is more."""
    age_s = course.row.lag_s or 0.0
    return max(_written_per_s(course), course.lag_records / age_s if age_s > 0 else 0.0)


def _slow(topic: ServerText, theirs: Sequence[Course], others: Sequence[Sequence[Course]]) -> SlowMember:
    (member,) = {one.member.member_id: one.member for one in theirs if one.member}.values()
    return SlowMember(
        topic=topic,
        member=member,
        courses=tuple(theirs),
        others=len(others),
        lag_records=sum(one.lag_records for one in theirs),
        lag_s=max(one.row.lag_s or 0.0 for one in theirs),
        others_lag_s=max(one.row.lag_s or 0.0 for of_other in others for one in of_other),
        produce_per_s=sum(map(_written_per_s, theirs)),
        others_produce_per_s=statistics.median(sum(map(_written_per_s, of_other)) for of_other in others),
        still_s=min(one.still_s for one in theirs),
    )


def drain_s(slow: SlowMember, observed_for_s: float) -> float:
    """Return the seconds after which it has caught up, as it reads now; infinite for never, or when it is not known."""
    every = summed(slow.courses, math.inf)
    gained = -growth_records(every)
    if every.span_s < observed_for_s or gained <= 0:
        return math.inf
    return slow.lag_records * every.span_s / gained
