"""What a group can read, when it will be done, and how many members and partitions that takes.

Capacity shows only under a backlog: whoever is always caught up reads as fast as is written,
and how fast it could read is not known. Formulas: pooled drain T = L / (n*mu - lambda); by
assignment T = max over members of their own L / (mu - lambda), since a partition has one reader;
members for a deadline D: n >= (lambda + L/D) / mu. Little's and the fluid-queue arithmetic
(Kleinrock, Queueing Systems, vol. 2, ch. 2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from msgspec import Struct

from diag.analysis.progress import Course


class Capacity(Struct, frozen=True, kw_only=True):
    """One group on one topic. Rates are records a second; None is "not known".

    `member_per_s` is what one member reads under backlog (the median of those that show it).
    `drain_s` pools all members, `drain_assigned_s` lets each read only what it owns; both are
    None when unknown and `math.inf` when the lag never ends at these rates. `one_reader_is_enough`
    is False when some partition is written faster than one member reads: more members cannot help.
    """

    members: int
    partitions: int
    lag_records: int
    produce_per_s: float | None
    consume_per_s: float | None
    member_per_s: float | None
    drain_s: float | None
    drain_assigned_s: float | None
    hottest_produce_per_s: float | None

    @property
    def one_reader_is_enough(self) -> bool | None:
        """Whether every partition is written more slowly than a member reads; None when unknown."""
        if self.member_per_s is None or self.hottest_produce_per_s is None:
            return None
        return self.hottest_produce_per_s < self.member_per_s

    def members_for(self, deadline_s: float) -> int | None:
        """Return how many members drain the lag within `deadline_s`; None when the capacity is unknown."""
        if not self.member_per_s or self.produce_per_s is None:
            return None
        return math.ceil((self.produce_per_s + self.lag_records / deadline_s) / self.member_per_s)


def capacity(courses: Sequence[Course]) -> Capacity:
    """Do the arithmetic for the partitions of one group and topic."""
    owned: dict[object, list[Course]] = {}
    for course in courses:
        if course.member is not None:
            owned.setdefault(course.member.member_id, []).append(course)
    speeds = {member: _speed(theirs) for member, theirs in owned.items()}
    known = sorted(speed for speed in speeds.values() if speed)
    member_per_s = known[len(known) // 2] if known else None
    produce, consume = _sum([one.produce_per_s for one in courses]), _sum([one.consume_per_s for one in courses])
    lag_records = sum(one.lag_records for one in courses)
    return Capacity(
        members=len(owned),
        partitions=len(courses),
        lag_records=lag_records,
        produce_per_s=produce,
        consume_per_s=consume,
        member_per_s=member_per_s,
        drain_s=_drain(lag_records, consume, produce),
        drain_assigned_s=_slowest(owned) if owned else None,
        hottest_produce_per_s=max(
            (one.produce_per_s for one in courses if one.produce_per_s is not None), default=None
        ),
    )


def _speed(courses: Sequence[Course]) -> float | None:
    """Return what a member reads, when at least one of its partitions had a backlog all along."""
    if not any(course.backlogged for course in courses):
        return None
    return _sum([course.consume_per_s for course in courses])


def _slowest(owned: dict[object, list[Course]]) -> float | None:
    drains = [
        _drain(
            sum(one.lag_records for one in theirs),
            _sum([one.consume_per_s for one in theirs]),
            _sum([one.produce_per_s for one in theirs]),
        )
        for theirs in owned.values()
    ]
    known = [drain for drain in drains if drain is not None]
    return max(known) if known and len(known) == len(drains) else None


def _drain(lag_records: int, consume_per_s: float | None, produce_per_s: float | None) -> float | None:
    if lag_records == 0:
        return 0.0
    if consume_per_s is None or produce_per_s is None:
        return None
    surplus = consume_per_s - produce_per_s
    return lag_records / surplus if surplus > 0 else math.inf


def _sum(rates: Sequence[float | None]) -> float | None:
    known = [rate for rate in rates if rate is not None]
    return sum(known) if len(known) == len(rates) else None


def loss_in_s(retention_s: float | None, lag_s: float | None) -> float | None:
    """Return the seconds until the oldest unread record may be deleted; None when it will not be, or unknown.

    A segment goes only when its newest record is older than retention.ms: this is the earliest.
    """
    if retention_s is None or lag_s is None:
        return None
    return max(0.0, retention_s - lag_s)


def poll_takes_s(record_per_s: float | None, max_poll_records: int) -> float | None:
    """Return the seconds in which a member handles one full poll; longer than max.poll.interval.ms it is expelled."""
    return max_poll_records / record_per_s if record_per_s else None
