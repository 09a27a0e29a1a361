"""What the misses of a cache cost the database behind it: queries per miss, the share they explain, who was first.

Extra      what came in a storm and a little around it, less what the minutes beside it let expect. Sums over a
           storm do not mind that cache and database were read at different moments
Slope      extra queries / extra misses, over all storms; each storm's own share of its queries is no more than
           its misses x the median of those quotients
Share      explained queries / all extra queries, those of surges without a storm of misses included
Lag        both counters on one grid, differenced, standardised, cross-correlated around the storms
Order      never finer than both steps together. PostgreSQL shows a backend's work once a second at most, and
           that of a backend that fell idle up to 10 s late (manual, "The Cumulative Statistics System"), so
           queries that come after misses must do so by more than that as well
"""

from __future__ import annotations

import math
import statistics
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from enum import StrEnum
from functools import lru_cache
from itertools import pairwise

from msgspec import Struct

from diag.analysis.increments import Increments
from diag.analysis.miss_storms import Storm, storms

FLUSH_S = 10.0
_DRAINED = 1.0  # of a storm's length: for so long its queries go on after it
_BESIDE_STEPS, _BESIDE_S = 8, 60.0  # on either side of a storm, for what is usual
_DEVIATIONS = 4.0  # of the usual noise: fewer extra queries are none
_FARTHEST_STEPS, _FARTHEST_S = 4, 30.0  # of lag
_JERKY_S = 3.0
CORRELATED = 0.5  # below it, a correlation says nothing
_SLOWER = 2.0  # times the usual: a query that waits for a lock or a full disk takes many times as long
_MAD_SD = 1.4826


class Order(StrEnum):
    """Which began first."""

    MISSES = "misses first"
    DATABASE = "database first"
    UNDECIDED = "not decidable"


class Effect(Struct, frozen=True, kw_only=True):
    """What came with one storm: misses and queries beyond what is usual, and the noise of the latter (one sd)."""

    starts_s: float
    span_s: float
    extra_misses: float
    extra_queries: float
    noise_queries: float

    @property
    def felt(self) -> bool:
        """Whether the database felt it beyond its own noise."""
        return self.extra_queries > _DEVIATIONS * self.noise_queries


class Coupling(Struct, frozen=True, kw_only=True):
    """How cache and database go together. `queries_error` is one standard error of `queries_per_miss`.

    `explained_share` (0-1) is that of all extra queries; `surges` counts those of the database without a storm of
    misses. `together` is the correlation of both around the storms, `lag_s` how much later queries came than
    misses (None: it cannot be told); what is finer than `resolution_s` is not known of it.
    """

    effects: tuple[Effect, ...]
    queries_per_miss: float
    queries_error: float
    extra_queries: float
    extra_per_s: float
    explained_share: float
    surges: int
    together: float
    lag_s: float | None
    resolution_s: float
    order: Order


@lru_cache(maxsize=8)
def coupling(misses: Increments, hits: Increments | None, queries: Increments) -> Coupling | None:
    """Return how they go together; None where nothing extra happened on either side."""
    begins, ends = queries.edges_s[0], queries.edges_s[-1]
    seen = [storm for storm in storms(misses, hits) if begins <= storm.starts_s and storm.ends_s <= ends]
    margin_s = misses.step_s + queries.step_s
    spans = list(_spans(seen, margin_s))
    effects = tuple(_effect(misses, queries, span, spans) for span in spans)
    alone = [
        surge
        for surge in storms(queries, None)
        if not any(begin <= surge.ends_s and surge.starts_s <= end for begin, end in spans)
    ]
    felt = [effect for effect in effects if effect.felt]
    if not effects and not alone:
        return None
    slopes = [max(0.0, effect.extra_queries) / effect.extra_misses for effect in effects]
    usual = statistics.median(slopes) if slopes else 0.0
    explained = sum(min(effect.extra_queries, usual * effect.extra_misses) for effect in felt)
    extra = sum(effect.extra_queries for effect in felt) + sum(surge.extra_misses for surge in alone)
    missed = sum(effect.extra_misses for effect in effects)
    lag_s = _lag(misses, queries, spans) if felt else None
    return Coupling(
        effects=effects,
        queries_per_miss=max(0.0, sum(effect.extra_queries for effect in effects)) / missed if missed else 0.0,
        queries_error=math.sqrt(sum(effect.noise_queries**2 for effect in effects)) / missed if missed else 0.0,
        extra_queries=extra,
        extra_per_s=_worst_per_s(queries, [(e.starts_s, e.span_s) for e in felt] + [(s.starts_s, 0.0) for s in alone]),
        explained_share=min(1.0, max(0.0, explained / extra)) if extra > 0 else 0.0,
        surges=len(alone),
        together=_together(misses, queries, spans) if felt else 0.0,
        lag_s=lag_s,
        resolution_s=margin_s,
        order=_order(lag_s, margin_s),
    )


