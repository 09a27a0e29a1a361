"""Many keys expire together: what each protection makes of it, where that can be said.

Keys expire evenly over the width w, a first reader comes to each at the rate lambda_k. Two cases can be forecast.
Where the database keeps up, its queries are those of a queue that shares c workers, whose law depends on the work s
by its mean only (processor sharing is insensitive; Kleinrock, Queueing Systems, vol. 2, ch. 4), and the most at once is
the highest of many chance counts. Where it is clearly full and one reader recomputes each key, chance is out of it:
a fluid of queries, integrated; those who began together end together.

Between the two chance decides, and so it does where nothing stops the duplicates in a full database: they multiply.
There a figure is None, or, for recomputations, a lower bound: in a full database a key is recomputed at least
by all who read it while a single recompute takes that long.
"""

from __future__ import annotations

import math
from collections import deque
from functools import lru_cache

from msgspec import Struct

from diag.analysis.one_expiry import EARLY_SHARE, JITTER_RATIO, LEASE_S, REFRESHES_EXPECTED
from diag.analysis.storm_growth import Effect, MeasuredStorm

FEWEST_KEYS = 100  # of the proof; fewer are as much one key as many
KEEPS_UP, FULL = 0.6, 1.5  # of what the database can do, at the worst moment: the proved ranges end here
_CROWD = 4  # queries for each worker, at least, before chance is out of it
_ROUNDS = 4  # recomputes one after the other within the storm: shorter ones never reach the queue's law
_STEPS = 2_000  # of the time in which first readers come: finer ones move no figure by 2 %
_MOMENTS = 200  # at which the chance counts are looked at
_TAIL = 6.0  # mean times to a first read: after those, 0.2 % of the keys have had none
_UNLIKELY = 1e-9  # beside the most likely count: it adds nothing to the highest
_ALIKE, _SWARM = 0.05, 12.0  # duplicates of one key come together; their share that a small peak does not feel
_SURE = 0.8  # of the fluid's time for one recompute, which is exact to a fifth


class _Reads(Struct, frozen=True):
    """How the first readers of the keys come: each key at `rate_per_s`, from a moment within `width_s`."""

    keys: int
    rate_per_s: float
    width_s: float

    @property
    def span_s(self) -> float:
        return self.width_s + _TAIL / self.rate_per_s

    def by(self, at_s: float) -> float:
        """Return how many keys have had a first reader."""
        if at_s <= 0:
            return 0.0
        rate, width_s = self.rate_per_s, self.width_s
        if at_s < width_s:
            return self.keys * (at_s + math.expm1(-rate * at_s) / rate) / width_s
        spread = -math.expm1(-rate * width_s) / (rate * width_s) if rate * width_s > 0 else 1.0
        return self.keys * (1 - math.exp(-rate * (at_s - width_s)) * spread)

    def within(self, before_s: float, at_s: float) -> float:
        """Return how many had theirs in the last `before_s`."""
        return self.by(at_s) - self.by(at_s - before_s)

    def most_within(self, before_s: float) -> float:
        """Return the most in any `before_s`: the moment is when the last keys expire, or shortly after."""
        return max(self.within(before_s, self.width_s + before_s * step / 16) for step in range(17))


class _Course(Struct, frozen=True):
    """What comes of it with one recompute for each key: the most at once, and how long a key takes, on average.

    `squared_s` is the mean of the square: readers who wait behind a recompute come evenly while it runs.
    """

    peak: float
    took_s: float
    squared_s: float
    slowest_s: float


def unguarded(storm: MeasuredStorm) -> Effect:
    """Every reader of a missing key recomputes it."""
    return _duplicated(storm, _reads(storm))


def per_process(_: MeasuredStorm) -> None:
    """Not modelled for many keys: their readers seldom meet in one process."""


def pool(storm: MeasuredStorm) -> Effect:
    """The database takes c recomputations at a time, first come first served; who waits recomputes in his turn."""
    return _pooled(storm)


def pool_recheck(storm: MeasuredStorm) -> Effect:
    """The same, and who gets a connection looks at the cache first, which only helps those who had to wait for it."""
    made = _pooled(storm)
    if not made.at_least:
        return made
    reads = _each(storm) * storm.recompute_s  # of one key, while it is recomputed: the most that can come in between
    few = reads <= 1 - _SURE
    return Effect(
        recomputations=storm.keys * (1 + reads / 2) if few else float(storm.keys),
        at_least=not few,
        peak_queries=made.peak_queries,
        added_wait_s=None,
    )


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
    """One refreshes each key, nobody waits; keys that expire together are refreshed together all the same.

    None where that may take longer than the early window: their readers would wait after all.
    """
    made = _alone(storm, _reads(storm))
    ahead_s = EARLY_SHARE * storm.ttl_s if storm.ttl_s else 0.0
    each = _each(storm)
    if made is None or ahead_s - _TAIL / each < made.slowest_s:
        return None
    return _served(storm, staleness=False)


