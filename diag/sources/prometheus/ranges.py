"""Raw samples of a long span, read in pieces and put together again.

An instant query with a range (`x[1h]`) gives samples with the times they were scraped at. Its range is closed
in Prometheus 2 and open on the left in 3, so pieces lie edge to edge, end in whole seconds, and what two of
them hold is kept once; only samples after the start count, on either.
Source: Prometheus documentation, "Querying basics", "Prometheus 3 migration guide" (range selectors are left-open).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

from msgspec import Struct

from diag.errors import Rung
from diag.sources.prometheus.connection import Samples, Session, instant, number, raw
from diag.sources.prometheus.http import TooMuch

MOST_POINTS = 8_000  # of a series in an answer: below the 10 000 and 11 000 that servers allow, should they be uneven
_MOST_SAMPLES = 500_000  # in an answer: 16 MB of JSON, half of what we take
MOST_SAMPLES_IN_ALL = 2_000_000  # more is minutes of reading in an incident
_SHORTEST_S = 60  # a piece that is refused is halved down to this
Labels: TypeAlias = tuple[tuple[str, str], ...]


class Series(Struct, frozen=True, kw_only=True):
    """One series as it was scraped: rising times, and the counter's value at each."""

    labels: Labels
    at_s: tuple[float, ...]
    totals: tuple[float, ...]


def read(session: Session, selector: str, start_s: int, end_s: int) -> tuple[Series, ...]:
    """Read every sample after `start_s` up to `end_s`. Raises a `SourceError`; `TooMuch` when it is too much in all."""
    counted = instant(session, f"count_over_time({selector}[{end_s - start_s}s])", end_s)
    counts = [number(one.value[1]) for one in counted]
    if sum(counts) > MOST_SAMPLES_IN_ALL:
        message = f"{sum(counts):.0f} samples, {MOST_SAMPLES_IN_ALL} at most"
        raise TooMuch(message, rung=Rung.QUERY, fix="ask for less with --history, or name fewer series")
    pieces = max(1, math.ceil(max(max(counts, default=0) / MOST_POINTS, sum(counts) / _MOST_SAMPLES)))
    answers = [
        answer
        for piece in spans(start_s, end_s, math.ceil((end_s - start_s) / pieces))
        for answer in _answers(session, selector, *piece)
    ]
    return merged(answers, start_s, end_s)


def _answers(session: Session, selector: str, start_s: int, end_s: int) -> Iterator[list[Samples]]:
    """Ask for one piece, and for its halves when it is refused as too much."""
    try:
        answer = raw(session, selector, end_s, end_s - start_s)
    except TooMuch:
        if end_s - start_s < 2 * _SHORTEST_S:
            raise
        middle_s = (start_s + end_s) // 2
        yield from _answers(session, selector, start_s, middle_s)
        yield from _answers(session, selector, middle_s, end_s)
    else:
        yield answer


def spans(start_s: int, end_s: int, longest_s: int) -> Iterator[tuple[int, int]]:
    """Cut a span into pieces of `longest_s` seconds at most, edge to edge."""
    edge_s = start_s
    while edge_s < end_s:
        until_s = min(edge_s + max(1, longest_s), end_s)
        yield edge_s, until_s
        edge_s = until_s


def merged(answers: Iterable[Sequence[Samples]], start_s: float, end_s: float) -> tuple[Series, ...]:
    """Put pieces together by label set: every sample in (`start_s`, `end_s`] once, in the order of time.

    What is no number (NaN, infinities) is left out: a counter has none of these.
    """
    found: dict[Labels, dict[float, float]] = {}
    for answer in answers:
        for one in answer:
            points = found.setdefault(tuple(sorted(one.metric.items())), {})
            for at_s, written in one.values:
                if start_s < at_s <= end_s and math.isfinite(total := number(written)):
                    points.setdefault(at_s, total)
    return tuple(
        Series(labels=labels, at_s=tuple(sorted(points)), totals=tuple(points[at_s] for at_s in sorted(points)))
        for labels, points in sorted(found.items())
        if points
    )