def _spans(found: Sequence[Storm], margin_s: float) -> Iterator[tuple[float, float]]:
    """Yield the time around each storm in which its queries may have been counted; what overlaps is one."""
    span: tuple[float, float] | None = None
    for storm in found:
        begin, end = storm.starts_s - margin_s, storm.ends_s + margin_s + FLUSH_S
        end += _DRAINED * (storm.ends_s - storm.starts_s)
        if span is not None and begin <= span[1]:
            span = (span[0], end)
            continue
        if span is not None:
            yield span
        span = (begin, end)
    if span is not None:
        yield span


def _effect(
    misses: Increments, queries: Increments, span: tuple[float, float], spans: Sequence[tuple[float, float]]
) -> Effect:
    begin, end = span
    usual_misses, _ = _usual(misses, span, spans)
    usual_queries, noise = _usual(queries, span, spans)
    span_s = min(end, queries.edges_s[-1]) - max(begin, queries.edges_s[0])
    missed_s = min(end, misses.edges_s[-1]) - max(begin, misses.edges_s[0])
    return Effect(
        starts_s=begin,
        span_s=end - begin,
        extra_misses=max(1.0, misses.between(begin, end) - usual_misses * missed_s),
        extra_queries=queries.between(begin, end) - usual_queries * span_s,
        noise_queries=noise * math.sqrt(span_s / queries.step_s * (1 + span_s / (span_s + 2 * _BESIDE_S))),
    )


