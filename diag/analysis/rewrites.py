"""One key that is there all the time and is still written many times within a moment, by the names of CLIENT TRACKING.

An early refresh that anybody may do looks like that: nothing is missed, and the database gets a query from every
reader. The names are a lower bound: the server merges writes of one pass of its event loop. A key that is written
all the time, as a counter is, makes no burst. Without names SETs alone cannot tell it from a job that fills the cache.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from diag.analysis.miss_stretches import Stretch, counted, sets_beyond, stretches
from diag.analysis.read_steps import Step, steps, usual
from diag.snapshots.base import Window
from diag.snapshots.redis import RedisLoad
from diag.text import KeyText

_LEAST_WRITES = 10  # more than the processes that a single flight each would leave
_IN_BURSTS = 0.9  # of a key's writes
_FAINT = 0.1  # of the busiest step
_MOST_OF_WINDOW = 0.5
_MOST_KEYS = 3


def bursts(window: Window[RedisLoad]) -> tuple[Stretch, ...]:
    """Return the bursts, the key that is written most first."""
    taken = steps(window)
    totals = counted([step.written for step in taken])
    return tuple(one for key, _ in totals.most_common(_MOST_KEYS) for one in _bursts_of(key, window, taken))


def _bursts_of(key: KeyText, window: Window[RedisLoad], taken: Sequence[Step]) -> Iterator[Stretch]:
    counts = [counted([step.written])[key] for step in taken]
    busy = [place for place, count in enumerate(counts) if count >= max(2, _FAINT * max(counts))]
    missed = counted([step.missed for step in taken])[key]
    in_bursts = sum(counts[place] for place in busy)
    if missed or in_bursts < _IN_BURSTS * sum(counts) or len(busy) > _MOST_OF_WINDOW * len(taken):
        return
    normal = usual(window, taken)
    for first, last in _runs(busy):
        if not first or sum(counts[first : last + 1]) < _LEAST_WRITES:
            continue
        if any(one.first - 1 <= first <= one.end + 1 for one in stretches(window)):
            continue  # what is written after misses belongs to them
        sets = round(sum(sets_beyond(step, normal) for step in taken[first : last + 1]))
        if 2 * sets < sum(counts[first : last + 1]):
            continue
        yield _burst(taken, (first, last), key, max(sets, sum(counts[first : last + 1])))


def _runs(places: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Put places that follow each other together."""
    left = list(places)
    while left:
        first = last = left.pop(0)
        while left and left[0] == last + 1:
            last = left.pop(0)
        yield first, last


def _burst(taken: Sequence[Step], places: tuple[int, int], key: KeyText, written: int) -> Stretch:
    first, last = places
    core = taken[first : last + 1]
    span_s = sum(step.span_s for step in core)
    return Stretch(
        first=first,
        last=last,
        end=last,
        until=last,
        length_s=span_s,
        ended=last + 1 < len(taken),
        misses=sum(max(0, step.misses) for step in core),
        reads_per_s=sum(step.reads for step in core) / span_s,
        sets=written,
        stale_rise=max(step.stale_rise for step in core),
        key=key,
        named_by="CLIENT TRACKING",
    )
