"""XFetch on one key: a read at g seconds before the expiry refreshes it with chance e^(-g / (beta s)).

Where lambda s beta >> 1 and the database takes more than e^(1 / beta) queries at once, that is e^(1 / beta)
recomputations (Vattani, Chierichetti, Lowenstein, VLDB 2015). Elsewhere the tail decides: a refresh that is still
at it when the key expires meets every reader. So paths up to the expiry are followed one by one, on a fixed
sequence of chances, and what comes after is the exact mean of `storm_growth`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from diag.analysis.storm_growth import Effect, Flood, MeasuredStorm, grown, share_of_first

BETA = 1.0  # as the paper proposes
_PATHS = 1_200  # standard error 2 to 4 %, 60 ms of ours
_CROWD = 30  # for each worker: from there the fluid is as good, and a path as long as the reads of a recompute
_MULTIPLIER, _INCREMENT, _MODULUS = 6364136223846793005, 1442695040888963407, 2**64  # Knuth's MMIX generator


def effect(storm: MeasuredStorm, unguarded: Flood) -> Effect:
    """Return the means over all paths, with today's flood where no read refreshed in time."""
    rate, s = storm.reads_per_s, storm.recompute_s
    expected = rate * s * BETA  # early refreshes, if none of them ended it
    nobody = math.exp(-expected)
    chances = _chances()
    recomputed, wait_s = 0.0, 0.0
    for path in range(_PATHS):
        place = (path + 0.5) / _PATHS
        weight = 3 * place**2 / _PATHS  # late ones are rare and dear: more of them are followed, and count for less
        before = -math.log(nobody + (1 - nobody) * place**3)  # refreshes expected until the first one
        one = _path(storm, before, chances)
        recomputed += one.recomputations * weight
        share = (one.recomputations - 1) / max(1e-9, rate * one.fill_s)
        first = share_of_first(rate * one.fill_s)
        wait_s += one.waited_s / one.recomputations * min(1.0, share + (1 - share) * first) * weight
    mean = (1 - nobody) * recomputed + nobody * unguarded.recomputations
    return Effect(
        recomputations=mean,
        peak_queries=mean,
        added_wait_s=(1 - nobody) * wait_s + nobody * unguarded.waited_s / unguarded.recomputations,
    )


def _path(storm: MeasuredStorm, before: float, chances: Iterator[float]) -> Flood:
    """Follow one flood from its first refresh, before which `before` refreshes were expected."""
    rate, s, workers = storm.reads_per_s, storm.recompute_s, storm.database_workers
    expected = rate * s * BETA
    expires_s = BETA * s * math.log(expected / before) if before < expected else 0.0
    at_s, work, begun = 0.0, 0.0, [(0.0, 0.0)]
    while True:
        before -= math.log(1 - next(chances))
        comes_s = expires_s - BETA * s * math.log(expected / before) if before < expected else math.inf
        slow = max(1.0, len(begun) / workers)
        ends_s = at_s + (s - work) * slow
        if ends_s <= min(comes_s, expires_s):
            return Flood(recomputations=len(begun), fill_s=ends_s, waited_s=_left(begun, ends_s, s, workers))
        if expires_s <= comes_s:
            work += (expires_s - at_s) / slow
            return _missed(storm, len(begun), work, max(ends_s, expires_s))
        work += (comes_s - at_s) / slow
        at_s = comes_s
        begun.append((at_s, work))
        if len(begun) >= _CROWD * workers:
            return _crowd(storm, len(begun), work, expected - before, expires_s)


def _missed(storm: MeasuredStorm, inside: float, work: float, at_s: float) -> Flood:
    """The key is gone and the first of those inside has got `work`: now all who read recompute."""
    rate, s, workers = storm.reads_per_s, storm.recompute_s, storm.database_workers
    all_ = grown(round(inside), rate, s - work, workers)
    each_s = max(s, (all_ / workers - 1) * s)  # as in the fluid: the crowd, less those who had left
    return Flood(recomputations=all_, fill_s=at_s + (all_ - inside) / rate, waited_s=all_ * each_s)


def _crowd(storm: MeasuredStorm, inside: int, work: float, expected: float, expires_s: float) -> Flood:
    """So many refresh that chance is out of it: they grow with e^(t / (beta s)), and `expected` more come in time."""
    s, workers = storm.recompute_s, storm.database_workers
    to_do = (s - work) / (workers * BETA * s)  # the integral of 1 / inside that ends it
    if 1 / inside - to_do > 1 / (inside + expected):
        all_ = 1 / (1 / inside - to_do)
        return Flood(recomputations=all_, fill_s=expires_s, waited_s=all_ * max(s, all_ / workers * s))
    done = workers * BETA * s * (1 / inside - 1 / (inside + expected))
    return _missed(storm, inside + expected, work + done, expires_s)


def _left(begun: list[tuple[float, float]], at_s: float, s: float, workers: int) -> float:
    """Return what those inside wait in all, from when each began until the work on it is done, one after the other."""
    waited, work = 0.0, s
    for gone, (began_s, began) in enumerate(begun):
        at_s += (began + s - work) * max(1.0, (len(begun) - gone) / workers)
        work = began + s
        waited += at_s - began_s
    return waited


def _chances() -> Iterator[float]:
    """Yield numbers of 0 to 1, the same every time."""
    state = 2_019
    while True:
        state = (state * _MULTIPLIER + _INCREMENT) % _MODULUS
        yield state / _MODULUS
