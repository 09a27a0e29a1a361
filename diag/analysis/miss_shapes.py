"""What made a stretch of misses: one hot key, a lock, keys that expired or were removed together, or no storm at all.

One key      SETs follow and sum to the misses, but hardly any key is created by them: duplicates of one value
Lock         SETs that change nothing (SET NX refused): readers wait for one who recomputes
Many keys    each SET creates a key; they had expired (expired_stale_perc jumps, or they go as they are read),
             were deleted (DEL, UNLINK before), were never there under that name (new keys), or were evicted
No storm     what is missed is asked for in addition (hits stay), or nobody writes it: keys that do not exist
expired_keys alone is no sign of a mass expiry: most of its keys are counted minutes later, or as they are read.
Source: redis.io, "EXPIRE" (how Redis expires keys), "SET"; Nishtala et al., NSDI 2013, section 3.2.1.
"""

from __future__ import annotations

import statistics
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from itertools import pairwise

from msgspec import Struct

from diag.analysis.miss_stretches import Stretch, counted, stretches
from diag.analysis.read_steps import Step, steps, usual
from diag.analysis.rewrites import bursts
from diag.snapshots.base import Row, Window
from diag.snapshots.redis import RedisLoad
from diag.text import KeyText

_FOLLOWED = 0.3  # SETs of the misses: then what is missed is recomputed
_FEW_KEYS, _FEW_SHARE = 3, 0.1  # created by the SETs: then they were about one key, or very few
_REFUSED_SHARE, _LEAST_REFUSED = 0.2, 10  # of the misses: then a lock stands before the recomputation
_STALE_RISE = 0.02  # of expired_stale_perc: keys due faster than Redis removes them
_MANY = 10
_SOON_S = 3.0  # a first SET is still to come
_COLD_S = 60.0  # after a start with nothing calm before: still filling
_LOCK_SETS = 4  # two locks and two values
_QUIET_SETS = 5  # in one step: then locks and values can be counted


class Shape(StrEnum):
    """What a stretch of misses is."""

    HOT_KEY = "one hot key"
    LOCK_HELD = "lock without a value"
    LOCK_SHORT = "lock shorter than the recomputation"
    EARLY = "early refresh by everybody"
    EXPIRY = "keys expired together"
    INVALIDATION = "keys deleted together"
    NEW_KEYS = "keys under a new name"
    EVICTION = "evictions"
    COLD = "cold cache"
    ABSENT = "keys that do not exist"
    ADDITIONAL = "additional reads"
    UNDECIDED = "undecided"


HOT = (Shape.HOT_KEY, Shape.LOCK_HELD, Shape.LOCK_SHORT, Shape.EARLY)
MANY = (Shape.EXPIRY, Shape.INVALIDATION, Shape.NEW_KEYS)


class Storm(Struct, frozen=True, kw_only=True):
    """A stretch of misses and what it is.

    `recomputations` is how often the value was made, as far as it was seen or must follow (None: nobody can
    tell); `lock_s` how long a lock lived, where one was seen to begin again.
    """

    shape: Shape
    stretch: Stretch
    began: Step
    recomputations: int | None = None
    lock_s: float | None = None

    @property
    def duplicates(self) -> int:
        """Recomputations beyond the one that was needed for each key."""
        needed = 1 if self.shape in HOT else self.stretch.created
        return max(0, (self.recomputations or 0) - needed)


@lru_cache(maxsize=4)
def storms(window: Window[RedisLoad]) -> tuple[Storm, ...]:
    """Return what happened in the window, in the order of time; refreshes without misses last."""
    taken = steps(window)
    found = [_storm(window, taken, stretch) for stretch in stretches(window)]
    if any(step.anew or step.flushes for step in taken):
        return tuple(found)
    early = (
        Storm(shape=Shape.EARLY, stretch=one, began=taken[one.first], recomputations=one.sets) for one in bursts(window)
    )
    return (*found, *early)


def _storm(window: Window[RedisLoad], taken: tuple[Step, ...], stretch: Stretch) -> Storm:
    shape = _shape(window, taken, stretch)
    recomputations: int | None = min(stretch.sets, stretch.misses)  # one follows a miss; other SETs do not
    lock_s = None
    if shape is Shape.HOT_KEY:
        recomputations = max(stretch.sets, stretch.named_misses or stretch.misses)
    elif shape in (Shape.LOCK_HELD, Shape.LOCK_SHORT):
        recomputations = _values(taken, stretch, shape)
        lock_s = _lock_s(taken, stretch)
    return Storm(shape=shape, stretch=stretch, began=taken[stretch.first], recomputations=recomputations, lock_s=lock_s)


def _shape(window: Window[RedisLoad], taken: tuple[Step, ...], stretch: Stretch) -> Shape:
    """Decide in the order in which one thing explains the next."""
    before = taken[: stretch.first]
    calm_before = any(not step.anew for step in before)
    if stretch.flushes or any(step.anew for step in taken):
        return Shape.COLD
    if stretch.evicted >= max(1.0, _FOLLOWED * min(stretch.misses, stretch.created)):
        return Shape.EVICTION
    if stretch.refused >= max(_LEAST_REFUSED, _REFUSED_SHARE * stretch.misses):
        return _lock(taken, stretch)
    if not calm_before and window.first.uptime_s < _COLD_S and not stretch.key:
        return Shape.COLD
    few = stretch.created <= max(_FEW_KEYS, _FEW_SHARE * min(stretch.misses, max(1, stretch.sets)))
    followed = stretch.sets >= _FOLLOWED * stretch.misses
    if stretch.key:
        late = stretch.ended or stretch.length_s >= _SOON_S
        beside = not followed and (not stretch.ended or stretch.hits_fell is False)
        return Shape.ABSENT if late and (beside or not stretch.sets) else Shape.HOT_KEY
    if (stretch.distinct or 0) < _MANY and followed and few and usual(window, taken).known:
        return Shape.HOT_KEY
    if not followed:
        return _without_sets(taken, stretch, few=few)
    return _many(stretch)


