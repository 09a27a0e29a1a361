"""Storms that come back: their period with its error, the next one, and what winds the clock.

Period    a consensus: each pair of storms, one to three periods apart, proposes one; the best is that whose
          lattice of moments holds the most storms, by the binomial tail of chance x the number of proposals.
          Least squares through the moments on the lattice gives the period and its standard error, which is
          never below that of moments known to a scrape only (step / sqrt 12)
TTL       the last duplicate write restarts the time to live, so the period is the time to live plus the
          length of the storm: it drifts against the clock
Clock     a job on the clock has a round period and no drift; where the time to live is not known, the
          storms must begin so near a round time that chance explains it in one of twenty cases at most
Everything else is not decidable. At least six storms: four on a lattice are chance too often.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from enum import StrEnum

from msgspec import Struct

from diag.analysis.miss_storms import Storm

LEAST_STORMS = 6
_LOG_CHANCE = math.log(1e-3)  # one false alarm in a thousand looks at storms that have nothing to do with each other
_PERIODS_APART = 3  # a pair of storms, with up to two that were missed between them
_NEIGHBOURS = 4  # pairs within so many storms of each other: two unrelated ones may lie between
_PROPOSALS, _ANCHORS = 10, 4
_FILLED = 0.7  # of the moments between first and last storm have one
_LEAST_TOLERANCE_S, _TOLERANCE_STEPS = 15.0, 1.5
_ERRORS = 3.0  # standard errors that make a difference
_DAY_S = 86_400
_CLOCK_S = tuple(60 * one for one in range(1, 1_441) if _DAY_S % (60 * one) == 0)  # what a crontab can keep
_ROUND_TTL_S = (
    *(10, 15, 20, 30, 45, 60, 90, 120, 180, 240, 300, 600, 900, 1_200, 1_800, 2_700, 3_600, 5_400, 7_200),
    *(10_800, 14_400, 18_000, 21_600, 28_800, 36_000, 43_200, 64_800, 86_400),
)
_BY_CHANCE = 0.05


class Winder(StrEnum):
    """What makes the storms come back."""

    TTL = "time to live"
    CLOCK = "clock"
    UNDECIDED = "not decidable"


class Recurrence(Struct, frozen=True, kw_only=True):
    """Storms at even intervals. `storms` lie on the lattice, `unrelated` do not.

    `period_error_s` is one standard error. `first_start_s` is the fitted start of the oldest storm. The
    length of a storm is between `least_length_s` and `most_length_s`, most likely `length_s`.
    """

    storms: tuple[Storm, ...]
    unrelated: int
    period_s: float
    period_error_s: float
    first_start_s: float
    start_error_s: float
    length_s: float
    least_length_s: float
    most_length_s: float
    log_chance: float
    step_s: float

    def next_start_s(self, now_s: float) -> tuple[float, float]:
        """Return when the next storm starts after a moment, and the standard error of that."""
        periods = max(0, math.floor((now_s - self.first_start_s) / self.period_s) + 1)
        return self.first_start_s + periods * self.period_s, math.hypot(
            self.start_error_s, periods * self.period_error_s
        )


class Cause(Struct, frozen=True, kw_only=True):
    """What winds the clock, and by what it is known.

    `ttl_s` is the time to live that fits (given, or a round one), `drift_s` the period less it;
    `clock_s` is the round period that fits, `offset_s` how long after a multiple of it storms start.
    """

    winder: Winder
    ttl_s: float | None = None
    drift_s: float | None = None
    clock_s: float | None = None
    offset_s: float | None = None
    chance: float | None = None


def recurrence(storms: Sequence[Storm], step_s: float) -> Recurrence | None:
    """Return what repeats among storms that were seen at a step; None where chance would do."""
    warm = [storm for storm in storms if not storm.cold]
    if len(warm) < LEAST_STORMS:
        return None
    moments = [storm.centre_s for storm in warm]
    tolerance_s = max(_TOLERANCE_STEPS * step_s, _LEAST_TOLERANCE_S)
    proposals, trials = _proposals(moments, tolerance_s)
    best: tuple[float, list[tuple[int, int]]] | None = None
    for period_s in proposals:
        for lattice in _lattices(moments, period_s, tolerance_s):
            log_chance = _log_chance(lattice, moments, tolerance_s, trials)
            if best is None or log_chance < best[0]:
                best = log_chance, lattice
    if best is None or best[0] > _LOG_CHANCE:
        return None
    return _fitted([(slot, warm[place]) for slot, place in best[1]], len(warm) - len(best[1]), best[0], step_s)


def _proposals(moments: Sequence[float], tolerance_s: float) -> tuple[list[float], int]:
    """Return the periods that most pairs agree on, and how many different ones were proposed at all."""
    gaps = sorted(
        (moments[late] - early) / periods
        for place, early in enumerate(moments)
        for late in range(place + 1, min(len(moments), place + 1 + _NEIGHBOURS))
        for periods in range(1, _PERIODS_APART + 1)
    )
    gaps = [gap for gap in gaps if gap > 2 * tolerance_s]
    groups: list[list[float]] = []
    for gap in gaps:
        if groups and gap - groups[-1][0] <= tolerance_s:
            groups[-1].append(gap)
        else:
            groups.append([gap])
    most = sorted(groups, key=lambda group: (-len(group), -group[0]))[:_PROPOSALS]
    return [statistics.median(group) for group in most], max(1, len(groups))


def _lattices(moments: Sequence[float], period_s: float, tolerance_s: float) -> Iterator[list[tuple[int, int]]]:
    """Yield, from a few storms outwards, which moment lies on which slot of a lattice of that period.

    The lattice is fitted anew with each storm that it takes in, so that a small error of the period does not grow.
    """
    count = len(moments)
    for anchor in {round(one * (count - 1) / (_ANCHORS - 1)) for one in range(_ANCHORS)} | {count // 2 + 1}:
        if anchor >= count:
            continue
        fit = _Line(moments[anchor], period_s)
        taken: dict[int, tuple[float, int]] = {}
        for place in sorted(range(count), key=lambda one: abs(one - anchor)):
            slot = fit.slot(moments[place])
            miss_s = abs(moments[place] - fit.at(slot))
            if miss_s > tolerance_s or (slot in taken and taken[slot][0] <= miss_s):
                continue
            if slot not in taken:
                fit.add(slot, moments[place])
            taken[slot] = (miss_s, place)
        yield sorted((slot, place) for slot, (_, place) in taken.items())


class _Line:
    """A straight line through moments on slots, from running sums; until there are two, the period it was given."""

    def __init__(self, origin_s: float, period_s: float) -> None:
        self._origin_s, self._period_s = origin_s, period_s
        self._count = self._x = self._xx = self._y = self._xy = 0.0

    def add(self, slot: int, moment_s: float) -> None:
        late_s = moment_s - self._origin_s - slot * self._period_s
        self._count += 1
        self._x += slot
        self._xx += slot * slot
        self._y += late_s
        self._xy += slot * late_s

    def _fit(self) -> tuple[float, float]:
        spread = self._count * self._xx - self._x * self._x
        if not spread > 0:
            return self._origin_s, self._period_s
        slope = (self._count * self._xy - self._x * self._y) / spread
        return self._origin_s + (self._y - slope * self._x) / self._count, self._period_s + slope

    def slot(self, moment_s: float) -> int:
        origin_s, period_s = self._fit()
        return round((moment_s - origin_s) / period_s)

    def at(self, slot: int) -> float:
        origin_s, period_s = self._fit()
        return origin_s + slot * period_s


def _log_chance(lattice: Sequence[tuple[int, int]], moments: Sequence[float], tolerance_s: float, trials: int) -> float:
    """Return the logarithm of the chance that unrelated storms fill a lattice so well: 0 when it is no claim at all.

    Two of them made the lattice; each other one falls on it by chance with 2 x tolerance / period.
    """
    if len(lattice) < LEAST_STORMS:
        return 0.0
    slots = lattice[-1][0] - lattice[0][0]
    if len(lattice) < _FILLED * (slots + 1):
        return 0.0
    period_s = (moments[lattice[-1][1]] - moments[lattice[0][1]]) / slots
    share, others = 2 * tolerance_s / period_s, len(moments) - 2
    if share >= 1:
        return 0.0
    logs = [
        math.lgamma(others + 1)
        - math.lgamma(hits + 1)
        - math.lgamma(others - hits + 1)
        + hits * math.log(share)
        + (others - hits) * math.log1p(-share)
        for hits in range(len(lattice) - 2, others + 1)
    ]
    return min(0.0, max(logs) + math.log(sum(math.exp(one - max(logs)) for one in logs)) + math.log(trials * _ANCHORS))


def _fitted(lattice: Sequence[tuple[int, Storm]], unrelated: int, log_chance: float, step_s: float) -> Recurrence:
    first_slot, storms = lattice[0][0], tuple(storm for _, storm in lattice)
    slots = [slot - first_slot for slot, _ in lattice]
    moments = [storm.centre_s for storm in storms]
    period_s, origin_s = statistics.linear_regression(slots, moments)
    middle = statistics.fmean(slots)
    spread = sum((slot - middle) ** 2 for slot in slots)
    misses_s = [at - origin_s - slot * period_s for at, slot in zip(moments, slots, strict=True)]
    noise_s = max(math.sqrt(sum(one * one for one in misses_s) / (len(slots) - 2)), step_s / math.sqrt(12))
    length_s, least_s, most_s = _length(storms, step_s)
    return Recurrence(
        storms=storms,
        unrelated=unrelated,
        period_s=period_s,
        period_error_s=noise_s / math.sqrt(spread),
        first_start_s=origin_s - length_s / 2,
        start_error_s=math.hypot(noise_s / math.sqrt(len(slots)), (most_s - least_s) / 4 / math.sqrt(3)),
        length_s=length_s,
        least_length_s=least_s,
        most_length_s=most_s,
        log_chance=log_chance,
        step_s=step_s,
    )


def _length(storms: Sequence[Storm], step_s: float) -> tuple[float, float, float]:
    """Return the likely, the least and the most length of storms that are alike.

    A storm of length L reaches into L / step + 1 steps on average, and never into more than one more.
    It had no more misses than there were reads, so it cannot be shorter than their quotient.
    """
    counts = [storm.steps for storm in storms]
    by_reads = [storm.extra_misses / storm.reads_per_s for storm in storms if storm.reads_per_s]
    least_s = max([0.0, (statistics.median(counts) - 2) * step_s, statistics.median(by_reads) if by_reads else 0.0])
    most_s = max(least_s, (statistics.median(counts) + 0.2) * step_s)
    if statistics.median(counts) > 2:  # noqa: PLR2004  its ends were told from its middle
        likely_s = statistics.median(storm.ends_s - storm.starts_s for storm in storms)
    else:
        likely_s = (statistics.fmean(counts) - 1) * step_s
    return min(most_s, max(least_s, likely_s)), least_s, most_s


def cause(found: Recurrence, ttl_s: float | None) -> Cause:
    """Tell what winds the clock; `ttl_s` is the time to live of the keys, where it is known."""
    margin_s = _ERRORS * found.period_error_s
    by_ttl = next((ttl for ttl in ((ttl_s,) if ttl_s else reversed(_ROUND_TTL_S)) if _is_ttl(found, ttl)), None)
    by_clock = min(_CLOCK_S, key=lambda clock: abs(found.period_s - clock))
    if abs(found.period_s - by_clock) > margin_s:
        if by_ttl is None:
            return Cause(winder=Winder.UNDECIDED)
        return Cause(winder=Winder.TTL, ttl_s=by_ttl, drift_s=found.period_s - by_ttl)
    middle_s = found.first_start_s + found.period_s * round((len(found.storms) - 1) / 2)
    offset_s = (middle_s + by_clock / 2) % by_clock - by_clock / 2
    chance = min(1.0, 2 * max(abs(offset_s), found.step_s) / by_clock)
    excluded = ttl_s is not None and not -margin_s <= found.period_s - ttl_s <= found.most_length_s + margin_s
    if by_ttl is None and (excluded or chance <= _BY_CHANCE):
        return Cause(winder=Winder.CLOCK, clock_s=by_clock, offset_s=offset_s, chance=chance, ttl_s=ttl_s)
    return Cause(winder=Winder.UNDECIDED, clock_s=by_clock, offset_s=offset_s, ttl_s=by_ttl)


def _is_ttl(found: Recurrence, ttl_s: float) -> bool:
    """Whether the period is longer than the time to live, beyond doubt, and by as much as a storm lasts."""
    margin_s = _ERRORS * found.period_error_s
    drift_s = found.period_s - ttl_s
    return drift_s > margin_s and found.least_length_s - margin_s <= drift_s <= found.most_length_s + margin_s
