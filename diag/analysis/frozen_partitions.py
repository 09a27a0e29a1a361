"""Partitions whose committed offset stands still with records left to read, while others move on.

A reader far behind drains what it has fetched of one partition before it turns to the next, so
over seconds a partition may wait for its turn, though nothing is wrong with it. Then what moves
is behind too, and moves in turns. Hence what a standing partition is compared with has to move
all along, and to keep up, or to be more than what stands. Source: KIP-41 and the fetcher of the
Java client, which hands out one completed fetch (max.partition.fetch.bytes) after the other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import pairwise

from diag.analysis.progress import Course, GroupCourse, at
from diag.snapshots.base import Window
from diag.snapshots.kafka import KafkaLag


class FrozenPartitions:
    """What stands still in one group, for at least `for_s` seconds, before a record at least `late_s` old."""

    def __init__(self, group: GroupCourse, window: Window[KafkaLag], *, for_s: float, late_s: float) -> None:
        leaderless = {one.on for one in window.last.leaderless}
        self.standing = tuple(
            one for one in group.lagging if one.on not in leaderless and _stands(one, for_s=for_s, late_s=late_s)
        )
        self._moving = tuple(one for one in group.courses if one.still_s < for_s and _has_moved(one))
        self._all_along: dict[float, frozenset[Course]] = {}
        self._standing_on = Counter(one.on.topic for one in self.standing)
        self._moving_on = Counter(one.on.topic for one in self._moving)

    def moving_beside(
        self, standing: Course, peers: Iterable[Course], since_s: float, *, may_be_behind: bool = True
    ) -> tuple[Course, ...]:
        """Return the peers that kept moving in the last `since_s` seconds; none where the reason may be another.

        Another reason is reading in turns, or, where less of the topic moves than stands, what it is written to.
        Unless they `may_be_behind`, one of the peers at least has to keep up.
        """
        topic = standing.on.topic
        if 1 < self._standing_on[topic] >= self._moving_on[topic]:
            return ()
        others = frozenset(peers) - {standing}
        moving = self._moving_all_along(since_s) & others
        waiting = 1 + len(others.intersection(self.standing))
        alone = any(not one.backlogged for one in moving) or (may_be_behind and len(moving) > waiting)
        return tuple(moving) if alone else ()

    def _moving_all_along(self, since_s: float) -> frozenset[Course]:
        """Return the partitions whose offset rose in both halves of that time, as far back as they are known."""
        if since_s not in self._all_along:
            self._all_along[since_s] = frozenset(
                one for one in self._moving if _rose_in_both_halves(one, min(since_s, -one.committed[0][0]))
            )
        return self._all_along[since_s]


def members_others(group: GroupCourse, course: Course) -> tuple[Course, ...]:
    """Return its member's other partitions that have, or had, anything to read; the others tell nothing."""
    own = group.by_member[course.member.member_id] if course.member else ()
    return tuple(one for one in own if one is not course and (one.lag_records or one.produce_per_s))


def is_all_there_is(group: GroupCourse, course: Course) -> bool:
    """Whether nothing else is written or left to read, so that there is nothing to compare with."""
    return not any(one.lag_records or one.produce_per_s for one in group.courses if one is not course)


def _stands(course: Course, *, for_s: float, late_s: float) -> bool:
    """Whether there was something to read all along that only the reader keeps from being read.

    The age of a record is not enough: copied records are old when they are written.
    """
    row, log = course.row, course.log
    if course.still_s < for_s or course.held_by_transaction or course.ends[0][0] > -for_s or log is None:
        return False
    unread_then = at(course.ends, -for_s) > max(row.committed_offset, log.log_start_offset)
    return unread_then and (row.lag_s is None or row.lag_s >= late_s)


def _has_moved(course: Course) -> bool:
    return course.committed[0][1] != course.committed[-1][1]


def _rose_in_both_halves(course: Course, since_s: float) -> bool:
    rises = [later[0] for earlier, later in pairwise(course.committed) if later[1] > earlier[1]]
    return any(-since_s < at_s <= -since_s / 2 for at_s in rises) and any(at_s > -since_s / 2 for at_s in rises)
