"""Several counters of the same thing, added up without inventing a fall, a jump or a sample.

Servers are scraped at times of their own, so each is read off between its scrapes. A restart of one is
undone before it is added, else the sum would fall by all that one had counted.
"""

from __future__ import annotations

import statistics
from bisect import bisect_left
from collections.abc import Iterator, Sequence

from diag.sources.prometheus.ranges import Series

_CLOSE = 0.75  # of a scrape: a moment nearer than this to one that is taken adds nothing
_UNSEEN = 3.0  # scrapes: a longer hole is not read across


def summed(series: Sequence[Series]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return times and totals of the sum; one series stays as it is, with the falls of its restarts.

    Before a series begins and after it ends it counts as standing still. Moments at which one of them
    has a hole are left out: nothing is known of the sum there.
    """
    if len(series) == 1:
        return series[0].at_s, series[0].totals
    steps_s = [_step_s(one) for one in series]
    counted = [_without_falls(one) for one in series]
    times: list[float] = []
    totals: list[float] = []
    for at_s in _moments(series, steps_s):
        parts = [
            _read_off(one.at_s, rising, at_s, _UNSEEN * step_s)
            for one, rising, step_s in zip(series, counted, steps_s, strict=True)
        ]
        known = [part for part in parts if part is not None]
        if len(known) == len(parts):
            times.append(at_s)
            totals.append(max(sum(known), totals[-1] if totals else 0.0))  # rounding must not look like a restart
    return tuple(times), tuple(totals)


def _step_s(one: Series) -> float:
    steps = [later - earlier for earlier, later in zip(one.at_s, one.at_s[1:], strict=False)]
    return statistics.median(steps) if steps else 0.0


def _without_falls(one: Series) -> tuple[float, ...]:
    """Return the totals as they would be had the counter never begun anew."""
    lost = 0.0
    rising = [one.totals[0]]
    for before, after in zip(one.totals, one.totals[1:], strict=False):
        lost += before if after < before else 0.0
        rising.append(lost + after)
    return tuple(rising)


def _moments(series: Sequence[Series], steps_s: Sequence[float]) -> Iterator[float]:
    """Choose the scrape times of the fullest series, and those of others where it has none."""
    taken: list[float] = []
    for one, step_s in sorted(zip(series, steps_s, strict=True), key=lambda pair: -len(pair[0].at_s)):
        near_s = _CLOSE * step_s
        fresh = []
        for at_s in one.at_s:
            place = bisect_left(taken, at_s)
            beside = taken[max(0, place - 1) : place + 1]
            if all(abs(at_s - other) > near_s for other in beside):
                fresh.append(at_s)
        taken = sorted([*taken, *fresh])
    yield from taken


def _read_off(times: Sequence[float], rising: Sequence[float], at_s: float, longest_s: float) -> float | None:
    """Return what a counter stood at, on the straight line between its scrapes; None inside a hole."""
    place = bisect_left(times, at_s)
    if place == len(times):
        return rising[-1]
    if times[place] == at_s or place == 0:
        return rising[place]
    before_s, after_s = times[place - 1], times[place]
    if after_s - before_s > longest_s:
        return None
    share = (at_s - before_s) / (after_s - before_s)
    return rising[place - 1] + share * (rising[place] - rising[place - 1])
