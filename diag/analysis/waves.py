"""Lag that comes in waves: how often, how high, since when, and whether producers or consumers make them.

Period    first peak of the autocorrelation r(k) of the detrended lag, with r(k) > 2/sqrt(N) and
          k >= 2, made finer by the peaks at its multiples (Box & Jenkins, ch. 2: the bound is two
          standard errors of white noise)
Amplitude (p95 - p5) / 2 of the lag
Onset     normal is a time lag of three commit intervals or 10 s; from the first points above it a
          straight line goes back to where it left the level before. Time lag grows by at most a
          second each second, so it cannot have left later than that allows
Origin    lag' = written - committed; each part's share is its covariance with lag' over the
          variance of lag'. Near 1 for the written part: bursts; near 0: pauses of the readers
A sawtooth whose peaks are what one commit interval leaves unread is how commits work, and no wave.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from functools import lru_cache

from msgspec import Struct

from diag.analysis.lag_history import LagSeries, lag_series
from diag.snapshots.kafka import KafkaHistory

_LEAST_POINTS = 12
_MOST_SERIES = 50  # with the highest lag; each takes some milliseconds
_NORMAL_S = 10.0
_NORMAL_COMMITS = 3.0
_SAWTOOTH_COMMITS = 1.5
_FIRST_OF = 0.8  # a peak of the autocorrelation this close to the highest is the period, and not a part of it
_HIGH = 0.3  # of the way from the low level to the peak: above it is a wave
_EDGE_POINTS = 8  # of a rise that are put on one line
_CELLS = 10  # in one period, for rates
_STANDSTILL = 0.05  # of the mean rate
_NEAR_S = 15.0  # a rebalance that little before a rise goes with it


class Run(Struct, frozen=True):
    """A stretch of a series above a level: its first and last place, and that of its highest value."""

    first: int
    last: int
    peak: int


class Wave(Struct, frozen=True, kw_only=True, eq=False):
    """Waves of one group on one topic. Times are seconds, `onset` is None when they began before the history.

    `regularity` is the autocorrelation at the period. `written_share` is the part of the changes
    of lag that comes from what is written (the rest: from what is committed). `standstill_s` is
    the longest time without progress while there was something to read, `capacity_per_s` what was read
    at most over a tenth of a period or longer. `rebalances` counts the rises that a rebalance goes with.
    """

    series: LagSeries
    period_s: float
    regularity: float
    amplitude_records: float
    amplitude_s: float
    peak_records: int
    peak_s: float
    trough_s: float
    rises: tuple[datetime, ...]
    onset: datetime | None
    ended_s: float
    written_share: float | None
    produce_per_s: float
    burst_per_s: float
    capacity_per_s: float
    standstill_s: float
    rebalances: int


@lru_cache(maxsize=4)
def waves(history: KafkaHistory, least_s: float) -> tuple[Wave, ...]:
    """Return the waves of groups and topics whose time lag reaches `least_s`, the latest reader first."""
    late = [series for series in lag_series(history) if _reaches(series, least_s)][:_MOST_SERIES]
    found = (_wave(series, history) for series in late)
    return tuple(sorted((one for one in found if one is not None), key=lambda one: -one.peak_s))


def _reaches(series: LagSeries, least_s: float) -> bool:
    """Whether it was ever that late, and later than one commit interval explains."""
    known = [late for late in series.lag_s if late is not None]
    return max(known, default=0.0) >= max(least_s, _SAWTOOTH_COMMITS * (series.commit_interval_s or 0.0))


def _wave(series: LagSeries, history: KafkaHistory) -> Wave | None:
    repeated = period(series.lag_records)
    if repeated is None:
        return None
    places, regularity = repeated
    seconds = tuple(late for late in series.lag_s if late is not None)
    low, high = _percentile(series.lag_records, 5), max(series.lag_records)
    runs = tuple(above(series.lag_records, low + _HIGH * (high - low)))
    if len(runs) < 2:  # noqa: PLR2004  a single one is no wave
        return None
    rates = _Rates(series, places)
    return Wave(
        series=series,
        period_s=places * series.step_s,
        regularity=regularity,
        amplitude_records=(_percentile(series.lag_records, 95) - low) / 2,
        amplitude_s=(_percentile(seconds, 95) - _percentile(seconds, 5)) / 2,
        peak_records=high,
        peak_s=max(seconds),
        trough_s=_percentile(seconds, 5),
        rises=tuple(series.at(run.first) for run in runs),
        onset=_first_of_them(series, places),
        ended_s=(len(series.lag_records) - 1 - runs[-1].last) * series.step_s,
        written_share=rates.written_share,
        produce_per_s=rates.mean_written,
        burst_per_s=max(rates.written),
        capacity_per_s=max(rates.committed),
        standstill_s=rates.standstill_s,
        rebalances=sum(_has_rebalance(series, run, history) for run in runs),
    )


def period(values: Sequence[float]) -> tuple[float, float] | None:
    """Return the period in places of the series, with the autocorrelation there; None without one.

    At least three periods must be in sight: two alike are no proof.
    """
    count = len(values)
    if count < _LEAST_POINTS:
        return None
    flat = _detrended(values)
    if not sum(value * value for value in flat) > 0:
        return None
    farthest = count // 3
    heights = [_autocorrelation(flat, lag) for lag in range(farthest + 2)]
    dip = next((lag for lag in range(1, farthest) if heights[lag] < 0), farthest)
    peaks = [
        lag
        for lag in range(max(2, dip), farthest + 1)
        if heights[lag - 1] <= heights[lag] >= heights[lag + 1] and heights[lag] > 2 / math.sqrt(count)
    ]
    if not peaks:
        return None
    highest = max(heights[lag] for lag in peaks)
    first = next(lag for lag in peaks if heights[lag] >= _FIRST_OF * highest)
    return _refined(flat, first), heights[first]


def _refined(flat: Sequence[float], first: int) -> float:
    """Return the period from the farthest multiple that still has a peak: there an error of one place counts least."""
    length = _vertex(flat, first)
    for multiple in range(2, len(flat) // first):
        near, reach = round(multiple * length), max(1, round(0.1 * length))
        if near >= 2 * len(flat) // 3:
            break
        peak = max(range(near - reach, near + reach + 1), key=lambda lag: _autocorrelation(flat, lag))
        if _autocorrelation(flat, peak) <= 2 / math.sqrt(len(flat)):
            break
        length = _vertex(flat, peak) / multiple
    return length


def _vertex(flat: Sequence[float], peak: int) -> float:
    """Return where the parabola through a peak and its neighbours is highest."""
    left, middle, right = (_autocorrelation(flat, lag) for lag in (peak - 1, peak, peak + 1))
    bend = left - 2 * middle + right
    return peak + (max(-0.5, min(0.5, 0.5 * (left - right) / bend)) if bend < 0 else 0.0)


def _autocorrelation(flat: Sequence[float], lag: int) -> float:
    """Return the correlation of a series with itself, `lag` places later; each half by its own size."""
    early, late = flat[: len(flat) - lag], flat[lag:]
    size = math.sqrt(sum(one * one for one in early) * sum(one * one for one in late))
    return sum(one * other for one, other in zip(early, late, strict=True)) / size if size > 0 else 0.0


def _detrended(values: Sequence[float]) -> list[float]:
    """Take the straight line of least squares away."""
    middle, mean = (len(values) - 1) / 2, statistics.fmean(values)
    spread = sum((place - middle) ** 2 for place in range(len(values)))
    slope = sum((place - middle) * (value - mean) for place, value in enumerate(values)) / spread
    return [value - mean - slope * (place - middle) for place, value in enumerate(values)]


def above(values: Sequence[float], level: float) -> Iterator[Run]:
    """Yield the stretches above a level."""
    first: int | None = None
    for place in range(len(values) + 1):
        high = place < len(values) and values[place] > level
        if high and first is None:
            first = place
        elif not high and first is not None:
            yield Run(first, place - 1, max(range(first, place), key=values.__getitem__))
            first = None


def onset(series: LagSeries) -> datetime | None:
    """Return when the lag left its normal for the last time; None when it is normal, or was not when this begins."""
    late, runs = _excursions(series)
    if not runs or runs[-1].first == 0:
        return None
    return _left_normal(series, late, runs[-1])


def _first_of_them(series: LagSeries, places: float) -> datetime | None:
    """Return when the first wave of the newest unbroken train left the normal; None if that was before the history."""
    late, runs = _excursions(series)
    if not runs:
        return None
    first = len(runs) - 1
    while first and runs[first].peak - runs[first - 1].peak < 1.5 * places:
        first -= 1
    return None if runs[first].first < places else _left_normal(series, late, runs[first])


def _excursions(series: LagSeries) -> tuple[list[float], list[Run]]:
    """Return the time lag and its stretches above the normal; where the next record is too old to be dated, it is."""
    level = max(_NORMAL_S, _NORMAL_COMMITS * (series.commit_interval_s or 0.0))
    highest = max((one for one in series.lag_s if one is not None), default=0.0)
    late = [max(2 * level, highest) if one is None else one for one in series.lag_s]
    return late, list(above(late, level))


def _left_normal(series: LagSeries, late: Sequence[float], run: Run) -> datetime:
    """Go back along the line of the rise to the level before it."""
    before = late[max(0, run.first - 2 * _EDGE_POINTS) : max(1, run.first - 1)]
    level = statistics.median(before) if before else 0.0
    points = range(run.first, min(run.peak, run.first + _EDGE_POINTS + 1))  # at the peak, the line is broken already
    latest = run.first - (late[run.first] - level) / series.step_s
    if len(points) < 2 or late[points[-1]] <= late[run.first]:  # noqa: PLR2004  no line through one point
        return series.at(max(0.0, latest))
    slope, intercept = statistics.linear_regression(points, [late[place] for place in points])
    left = (level - intercept) / slope if slope > 0 else latest
    return series.at(max(0.0, min(latest, left)))


class _Rates:
    """What was written and committed each second, over cells wide enough for several commits."""

    def __init__(self, series: LagSeries, places: float) -> None:
        cell_s = max(places * series.step_s / _CELLS, _NORMAL_COMMITS * (series.commit_interval_s or 0.0))
        width = max(1, round(cell_s / series.step_s))
        edges = range((len(series.written) - 1) % width, len(series.written), width)
        self._cell_s = width * series.step_s
        self.written = self._of(series.written, edges)
        self.committed = self._of(series.committed, edges)
        self._lags = [series.lag_records[place] for place in edges]
        self.mean_written = statistics.fmean(self.written)

    def _of(self, totals: Sequence[float], edges: range) -> list[float]:
        rates = [(totals[late] - totals[late - edges.step]) / self._cell_s for late in edges[1:]]
        return rates or [0.0]

    @property
    def written_share(self) -> float | None:
        """The share of the written part in the changes of lag; None when nothing changes."""
        changes = [late - early for late, early in zip(self.written, self.committed, strict=True)]
        mean, written = statistics.fmean(changes), self.mean_written
        spread = sum((change - mean) ** 2 for change in changes)
        if not spread > 0:
            return None
        return sum((c - mean) * (w - written) for c, w in zip(changes, self.written, strict=True)) / spread

    @property
    def standstill_s(self) -> float:
        """The longest time without a commit that moved, while there was something to read."""
        little = _STANDSTILL * statistics.fmean(self.committed)
        longest = run = 0
        for place, rate in enumerate(self.committed):
            waits = rate <= little and place + 1 < len(self._lags) and self._lags[place + 1] > 0
            run = run + 1 if waits else 0
            longest = max(longest, run)
        return longest * self._cell_s


def _has_rebalance(series: LagSeries, run: Run, history: KafkaHistory) -> bool:
    """Whether a rebalance of the group comes a little before a rise or within it."""
    begins, ends = series.at(run.first) - timedelta(seconds=_NEAR_S + series.step_s), series.at(run.peak)
    return any(one.group == series.group and begins <= one.at <= ends for one in history.rebalances)


def _percentile(values: Sequence[float], percent: int) -> float:
    ordered = sorted(values)
    return ordered[round((len(ordered) - 1) * percent / 100)]