def early_probability(storm: MeasuredStorm) -> Effect | None:
    """Refreshes by chance come spread over the early window; a key that is read too seldom gets none."""
    each = _each(storm)
    if not storm.ttl_s:
        return None
    rate = min(each, REFRESHES_EXPECTED / (EARLY_SHARE * storm.ttl_s))
    return _duplicated(storm, _Reads(storm.keys, rate, storm.width_s), each)


def xfetch(_: MeasuredStorm) -> None:
    """Not modelled for many keys: one that is not read during a recompute gets no early refresh from it."""


def jitter(storm: MeasuredStorm) -> Effect | None:
    """Spread over 2 x 20 % of the time to live, instead of the width."""
    if not storm.ttl_s:
        return None
    return _duplicated(storm, _reads(storm, max(storm.width_s, 2 * JITTER_RATIO * storm.ttl_s)))


def stale(storm: MeasuredStorm) -> Effect:
    """One recomputes each key, its other readers get the old value."""
    return _served(storm, staleness=True)


def _each(storm: MeasuredStorm) -> float:
    return storm.reads_per_s / max(1, storm.keys)


def _reads(storm: MeasuredStorm, width_s: float | None = None) -> _Reads:
    return _Reads(storm.keys, _each(storm), storm.width_s if width_s is None else width_s)


def _duplicated(storm: MeasuredStorm, first: _Reads, each: float | None = None) -> Effect:
    """Return the effect where readers of a missing key recompute it, at the rate of `first`, of all who read it."""
    took_s = _keeping_up_s(storm, first, duplicates=True)
    if took_s is None:
        alone = _alone(storm, first)
        least_s = storm.recompute_s if alone is None else max(storm.recompute_s, _SURE * alone.took_s)
        least = storm.keys * (1 + first.rate_per_s * least_s)
        return Effect(recomputations=least, at_least=True, peak_queries=None, added_wait_s=None)
    others = first.rate_per_s * took_s
    all_readers = 1 + (first.rate_per_s if each is None else each) * took_s
    peak = _highest(storm, first, 1 + others)
    return Effect(
        recomputations=storm.keys * (1 + others),
        peak_queries=peak if others <= _ALIKE or peak >= _SWARM else None,
        added_wait_s=took_s * (1 + others) / all_readers,
    )


def _pooled(storm: MeasuredStorm) -> Effect:
    first, workers = _reads(storm), storm.database_workers
    made = unguarded(storm)
    if made.added_wait_s is not None:
        half_s = (made.added_wait_s + storm.recompute_s) / 2  # equal work, first come first served: half the queue
        peak = min(workers, made.peak_queries) if made.peak_queries is not None else None
        others = 1 + first.rate_per_s * half_s
        return Effect(recomputations=storm.keys * others, peak_queries=peak, added_wait_s=half_s)
    full = _load(storm, first) >= FULL and storm.keys >= FEWEST_KEYS
    least = storm.keys * (1 + first.rate_per_s * storm.recompute_s)
    return Effect(recomputations=least, at_least=True, peak_queries=float(workers) if full else None, added_wait_s=None)


def _locked(storm: MeasuredStorm, lock_s: float | None) -> Effect | None:
    """Return None where the full database may take longer than the lock holds: no lock helps then."""
    made, each = _alone(storm, _reads(storm)), _each(storm)
    if lock_s and (storm.recompute_s if made is None else made.slowest_s) >= lock_s:
        return None
    if made is None:
        return None if lock_s else Effect(recomputations=float(storm.keys), peak_queries=None, added_wait_s=None)
    others = each * made.took_s
    waited_s = made.took_s + each * made.squared_s / 2 + others * storm.poll_s / 2
    return Effect(recomputations=float(storm.keys), peak_queries=made.peak, added_wait_s=waited_s / (1 + others))


