"""Pasts of a cache whose truth is known: what was read, missed and asked of the database, by seed.

Every step draws from Poisson's law with the mean of its rate over the step, so a past is exact
at any step. Rates follow the day, walk at random, hang together over minutes, and burst.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from msgspec import Struct

BEGIN_S = 1_764_500_400.0  # 11:00 UTC; a multiple of 3 600
HOUR_S, DAY_S = 3_600.0, 86_400.0


class Struck(Struct, frozen=True, kw_only=True):
    """A storm as it was: `share` of the reads miss for `length_s` (or fade with that time constant)."""

    at_s: float
    length_s: float
    share: float
    fades: bool = False

    def missed_s(self, from_s: float, to_s: float) -> float:
        """Return how many seconds' worth of its reads are missed in a stretch of time."""
        early, late = max(0.0, from_s - self.at_s), max(0.0, to_s - self.at_s)
        if self.fades:
            return self.length_s * (math.exp(-early / self.length_s) - math.exp(-late / self.length_s))
        return min(late, self.length_s) - min(early, self.length_s)


class Habits(Struct, frozen=True, kw_only=True):
    """How a cache is used when nothing happens."""

    reads_per_s: float = 2_000.0
    miss_ratio: float = 0.01
    daily: float = 0.0  # share by which the reads swing over a day
    walk: float = 0.0  # standard deviation of the logarithm of the reads after an hour
    wobble: float = 0.0  # of the logarithm of the miss ratio, around its mean
    wobble_s: float = 300.0  # for as long it hangs together
    bursts_per_h: float = 0.0


def habits(chance: random.Random) -> Habits:
    """Draw everything at once."""
    return Habits(
        reads_per_s=math.exp(chance.uniform(math.log(50), math.log(20_000))),
        miss_ratio=math.exp(chance.uniform(math.log(0.001), math.log(0.2))),
        daily=chance.uniform(0, 0.7),
        walk=chance.uniform(0, 0.3),
        wobble=chance.uniform(0, 0.25),
        wobble_s=chance.choice((30.0, 300.0, 1_800.0)),
        bursts_per_h=chance.uniform(0, 3),
    )


class Past(Struct, frozen=True, kw_only=True):
    """Counters as they were read: `at_s`, with the totals of each."""

    at_s: list[float]
    hits: list[float]
    misses: list[float]


def past(
    chance: random.Random, usual: Habits, storms: Sequence[Struck] = (), *, step_s: float = 15.0, span_s: float = HOUR_S
) -> Past:
    """Return what was counted, read every `step_s`, from a phase of chance on."""
    at_s, hits, misses = [BEGIN_S + chance.uniform(0, step_s)], [chance.uniform(1e5, 1e9)], [chance.uniform(1e4, 1e8)]
    walk, wobble, burst_until, burst = 0.0, chance.gauss(0, usual.wobble), -1.0, 1.0
    keep = math.exp(-step_s / usual.wobble_s)
    while at_s[-1] - at_s[0] < span_s:
        begun, ended = at_s[-1], at_s[-1] + step_s
        walk += chance.gauss(0, usual.walk * math.sqrt(step_s / HOUR_S))
        wobble = keep * wobble + chance.gauss(0, usual.wobble * math.sqrt(1 - keep * keep))
        if begun >= burst_until:
            burst = 1.0
            if chance.random() < usual.bursts_per_h * step_s / HOUR_S:
                burst, burst_until = chance.uniform(1.5, 8), begun + chance.uniform(10, 120)
        daily = 1 + usual.daily * math.sin(2 * math.pi * begun / DAY_S)
        reads = usual.reads_per_s * daily * math.exp(walk) * burst * step_s
        ratio = min(0.9, usual.miss_ratio * math.exp(wobble))
        struck = sum(storm.share * storm.missed_s(begun, ended) for storm in storms) / step_s
        missed = ratio + (1 - ratio) * min(1.0, struck)
        at_s.append(ended)
        misses.append(misses[-1] + poisson(chance, reads * missed))
        hits.append(hits[-1] + poisson(chance, reads * (1 - missed)))
    return Past(at_s=at_s, hits=hits, misses=misses)


def poisson(chance: random.Random, mean: float) -> int:
    """Draw from Poisson's law; above a mean of 50, from the normal one that it nears."""
    if mean > 50:
        return max(0, round(chance.gauss(mean, math.sqrt(mean))))
    limit, count, product = math.exp(-mean), 0, chance.random()
    while product > limit:
        count += 1
        product *= chance.random()
    return count


def queried(  # noqa: PLR0913  a database has these sides
    chance: random.Random,
    storms: Sequence[Struck],
    *,
    reads_per_s: float,
    per_miss: float,
    usual_per_s: float = 300.0,
    later_s: float = 0.0,
    jobs: Sequence[Struck] = (),
    step_s: float = 15.0,
    span_s: float = HOUR_S,
) -> tuple[list[float], list[float]]:
    """Return when the database's queries were read (at a phase of its own), and their totals.

    Each miss of a storm makes `per_miss` queries, `later_s` after it; a job makes `share` queries a second.
    """
    at_s, totals = [BEGIN_S + chance.uniform(0, step_s)], [chance.uniform(1e5, 1e9)]
    while at_s[-1] - at_s[0] < span_s:
        begun, ended = at_s[-1], at_s[-1] + step_s
        missed = reads_per_s * sum(one.share * one.missed_s(begun - later_s, ended - later_s) for one in storms)
        worked = sum(job.share * job.missed_s(begun, ended) for job in jobs)
        at_s.append(ended)
        totals.append(totals[-1] + poisson(chance, usual_per_s * step_s + per_miss * missed + worked))
    return at_s, totals
