"""Groups in which nobody moves: no member commits anything, although records wait and all of them are there.

When it began shows in the commits of the past, where they are known. Else in the records: who was
caught up before stands in front of a record written just then, so the times of the next records of
all such partitions lie close together.
"""

from __future__ import annotations

import statistics
from datetime import datetime, timedelta

from msgspec import Struct

from diag.analysis.progress import Course, GroupCourse
from diag.analysis.workload import has_moved, is_late, usual_commit_interval_s
from diag.snapshots.kafka import KafkaLag
from diag.text import ServerText

_USUAL_INTERVALS = 3  # commits a group must have missed before its silence means something


class Outage(Struct, frozen=True, kw_only=True):
    """A group that stands still as a whole. `since` is None when the partitions tell no common time.

    `still_s` is how long it was watched, at least; `waiting` are its late partitions, `stopped` the
    ids of the members that own them, `members` counts all that own something.
    """

    waiting: tuple[Course, ...]
    stopped: frozenset[ServerText]
    members: int
    still_s: float
    lag_s: float | None
    lag_records: int
    since: datetime | None

    @property
    def can_be_one_reader(self) -> bool:
        """Whether a single hung member, or a single record, would look the same."""
        return len(self.stopped) == 1 or len(self.waiting) == 1


def outage(
    group: GroupCourse, frame: KafkaLag, *, observed_for_s: float, late_s: float, together_s: float
) -> Outage | None:
    """Return how a whole group stands still; None when some of it moves, or another cause is in sight.

    Its membership has to have stayed the same, no transaction may hold the readers up, and every
    partition that a member owns needs a leader.
    """
    owned = tuple(course for course in group.courses if course.member)
    assigned = {on for member in group.group.members or () for on in member.assigned}
    quiet_since = frame.observed_at - timedelta(seconds=observed_for_s)
    if (
        group.group.state != "Stable"
        or group.group.protocol == "share"  # its start offset may wait for one record while its members read on
        or len(set(group.member_ids)) != 1
        or any(changed >= quiet_since for changed in group.changed_at)
        or any(leaderless.on in assigned for leaderless in frame.leaderless)
        or any(has_moved(course, observed_for_s) for course in owned)
    ):
        return None
    waiting = tuple(course for course in owned if _waits(course, observed_for_s, late_s))
    if not waiting:
        return None
    ages_s = [course.row.lag_s for course in waiting if course.row.lag_s is not None]
    return Outage(
        waiting=waiting,
        stopped=frozenset(course.member.member_id for course in waiting if course.member),
        members=len(group.by_member),
        still_s=min(course.still_s for course in waiting),
        lag_s=max(ages_s, default=None),
        lag_records=sum(course.lag_records for course in waiting),
        since=_since(waiting, frame.observed_at, together_s),
    )


def _waits(course: Course, observed_for_s: float, late_s: float) -> bool:
    """Whether there was something to read all the time, and its reader took longer over it than it ever does."""
    missed_s = max(observed_for_s, _USUAL_INTERVALS * usual_commit_interval_s(course))
    seen = [lag for at_s, lag in course.lags if at_s >= -observed_for_s]
    return (
        course.still_s >= missed_s
        and min(seen, default=0) > 0
        and not course.held_by_transaction
        and (course.row.lag_s is None or is_late(course, late_s))
    )


def _since(waiting: tuple[Course, ...], now: datetime, together_s: float) -> datetime | None:
    """Return when most partitions stopped, within `together_s`: by their last commits, else by their next records."""
    commits = [
        now + timedelta(seconds=course.committed[-1][0] - course.still_s) for course in waiting if _moved(course)
    ]
    records = [course.row.record_at for course in waiting if course.row.record_at]
    for instants in (commits, records):
        if not instants:
            continue
        middle = statistics.median_low(instants)
        near = [one for one in instants if abs((one - middle).total_seconds()) <= together_s]
        if 2 * len(near) > len(waiting):
            return middle
    return None


def _moved(course: Course) -> bool:
    return len({offset for _, offset in course.committed}) > 1
