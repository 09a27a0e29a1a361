"""How many readers recompute one expired key before the first of them has filled the cache again.

Reads of the key come at random (Poisson, lambda a second), one recompute takes s alone, and the database
shares c workers among n queries: each runs at min(1, c / n). Counted in the work the first query has
received, the readers inside are a pure birth process: the next comes at the rate lambda max(1, n / c).
So their mean is exact: a Poisson process until c are inside, then growth by e^(lambda / c) for each unit
of work (Yule 1925; Feller, An Introduction to Probability Theory, vol. 1, ch. XVII.3). The fluid limit is
the well-known (c / lambda) e^(x - 1) with x = lambda s / c, which for few workers is low by up to 45 %.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

from msgspec import Struct

_STEPS = 64  # of one recompute: finer ones move no figure by 1 %
_LONGEST_EXPONENT = 300.0  # beyond this the square of a float overflows, and every reader there is has come long before
_DEVIATIONS = 10  # standard deviations and more: chances below 1e-12
_HALVINGS = 80  # of a bracket of loads: past the last digit of a float


class MeasuredStorm(Struct, frozen=True, kw_only=True):
    """A storm as it was measured. None: not known; what needs it is left out of the answer.

    `reads_per_s` are the reads of all `keys` that expire together, within `width_s`; `recompute_s` is one
    recompute by an idle database, `database_workers` the queries it truly works on at once (its cores, or
    the useful concurrency). `processes` are those of the application, `lock_ttl_s` the time to live of a lock
    (None: longer than a recompute takes), `poll_s` how often a reader behind a lock looks again.
    """

    reads_per_s: float
    recompute_s: float
    database_workers: int
    processes: int | None = None
    ttl_s: float | None = None
    keys: int = 1
    width_s: float = 0.0
    lock_ttl_s: float | None = None
    poll_s: float = 0.05

    @property
    def load(self) -> float:
        """The x of the formulas: reads of one key during one recompute, for each worker; saturated above 1."""
        return self.reads_per_s / max(1, self.keys) * self.recompute_s / self.database_workers


class Effect(Struct, frozen=True, kw_only=True):
    """One expiry under one protection, on average: the figures that `protections.Forecast` explains.

    None: not to be forecast within a fifth. `at_least`: so many recomputations or more.
    """

    recomputations: float
    peak_queries: float | None
    added_wait_s: float | None
    staleness_s: float | None = 0.0
    at_least: bool = False


class Flood(Struct, frozen=True, kw_only=True):
    """The readers that recompute side by side until the first is done: how many, how long, what they wait in all."""

    recomputations: float
    fill_s: float
    waited_s: float
    curve: tuple[float, ...] = ()


class Estimate(Struct, frozen=True, kw_only=True):
    """What a storm tells of the database: its load x = lambda s / c, and one unloaded recompute.

    One storm gives x to about +-1 / sqrt(c), two standard errors: chance in the first moments is all that differs.
    """

    load: float
    recompute_s: float


def recomputations(reads_per_s: float, recompute_s: float, workers: int) -> float:
    """Return the mean number of recomputations of one unprotected expiry; exact for every load."""
    return grown(1, reads_per_s, recompute_s, workers)


def grown(inside: int, reads_per_s: float, work_s: float, workers: int) -> float:
    """Return how many are inside, on average, when `work_s` more have been done on the first; all readers recompute."""
    if reads_per_s <= 0 or work_s <= 0:
        return float(inside)
    mean = reads_per_s * work_s
    free = max(0, workers - inside)  # workers that later ones still find
    few = sum((inside + later) * poisson(later, mean) for later in range(min(free, _beyond(mean))))
    faster = mean * (1 + 1 / workers)
    within = min(free, _beyond(faster))
    crowded = 1 - sum(poisson(later, faster) for later in range(within)) if within == free else 0.0
    exponent = min(_LONGEST_EXPONENT, mean / workers + free * math.log(workers / (workers + 1)))
    return few + max(inside, workers) * math.exp(exponent) * max(0.0, crowded)


def fill_s(reads_per_s: float, recompute_s: float, workers: int) -> float:
    """Return the mean seconds from the first miss until the cache is filled (Wald: reads = lambda x time)."""
    if reads_per_s <= 0:
        return recompute_s
    return max(recompute_s, (recomputations(reads_per_s, recompute_s, workers) - 1) / reads_per_s)


def unprotected(reads_per_s: float, recompute_s: float, workers: int) -> Flood:
    """Return the flood of an expiry that nothing guards.

    What is waited bends upwards with the crowd, so it is the mean of a small crowd and of a large one, each as
    far from the mean as the count of a Poisson process, and of its growth, varies.
    """
    curve = [
        recomputations(reads_per_s, recompute_s * step / _STEPS, workers) if step else 1.0 for step in range(_STEPS + 1)
    ]
    others = curve[-1] - 1
    load = reads_per_s * recompute_s / workers
    varies = math.sqrt(min(1.0, 1 / others + max(0.0, 1 - 1 / load) / workers)) if others > 0 else 0.0
    waits_s = []
    for way in (1 - varies, 1 + varies):
        crowd = [1 + (inside - 1) * way for inside in curve]
        waits_s.append(_waited_s(crowd, recompute_s, workers) / crowd[-1])
    return Flood(
        recomputations=curve[-1],
        fill_s=fill_s(reads_per_s, recompute_s, workers),
        waited_s=curve[-1] * sum(waits_s) / len(waits_s),
        curve=tuple(curve),
    )


def floods(starts_per_s: Callable[[float, float], float], recompute_s: float, workers: int) -> tuple[Flood, Flood]:
    """Integrate the flood in which recomputations start at `starts_per_s(seconds since the first, inside)`.

    What comes of it bends with the crowd, so there are two, of equal chance: one of fewer readers
    than usual and one of more, by the standard deviation of a Poisson count.
    """
    others = _integrated(starts_per_s, 1.0, recompute_s, workers).recomputations - 1
    varies = min(1.0, 1 / math.sqrt(others)) if others > 0 else 0.0
    few = _integrated(starts_per_s, 1 - varies, recompute_s, workers)
    return few, _integrated(starts_per_s, 1 + varies, recompute_s, workers)


def _integrated(starts_per_s: Callable[[float, float], float], share: float, recompute_s: float, workers: int) -> Flood:
    work = recompute_s / _STEPS
    inside, at_s, curve = 1.0, 0.0, [1.0]
    for _ in range(_STEPS):
        slow = max(1.0, inside / workers)
        half = inside + share * starts_per_s(at_s, inside) * slow * work / 2
        slow = max(1.0, half / workers)
        inside += share * starts_per_s(at_s + slow * work / 2, half) * slow * work
        at_s += slow * work
        curve.append(inside)
    waited_s = _waited_s(curve, recompute_s, workers)
    return Flood(recomputations=inside, fill_s=at_s, waited_s=waited_s, curve=tuple(curve))


def joined_s(one: Flood, joins_per_s: float, recompute_s: float, workers: int) -> float:
    """Return what readers wait, in all, who join those inside, each at the rate `joins_per_s`, until it ends."""
    work = recompute_s / _STEPS
    begun = [1.0, *(after - before for before, after in pairwise(one.curve))]
    inside = [*one.curve[:-1], *(one.curve[-1] - before for before in one.curve)]
    moments = [0.0]
    for here in inside:
        moments.append(moments[-1] + max(1.0, here / workers) * work)
    total = 0.0
    for step, started in enumerate(begun[:-1]):
        ends_s, filled_s = moments[step + _STEPS], moments[_STEPS]
        total += started * ((ends_s - moments[step]) ** 2 - (ends_s - filled_s) ** 2) / 2
    return total * joins_per_s


def _waited_s(curve: list[float], recompute_s: float, workers: int) -> float:
    """Return what all readers wait: those inside, summed over time, first as they come and then as they leave."""
    work, last = recompute_s / _STEPS, curve[-1]
    total = 0.0
    for before, after in pairwise(curve):
        here = (before + after) / 2
        total += here * max(1.0, here / workers) + (last - here) * max(1.0, (last - here) / workers)
    return total * work


def from_duplicates(reads_per_s: float, duplicates: float, workers: int) -> Estimate | None:
    """Return the load and the recompute time that make `duplicates` recomputations of an expiry; None below two."""
    least = 2.0  # a key that is recomputed once says nothing of how long it took
    if reads_per_s <= 0 or duplicates < least:
        return None
    low, high = 0.0, 1.0
    while recomputations(reads_per_s, high * workers / reads_per_s, workers) < duplicates:
        low, high = high, high * 2
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if recomputations(reads_per_s, middle * workers / reads_per_s, workers) < duplicates:
            low = middle
        else:
            high = middle
    return Estimate(load=high, recompute_s=high * workers / reads_per_s)


def from_fill(reads_per_s: float, storm_s: float, workers: int) -> Estimate | None:
    """Return the load and the recompute time of a storm that lasted `storm_s` from the first miss to the last."""
    return from_duplicates(reads_per_s, 1 + reads_per_s * storm_s, workers)


def _beyond(mean: float) -> int:
    """Return a count that a Poisson process of this mean does not reach."""
    return math.ceil(mean + _DEVIATIONS * (1 + math.sqrt(mean)))


def share_of_first(mean: float) -> float:
    """Return the mean of 1 / (1 + N) for a Poisson N: what the first reader is of all who come meanwhile."""
    return -math.expm1(-mean) / mean if mean > 0 else 1.0


def poisson(count: int, mean: float) -> float:
    """Return the chance of `count` when `mean` are expected."""
    return math.exp(count * math.log(mean) - mean - math.lgamma(count + 1)) if mean > 0 else float(count == 0)