def _usual(grown: Increments, span: tuple[float, float], spans: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return the mean rate beside a stretch of time, outliers left out, and the noise of one step there."""
    reach_s = max(_BESIDE_S, _BESIDE_STEPS * grown.step_s)
    edges = grown.edges_s
    near = [one for one in spans if one[0] < span[1] + reach_s and span[0] - reach_s < one[1]]
    beside = [
        (grown.amounts[place], edges[place + 1] - edges[place])
        for place in range(bisect_left(edges, span[0] - reach_s), bisect_right(edges, span[1] + reach_s) - 1)
        if not any(begin < edges[place + 1] and edges[place] < end for begin, end in near)
    ]
    if not beside:
        return 0.0, math.inf
    rates = [amount / length for amount, length in beside]
    middle = statistics.median(rates)
    spread = _MAD_SD * statistics.median(abs(rate - middle) for rate in rates)
    kept = [rate for rate in rates if abs(rate - middle) <= _DEVIATIONS * spread] or [middle]
    rate = statistics.fmean(kept)
    return rate, max(spread * grown.step_s, math.sqrt(max(1.0, rate * grown.step_s)))


def _worst_per_s(queries: Increments, spans: Sequence[tuple[float, float]]) -> float:
    """Return the highest rate of queries in those times, less the median of all."""
    edges = queries.edges_s
    rates = [
        (edges[place], edges[place + 1], amount / (edges[place + 1] - edges[place]))
        for place, amount in enumerate(queries.amounts)
    ]
    usual = statistics.median(rate for _, _, rate in rates)
    within = (
        rate
        for starts, span in spans
        for begin, end, rate in rates[
            max(0, bisect_right(edges, starts) - 1) : bisect_left(edges, starts + max(span, queries.step_s))
        ]
        if starts < end
    )
    return max(0.0, max(within, default=usual) - usual)


def _lag(misses: Increments, queries: Increments, spans: Sequence[tuple[float, float]]) -> float | None:
    """Return the lag of the highest cross-correlation of the differences; None below 0.5, where it says nothing."""
    step_s = max(misses.step_s, queries.step_s)
    farthest = max(_FARTHEST_STEPS, math.ceil(_FARTHEST_S / step_s))
    grids = _grids(spans, step_s, farthest, misses, queries)
    early = [_standardised(_differenced(misses.on(edges).amounts)) for edges in grids]
    late = [_standardised(_differenced(queries.on(edges).amounts)) for edges in grids]
    heights = {lag: _correlation(early, late, lag) for lag in range(-farthest, farthest + 1)}
    best = max(heights, key=heights.__getitem__)
    if heights[best] < CORRELATED:
        return None
    if abs(best) == farthest:
        return best * step_s
    left, middle, right = heights[best - 1], heights[best], heights[best + 1]
    bend = left - 2 * middle + right
    return (best + (max(-0.5, min(0.5, 0.5 * (left - right) / bend)) if bend < 0 else 0.0)) * step_s


def _together(misses: Increments, queries: Increments, spans: Sequence[tuple[float, float]]) -> float:
    """Return the correlation of both counters around the storms, at whatever lag it is highest.

    At steps of three seconds and more: at finer ones, what backends report once a second comes in jerks.
    """
    step_s = max(misses.step_s, queries.step_s, _JERKY_S)
    farthest = max(1, math.ceil(_FARTHEST_S / step_s))
    grids = _grids(spans, step_s, farthest, misses, queries)
    early = [_standardised(misses.on(edges).amounts) for edges in grids]
    late = [_standardised(queries.on(edges).amounts) for edges in grids]
    return max(_correlation(early, late, lag) for lag in range(-farthest, farthest + 1))


def _grids(spans: Sequence[tuple[float, float]], step_s: float, farthest: int, *grown: Increments) -> list[list[float]]:
    """Return even edges for each stretch of time, and for as much beside it as the lag may reach."""
    return [_grid(begin - farthest * step_s, end + farthest * step_s, step_s, *grown) for begin, end in spans]


def _grid(begin: float, end: float, step_s: float, *grown: Increments) -> list[float]:
    begin = max(begin, *(one.edges_s[0] for one in grown))
    end = min(end, *(one.edges_s[-1] for one in grown))
    return [begin + place * step_s for place in range(max(1, int((end - begin) / step_s) + 1))]


def _differenced(amounts: Sequence[float]) -> list[float]:
    return [late - early for early, late in pairwise(amounts)]


def _standardised(values: Sequence[float]) -> list[float]:
    if not values:
        return []
    mean = statistics.fmean(values)
    size = math.sqrt(sum((one - mean) ** 2 for one in values))
    return [(one - mean) / size for one in values] if size > 0 else [0.0 for _ in values]


def _correlation(early: Sequence[Sequence[float]], late: Sequence[Sequence[float]], lag: int) -> float:
    """Return the mean correlation of pieces with those `lag` places later."""
    shifted = (
        (one[: len(one) - lag], other[lag:]) if lag >= 0 else (one[-lag:], other[: len(other) + lag])
        for one, other in zip(early, late, strict=True)
    )
    return statistics.fmean(sum(map(float.__mul__, one, other)) for one, other in shifted)


def _order(lag_s: float | None, resolution_s: float) -> Order:
    if lag_s is None:
        return Order.UNDECIDED
    if lag_s > resolution_s + FLUSH_S:
        return Order.MISSES
    return Order.DATABASE if lag_s < -resolution_s else Order.UNDECIDED


def slower_before_s(
    misses: Increments, hits: Increments | None, queries: Increments, active: Increments | None
) -> float | None:
    """Return how long before the misses the database's statements took longer, by a median over the storms.

    Longer is twice what a fifth of the steps stay below, and beyond the noise, step after step up to
    the storm. None where it is not known.
    """
    if active is None:
        return None
    edges = queries.edges_s
    taken = active.on(edges).amounts
    each = sorted(time_s / count for time_s, count in zip(taken, queries.amounts, strict=True) if count > 0)
    if not each:
        return None
    usual = each[len(each) // 5]  # it may be slow for most of a short look
    ordinary = [one for one in each if one <= _SLOWER * usual]
    noise = _MAD_SD * statistics.median(abs(one - usual) for one in ordinary)
    bound = max(_SLOWER * usual, usual + _DEVIATIONS * noise)
    slow = [time_s > bound * max(1.0, count) for time_s, count in zip(taken, queries.amounts, strict=True)]
    leads = []
    for storm in storms(misses, hits):
        place = bisect_right(edges, storm.starts_s) - 1
        first = place
        while 0 < first <= len(slow) and slow[first - 1]:
            first -= 1
        leads.append(storm.starts_s - edges[first] if 0 <= first < place else 0.0)
    return statistics.median(leads) if leads else None
