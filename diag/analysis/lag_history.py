"""Lag of the past, in records and in seconds, from how the logs grew and what was committed when.

At an instant t, lag = end(t) - committed(t), and time lag = t - (time at which the record at the
committed offset was written), read off the produce curve backwards. The log end is exact at the
instants of the history and straight in between; a committed offset stays until the next commit.
Before the first commit that is known, lag is never overstated: the group stood there or earlier.
"""

from __future__ import annotations

import math
import statistics
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import pairwise

from msgspec import Struct

from diag.snapshots.base import Row
from diag.snapshots.kafka import CommitCurve, KafkaHistory, Mark, TopicPartition
from diag.text import ServerText

_MOST_POINTS = 720
_ROWS = 60


class HistoryRow(Row, frozen=True, kw_only=True):
    """One row of `facts.history[]`: a group on a topic at an instant. Rates are since the row before; None: unknown."""

    at: datetime
    group: ServerText
    topic: ServerText
    lag_records: int
    lag_s: float | None
    produce_per_s: float | None
    consume_per_s: float | None


class LagSeries(Struct, frozen=True, kw_only=True, eq=False):
    """One group on one topic at evenly spaced instants, the last one now.

    `written` and `committed` count records since the beginning, all partitions together;
    `committed` goes straight from one commit to the next. `commit_interval_s` is the usual time
    between commits that moved something. `partitions` says of how many partitions this is the sum.
    """

    group: ServerText
    topic: ServerText
    begins_at: datetime
    step_s: float
    partitions: int
    lag_records: tuple[int, ...]
    lag_s: tuple[float | None, ...]
    written: tuple[float, ...]
    committed: tuple[float, ...]
    commit_interval_s: float | None = None

    def at(self, place: float) -> datetime:
        """Return the instant of a place in the series, also between two of them."""
        return self.begins_at + timedelta(seconds=place * self.step_s)


@lru_cache(maxsize=4)
def lag_series(history: KafkaHistory) -> tuple[LagSeries, ...]:
    """Return the past of every group and topic of which both curves are known, the highest lag first."""
    ends = {curve.on: _Curve(curve.marks, history.since, grows=True) for curve in history.produced if curve.marks}
    gathered: dict[tuple[ServerText, ServerText], list[CommitCurve]] = {}
    for curve in history.committed:
        if curve.marks and curve.on in ends:
            gathered.setdefault((curve.group, curve.on.topic), []).append(curve)
    made = (_series(history, group, topic, curves, ends) for (group, topic), curves in gathered.items())
    known = [series for series in made if series is not None]
    return tuple(sorted(known, key=lambda series: (-max(series.lag_records), series.group, series.topic)))


def _series(
    history: KafkaHistory,
    group: ServerText,
    topic: ServerText,
    curves: Sequence[CommitCurve],
    ends: dict[TopicPartition, _Curve],
) -> LagSeries | None:
    span_s = history.span_s
    if not span_s > 0:
        return None
    asked_s = history.step_s if math.isfinite(history.step_s) and history.step_s > 0 else 0.0
    count = max(1, round(span_s / max(asked_s, span_s / _MOST_POINTS)))
    step_s = span_s / count
    pairs = [(ends[one.on], _Curve(one.marks, history.since)) for one in curves]
    known_s = [max(end.first_s, 0.0 if one.whole else read.first_s) for one, (end, read) in zip(curves, pairs)]  # noqa: B905
    first = math.ceil(max(0.0, *known_s) / step_s - 1e-9)
    if first >= count:
        return None
    instants = [number * step_s for number in range(first, count + 1)]
    lags = [[_lag(end, read, at_s) for end, read in pairs] for at_s in instants]
    begun = sum(read.between(instants[0]) for _, read in pairs)
    return LagSeries(
        group=group,
        topic=topic,
        begins_at=history.since + timedelta(seconds=instants[0]),
        step_s=step_s,
        partitions=len(pairs),
        lag_records=tuple(round(sum(records for records, _ in of_instant)) for of_instant in lags),
        lag_s=tuple(_worst(late for _, late in of_instant) for of_instant in lags),
        written=_counted(sum(end.between(at_s) for end, _ in pairs) for at_s in instants),
        committed=tuple(sum(read.between(at_s) for _, read in pairs) - begun for at_s in instants),
        commit_interval_s=_commit_interval_s(curves),
    )


