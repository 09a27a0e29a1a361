"""Many keys expire together: what each protection makes of it.

A fluid of keys and queries, integrated: keys expire evenly over the width, a first reader comes to each at the
rate lambda_k, readers who find the key still missing recompute it again, wait, or are served, as the protection has
it. The database shares c workers among its queries (or takes c at a time), and each recompute is the same work s, so
those who began together end together. Where it is never full, the highest of many chance occupancies is added: the
expected maximum of a Poisson count (M/G/infinity; Kleinrock, Queueing Systems, vol. 1, ch. 3).

Recomputations hold to 20 % wherever the database keeps up or somebody stops the duplicates. Peak and wait do where
the load is below 0.7 or above 1.3 of what the database can do: at its very limit chance decides. Where nothing
stops the duplicates and the database is full, they multiply, chance decides too, and the figure is a low one.
"""

from __future__ import annotations

import math
from collections import deque
from functools import lru_cache

from msgspec import Struct
from msgspec.structs import replace

from diag.analysis.one_expiry import EARLY_SHARE, JITTER_RATIO, LEASE_S, REFRESHES_EXPECTED
from diag.analysis.storm_growth import Effect, MeasuredStorm, poisson

_FINEST, _COARSEST = 1 / 8, 1.0  # of one recompute, done in a step: finer ones move no figure by 3 %
_STEPS = 6_000  # about 20 ms of ours; what is left then adds in proportion
_SETTLED = 0.002  # of the keys still missing: the storm is over


class _Way(Struct, frozen=True, kw_only=True):
    """How readers behave: `alone` one recomputes and others wait, `pooled` the database takes c at a time."""

    reads_per_s: float  # of one key, that may recompute it
    width_s: float
    alone: bool = False
    pooled: bool = False


class _Cohort(Struct):
    """What began in one step: `ends` is the work or the moment at which it is done."""

    ends: float
    began_s: float
    keys: float
    queries: float


class _Now(Struct):
    """Where the integration is."""

    at_s: float
    work: float
    inside: float


class _Course(Struct):
    """What came of it: queries, the most at once, readers who came while keys were missing and their waits.

    `filled` keys took `filling_s` in all to be recomputed, `slowest_s` the slowest of them.
    """

    recomputations: float = 0.0
    peak: float = 0.0
    readers: float = 0.0
    waited_s: float = 0.0
    filled: float = 0.0
    filling_s: float = 0.0
    slowest_s: float = 0.0


def unguarded(storm: MeasuredStorm) -> Effect:
    """Every reader of a missing key recomputes it."""
    return _effect(storm, _Way(reads_per_s=_each(storm), width_s=storm.width_s))


def per_process(_: MeasuredStorm) -> None:
    """Not modelled for many keys: their readers seldom meet in one process."""


def pool(storm: MeasuredStorm) -> Effect:
    """The database takes c recomputations at a time, first come first served."""
    return _pooled(storm, _Way(reads_per_s=_each(storm), width_s=storm.width_s, pooled=True))


def pool_recheck(storm: MeasuredStorm) -> Effect:
    """The same, and who gets a connection looks at the cache first."""
    return _pooled(storm, _Way(reads_per_s=_each(storm), width_s=storm.width_s, pooled=True, alone=True))


def lock(storm: MeasuredStorm) -> Effect | None:
    """One recomputes each key, the other readers of that key wait: no duplicates, and still all keys at once."""
    return _locked(storm, storm.lock_ttl_s)


def lease(storm: MeasuredStorm) -> Effect | None:
    """A lock of 10 s for each key."""
    return _locked(storm, LEASE_S)


def early_ungated(storm: MeasuredStorm) -> Effect:
    """The same as today, sooner."""
    return unguarded(storm)


def early_lock(storm: MeasuredStorm) -> Effect | None:
    """One refreshes each key, nobody waits; keys that expire together are refreshed together all the same."""
    return replace(_served(storm), staleness_s=0.0) if storm.ttl_s else None


def early_probability(storm: MeasuredStorm) -> Effect | None:
    """Refreshes by chance come spread over the early window; a key that is read too seldom gets none."""
    each = _each(storm)
    if not storm.ttl_s or each <= 0:
        return None
    rate = min(each, REFRESHES_EXPECTED / (EARLY_SHARE * storm.ttl_s))
    few = _effect(storm, _Way(reads_per_s=rate, width_s=storm.width_s))
    s = storm.recompute_s
    return Effect(
        recomputations=few.recomputations,
        peak_queries=few.peak_queries,
        added_wait_s=few.added_wait_s * (1 + rate * s) / (1 + each * s),
    )


def xfetch(_: MeasuredStorm) -> None:
    """Not modelled for many keys: one that is not read during a recompute gets no early refresh from it."""


def jitter(storm: MeasuredStorm) -> Effect | None:
    """Spread over 2 x 20 % of the time to live, instead of the width."""
    if not storm.ttl_s:
        return None
    return _effect(storm, _Way(reads_per_s=_each(storm), width_s=storm.width_s + 2 * JITTER_RATIO * storm.ttl_s))


def stale(storm: MeasuredStorm) -> Effect:
    """One recomputes each key, its other readers get the old value."""
    return _served(storm)