def _without_sets(taken: tuple[Step, ...], stretch: Stretch, *, few: bool) -> Shape:
    """Nothing is written yet, or nothing ever is."""
    if stretch.removed >= _FOLLOWED * stretch.misses or (stretch.hits_fell and stretch.stale_rise >= _STALE_RISE):
        return _many(stretch)
    now = stretch.last == len(taken) - 1 and stretch.last - stretch.first < _SOON_S
    if not stretch.hits_fell:
        return Shape.UNDECIDED if stretch.hits_fell is None and now else Shape.ABSENT
    lost_keys = stretch.expired + stretch.removed
    if now and few and lost_keys <= _FEW_KEYS and (stretch.distinct or 0) < _MANY:
        return Shape.HOT_KEY
    return Shape.UNDECIDED if now else Shape.ABSENT


def _many(stretch: Stretch) -> Shape:
    released = max(0, stretch.sets - stretch.misses)
    if stretch.removed - released >= max(1.0, _FOLLOWED * stretch.created):
        return Shape.INVALIDATION
    as_read = stretch.expired >= max(_MANY, stretch.created / 2) and stretch.hits_fell
    if as_read or (stretch.stale_rise >= _STALE_RISE and stretch.hits_fell is not False):
        return Shape.EXPIRY
    if stretch.hits_fell is None or not stretch.first:  # what led to it came before the look
        return Shape.UNDECIDED
    return Shape.NEW_KEYS if stretch.hits_fell else Shape.ADDITIONAL


def _lock(taken: tuple[Step, ...], stretch: Stretch) -> Shape:
    """A lock that begins again and again is too short; one that stands without a value has no holder, or a slow one."""
    values = _written_values(taken, stretch)
    if values is not None:
        return Shape.LOCK_SHORT if values > 1 else Shape.LOCK_HELD
    wrote = _lock_sets(taken, stretch)
    least = _LOCK_SETS if stretch.ended else _LOCK_SETS - 1
    return Shape.LOCK_SHORT if wrote is not None and wrote >= least else Shape.LOCK_HELD


def _lock_sets(taken: tuple[Step, ...], stretch: Stretch) -> int | None:
    """Return how many SETs wrote: locks, and values. None where others write so much that these are lost in it."""
    wrote = [step.kept for step in taken[stretch.first : stretch.until + 1]]
    if (
        max(wrote) > _QUIET_SETS
        or (stretch.calm_sets_per_s or 0.0) * sum(step.span_s for step in taken[stretch.first : stretch.until + 1])
        > len(wrote) / 2
    ):
        return None
    return sum(wrote)


def _written_values(taken: tuple[Step, ...], stretch: Stretch) -> int | None:
    """Return how often the key itself was written, by CLIENT TRACKING; its expiry is named there as well."""
    if stretch.key is None or not any(step.written for step in taken):
        return None
    named = counted([step.written for step in taken[max(0, stretch.first - 1) : stretch.until + 1]])
    return max(0, named[stretch.key] - (1 if stretch.first and (stretch.expired or stretch.removed) else 0))


def _values(taken: tuple[Step, ...], stretch: Stretch, shape: Shape) -> int | None:
    """Return how often the value is made behind a lock: for each lock there is a value, at once or later."""
    named = _written_values(taken, stretch)
    wrote = _lock_sets(taken, stretch)
    if named is not None or wrote is None:
        return named
    if shape is Shape.LOCK_HELD:
        return 1 if stretch.ended else 0  # the misses end with the first value
    return (wrote + 1) // 2 if stretch.ended else wrote


def _lock_s(taken: tuple[Step, ...], stretch: Stretch) -> float | None:
    """Return the time between SETs that wrote while readers were still refused: each is a lock taken anew."""
    core = taken[stretch.first : stretch.last + 1]
    when = [step.to_at for step in core if step.kept > 0 and (step.refused or 0) > 0]
    if _lock_sets(taken, stretch) is None:
        return None
    gaps = [(late - early).total_seconds() for early, late in pairwise(when)]
    return statistics.median(gaps) if gaps else None


class StormRow(Row, frozen=True, kw_only=True):
    """One row of `facts.storms[]`."""

    shape: str
    began_at: datetime
    length_s: float
    misses: int
    recomputations: int | None
    key: KeyText | None


def storm_rows(window: Window[RedisLoad]) -> tuple[StormRow, ...]:
    """Return one row for each stretch of misses, storm or not."""
    return tuple(
        StormRow(
            target=window.last.target.name,
            shape=str(storm.shape),
            began_at=storm.began.from_at,
            length_s=round(storm.stretch.length_s, 1),
            misses=storm.stretch.misses,
            recomputations=storm.recomputations,
            key=storm.stretch.key,
        )
        for storm in storms(window)
    )