class _Curve:
    """Offsets over seconds since the beginning of the history, in order whatever came in."""

    def __init__(self, marks: Iterable[Mark], since: datetime, *, grows: bool = False) -> None:
        points = sorted(((mark.at - since).total_seconds(), int(mark.offset)) for mark in marks)
        self._times_s = [at_s for at_s, _ in points]
        self._offsets: list[int] = []
        for _, offset in points:
            self._offsets.append(max(offset, self._offsets[-1]) if grows and self._offsets else offset)

    @property
    def first_s(self) -> float:
        return self._times_s[0]

    def between(self, at_s: float) -> float:
        """Return the offset at an instant, on the straight line between its neighbours."""
        after = bisect_right(self._times_s, at_s)
        if after in (0, len(self._times_s)):
            return self._offsets[max(0, after - 1)]
        span_s = self._times_s[after] - self._times_s[after - 1]
        share = (at_s - self._times_s[after - 1]) / span_s if span_s > 0 else 0.0
        return self._offsets[after - 1] + share * (self._offsets[after] - self._offsets[after - 1])

    def last(self, at_s: float) -> int:
        """Return the offset that holds at an instant: the newest mark up to then, or the first of all."""
        return self._offsets[max(0, bisect_right(self._times_s, at_s) - 1)]

    def written_s(self, offset: int) -> float | None:
        """Return when the record at an offset was written; None for one written before the curve begins."""
        after = bisect_right(self._offsets, offset)
        if after == 0:
            return None
        if after == len(self._offsets):
            return self._times_s[-1]
        share = (offset - self._offsets[after - 1]) / (self._offsets[after] - self._offsets[after - 1])
        return self._times_s[after - 1] + share * (self._times_s[after] - self._times_s[after - 1])


def _lag(end: _Curve, read: _Curve, at_s: float) -> tuple[float, float | None]:
    """Return records and seconds."""
    offset = read.last(at_s)
    left = end.between(at_s) - offset
    if left <= 0:
        return 0.0, 0.0
    written_s = end.written_s(offset)
    return left, None if written_s is None else max(0.0, at_s - written_s)


def _worst(late_s: Iterable[float | None]) -> float | None:
    """Return the largest time lag; None when one of them is not known."""
    known = list(late_s)
    return None if None in known else max(one for one in known if one is not None)


def _counted(totals: Iterable[float]) -> tuple[float, ...]:
    known = list(totals)
    return tuple(total - known[0] for total in known)


def _commit_interval_s(curves: Iterable[CommitCurve]) -> float | None:
    """Return the usual time between commits that moved an offset; of commits that repeat one, the last counts."""
    spans = [
        (after.at - before.at).total_seconds()
        for curve in curves
        for before, after in pairwise(sorted(curve.marks, key=lambda mark: mark.at))
        if after.offset != before.offset
    ]
    return statistics.median(spans) if spans else None


def history_rows(history: KafkaHistory) -> tuple[HistoryRow, ...]:
    """Return at most sixty rows for each group and topic, oldest first, with the peaks and troughs among them."""
    return tuple(row for series in lag_series(history) for row in _rows(history.target.name, series))


def _rows(target: str, series: LagSeries) -> Iterable[HistoryRow]:
    before: int | None = None
    for place in extremes(series.lag_records, _ROWS):
        span_s = 0.0 if before is None else (place - before) * series.step_s
        yield HistoryRow(
            target=target,
            at=series.at(place),
            group=series.group,
            topic=series.topic,
            lag_records=series.lag_records[place],
            lag_s=series.lag_s[place],
            produce_per_s=None if before is None else (series.written[place] - series.written[before]) / span_s,
            consume_per_s=None if before is None else (series.committed[place] - series.committed[before]) / span_s,
        )
        before = place


def stretches(series: LagSeries, most: int) -> tuple[HistoryRow, ...]:
    """Return the series in at most so many even stretches: the highest lag of each, and its mean rates."""
    last = len(series.lag_records) - 1
    count = min(most, last)
    edges = [round(number * last / count) for number in range(count + 1)]
    return tuple(_stretch(series, before, after) for before, after in pairwise(edges))


def _stretch(series: LagSeries, before: int, after: int) -> HistoryRow:
    span_s = (after - before) * series.step_s
    return HistoryRow(
        at=series.at(after),
        group=series.group,
        topic=series.topic,
        lag_records=max(series.lag_records[before + 1 : after + 1]),
        lag_s=_worst(series.lag_s[before + 1 : after + 1]),
        produce_per_s=(series.written[after] - series.written[before]) / span_s,
        consume_per_s=(series.committed[after] - series.committed[before]) / span_s,
    )


def extremes(values: Sequence[float], most: int) -> tuple[int, ...]:
    """Return the places of at most so many values, in order: the lowest and the highest of each stretch, and the ends.

    Thinned evenly, a wave would lose its peaks or seem to have another period.
    """
    if len(values) <= most:
        return tuple(range(len(values)))
    stretches = most // 2 - 1
    kept = {0, len(values) - 1}
    for number in range(stretches):
        stretch = range(number * len(values) // stretches, (number + 1) * len(values) // stretches)
        kept |= {min(stretch, key=values.__getitem__), max(stretch, key=values.__getitem__)}
    return tuple(sorted(kept))