def _served(storm: MeasuredStorm) -> Effect:
    each, s = _each(storm), storm.recompute_s
    made = _course(storm, _Way(reads_per_s=each, width_s=storm.width_s, alone=True))
    slow_s = made.filling_s / made.filled if made.filled else s
    return Effect(
        recomputations=float(storm.keys),
        peak_queries=_peak(storm, made),
        added_wait_s=slow_s / (1 + each * slow_s),
        staleness_s=slow_s + (math.exp(-each * slow_s) / each if each else 0.0),
    )


def _each(storm: MeasuredStorm) -> float:
    return storm.reads_per_s / max(1, storm.keys)


def _locked(storm: MeasuredStorm, lock_s: float | None) -> Effect | None:
    """Return None where the full database takes longer than the lock holds: not modelled, and no lock helps then."""
    way = _Way(reads_per_s=_each(storm), width_s=storm.width_s, alone=True)
    made = _course(storm, way)
    if lock_s and made.slowest_s >= lock_s:
        return None
    effect = _effect_of(storm, made)
    polled = storm.poll_s / 2 * (1 - made.filled / made.readers) if made.readers else 0.0
    return replace(effect, added_wait_s=effect.added_wait_s + polled)


def _pooled(storm: MeasuredStorm, way: _Way) -> Effect:
    effect = _effect(storm, way)
    return replace(effect, peak_queries=min(storm.database_workers, effect.peak_queries))


def _effect(storm: MeasuredStorm, way: _Way) -> Effect:
    return _effect_of(storm, _course(storm, way))


def _effect_of(storm: MeasuredStorm, made: _Course) -> Effect:
    share = made.filled / storm.keys or 1.0  # how far the integration got
    return Effect(
        recomputations=made.recomputations / share,
        peak_queries=_peak(storm, made),
        added_wait_s=made.waited_s / made.readers if made.readers else storm.recompute_s,
    )


@lru_cache(maxsize=32)
def _course(storm: MeasuredStorm, way: _Way) -> _Course:
    """Integrate until the keys are back; time runs by the work that the database does on each query."""
    s, workers, made = storm.recompute_s, storm.database_workers, _Course()
    missing, at_s, work, free_s, inside, busy = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    left = float(storm.keys)  # that have not expired yet
    running: deque[_Cohort] = deque()
    spans = (way.width_s + 5 / way.reads_per_s) / s if way.reads_per_s else 0.0
    share = min(_COARSEST, max(_FINEST, spans / _STEPS))
    for _ in range(_STEPS):
        slow = 1.0 if way.pooled else max(1.0, inside / workers)
        step_s = s * share * slow
        expiring = min(left, storm.keys * step_s / way.width_s) if way.width_s > step_s else left
        left -= expiring
        missing += expiring
        found = (missing - expiring / 2) * -math.expm1(-way.reads_per_s * step_s)
        missing -= found
        again = way.reads_per_s * busy * step_s
        if way.alone:
            again = found * way.reads_per_s * min(s, workers * step_s / found) if way.pooled and found else 0.0
        queries = found + again
        made.recomputations += queries
        work += step_s / slow
        at_s += step_s
        free_s = max(free_s, at_s) + queries * s / workers
        ends = max(at_s + s, free_s) if way.pooled else work + s
        running.append(_Cohort(ends=ends, began_s=at_s, keys=found, queries=queries))
        inside, busy = inside + queries, busy + found
        while running and running[0].ends <= (at_s if way.pooled else work):
            done = running.popleft()
            inside, busy = inside - done.queries, busy - done.keys
            _count(made, done, at_s, way)
        made.peak = max(made.peak, min(inside, workers) if way.pooled else inside)
        if left + missing + busy < _SETTLED * storm.keys:
            break
    _drain(running, _Now(at_s=at_s, work=work, inside=inside), storm, way, made)
    return made


def _drain(running: deque[_Cohort], now: _Now, storm: MeasuredStorm, way: _Way, made: _Course) -> None:
    """Let what is still running end; nobody comes any more."""
    while running:
        done = running.popleft()
        if way.pooled:
            now.at_s = max(now.at_s, done.ends)
        else:
            now.at_s += max(0.0, done.ends - now.work) * max(1.0, now.inside / storm.database_workers)
            now.work = max(now.work, done.ends)
            now.inside -= done.queries
        _count(made, done, now.at_s, way)


def _count(made: _Course, done: _Cohort, at_s: float, way: _Way) -> None:
    """Add up what the readers of a cohort's keys have waited; behind one recompute they came evenly."""
    took_s = at_s - done.began_s
    made.slowest_s = max(made.slowest_s, took_s)
    made.filled += done.keys
    made.filling_s += done.keys * took_s
    if way.alone:
        others = done.keys * way.reads_per_s * took_s
        made.readers += done.keys + others
        made.waited_s += (done.keys + others / 2) * took_s
    else:
        made.readers += done.queries
        made.waited_s += done.queries * took_s


def _peak(storm: MeasuredStorm, made: _Course) -> float:
    """Return the fluid's peak where the database is full, else the expected maximum of as many chance counts."""
    if made.peak >= storm.database_workers:
        return made.peak
    highest, count = 0.0, 1
    while (
        count <= made.peak or (chance := -math.expm1(-made.recomputations * poisson(count - 1, made.peak))) > _SETTLED
    ):
        highest += 1.0 if count <= made.peak else chance
        count += 1
    return max(1.0, highest)