def _served(storm: MeasuredStorm, *, staleness: bool) -> Effect:
    made, each = _alone(storm, _reads(storm)), _each(storm)
    if made is None:
        unknown = None if staleness else 0.0
        return Effect(recomputations=float(storm.keys), peak_queries=None, added_wait_s=None, staleness_s=unknown)
    took_s = made.took_s
    return Effect(
        recomputations=float(storm.keys),
        peak_queries=made.peak,
        added_wait_s=took_s / (1 + each * took_s),
        staleness_s=took_s + math.exp(-each * took_s) / each if staleness else 0.0,
    )


def _load(storm: MeasuredStorm, first: _Reads) -> float:
    """Return the first reads at the worst moment as a share of what the database can do."""
    return first.most_within(storm.recompute_s) / storm.database_workers


def _alone(storm: MeasuredStorm, first: _Reads) -> _Course | None:
    """Return what comes of one recompute for each key; None where that cannot be forecast."""
    took_s = _keeping_up_s(storm, first, duplicates=False)
    if took_s is not None:
        peak = _highest(storm, first, 1.0)
        return _Course(peak=peak, took_s=took_s, squared_s=took_s * took_s, slowest_s=took_s * _CROWD)
    if storm.keys < FEWEST_KEYS or _load(storm, first) < FULL:
        return None
    made = _fluid(first, storm.recompute_s, storm.database_workers)
    return made if made.peak >= _CROWD * storm.database_workers else None


def _keeping_up_s(storm: MeasuredStorm, first: _Reads, *, duplicates: bool) -> float | None:
    """Return how long a recompute takes in a database that keeps up; None where it does not, or too few come."""
    s, workers = storm.recompute_s, storm.database_workers
    again = 1 + first.rate_per_s * s if duplicates else 1.0
    load = _load(storm, first) * again
    if load > KEEPS_UP or storm.keys < FEWEST_KEYS or first.width_s < _ROUNDS * s:
        return None
    shared = _queue(load * workers, workers)
    return s * sum(count * chance for count, chance in enumerate(shared)) / (load * workers)


def _queue(offered: float, workers: int) -> list[float]:
    """Return the chance of each count of queries inside when `offered` are on average; exact for every law of work."""
    weight, weights, count = 1.0, [1.0], 0
    while weight > _UNLIKELY * max(weights) or count < offered:
        count += 1
        weight *= offered / min(count, workers)
        weights.append(weight)
    total = sum(weights)
    return [one / total for one in weights]


def _highest(storm: MeasuredStorm, first: _Reads, again: float) -> float:
    """Return the expected highest count: each query that finds n - 1 inside makes it n."""
    s, span_s = storm.recompute_s, first.span_s + storm.recompute_s
    passed: list[float] = []
    step_s = span_s / _MOMENTS
    for moment in range(_MOMENTS):
        comes = again * first.within(step_s, (moment + 1) * step_s)
        offered = again * first.within(s, (moment + 0.5) * step_s + s / 2)
        if comes <= 0 or offered <= 0:
            continue
        chances = _queue(offered, storm.database_workers)
        passed.extend([0.0] * (len(chances) - len(passed)))
        for count, chance in enumerate(chances):
            passed[count] += comes * chance
    return sum(-math.expm1(-times) for times in passed)


@lru_cache(maxsize=32)
def _fluid(first: _Reads, s: float, workers: int) -> _Course:
    """Integrate until the keys are back; those who began together end when the same work is done on each."""
    step_s = first.span_s / _STEPS
    running: deque[tuple[float, float, float]] = deque()  # the work at which they end, when they began, how many
    work, inside, peak, slowest_s, took, squared, begun = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    at_s = 0.0
    while at_s < first.span_s or running:
        if at_s < first.span_s:
            comes = first.within(step_s, at_s + step_s)
            running.append((work + s, at_s + step_s / 2, comes))
            inside, begun = inside + comes, begun + comes
            peak = max(peak, inside)
            until, gone_s = work + step_s * min(1.0, workers / inside), at_s + step_s
        else:
            until, gone_s = math.inf, math.inf
        while running and running[0][0] <= until:
            ends, began_s, many = running.popleft()
            at_s += (ends - work) * max(1.0, inside / workers)
            work, inside = ends, max(0.0, inside - many)
            took_s = max(s, at_s - began_s)
            slowest_s = max(slowest_s, took_s)
            took, squared = took + many * took_s, squared + many * took_s * took_s
        if gone_s < math.inf:
            work += max(0.0, gone_s - at_s) * min(1.0, workers / max(1.0, inside))
            at_s = gone_s
    return _Course(peak=peak, took_s=took / begun, squared_s=squared / begun, slowest_s=slowest_s)
