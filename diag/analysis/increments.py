"""What a counter grew by, from one reading to the next, whether it began anew in between or not.

A counter that falls, or whose server has another run_id, began again from 0: what it shows then
is the least it grew by (Prometheus documentation, "increase").
"""

from __future__ import annotations

import math
import statistics
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import pairwise, repeat

from msgspec import Struct

from diag.snapshots.base import Snapshot, Window
from diag.snapshots.postgres import PgThroughput
from diag.snapshots.prometheus import CounterSeries
from diag.snapshots.redis import RedisLoad


class Increments(Struct, frozen=True, kw_only=True, eq=False):
    """What one counter grew by, step by step; times are seconds since 1970.

    `amounts[i]` is what came between `edges_s[i]` and `edges_s[i + 1]`, `sums[i]` all that came
    before `edges_s[i]`. `step_s` is the usual length of a step, 0 without one. `began_anew` are
    the places of the steps in which the counter started again.
    """

    edges_s: tuple[float, ...]
    amounts: tuple[float, ...]
    sums: tuple[float, ...]
    step_s: float
    began_anew: frozenset[int] = frozenset()

    @property
    def span_s(self) -> float:
        """Seconds from the first reading to the last."""
        return self.edges_s[-1] - self.edges_s[0] if self.edges_s else 0.0

    def upto(self, at_s: float) -> float:
        """Return what had come by a moment; within a step, as if it came evenly."""
        edges = self.edges_s
        place = bisect_right(edges, at_s) - 1
        if place < 0 or not self.amounts:
            return 0.0
        if place >= len(self.amounts):
            return self.sums[-1]
        return self.sums[place] + self.amounts[place] * (at_s - edges[place]) / (edges[place + 1] - edges[place])

    def between(self, from_s: float, to_s: float) -> float:
        """Return what came in a stretch of time."""
        return self.upto(to_s) - self.upto(from_s)

    def on(self, edges_s: Sequence[float]) -> Increments:
        """Return the same growth, by other steps; a step holds a fresh start when one of the old ones in it does."""
        if tuple(edges_s) == self.edges_s:
            return self
        sums = tuple(self.upto(at_s) for at_s in edges_s)
        anew = {bisect_right(edges_s, self.edges_s[place + 1]) - 1 for place in self.began_anew}
        return Increments(
            edges_s=tuple(edges_s),
            amounts=tuple(late - early for early, late in pairwise(sums)),
            sums=sums,
            step_s=_usual_step_s(edges_s),
            began_anew=frozenset(place for place in anew if 0 <= place < len(sums) - 1),
        )


def increments(at_s: Sequence[float], totals: Sequence[float], lives: Sequence[object] = ()) -> Increments:
    """Return what a counter grew by; `lives` names, for each reading, the run of the server that gave it.

    Readings of a moment that is no later than the one before, or that are no number, are left out.
    """
    edges: list[float] = []
    amounts: list[float] = []
    anew: set[int] = set()
    before: tuple[float, object] | None = None
    for at, total, life in zip(at_s, totals, lives or repeat(None), strict=False):
        if not (math.isfinite(at) and math.isfinite(total)) or (edges and at <= edges[-1]):
            continue
        if before is not None:
            started = total < before[0] or life != before[1]
            if started:
                anew.add(len(amounts))
            amounts.append(total if started else total - before[0])
        edges.append(at)
        before = total, life
    sums = [0.0]
    for amount in amounts:
        sums.append(sums[-1] + amount)
    return Increments(
        edges_s=tuple(edges),
        amounts=tuple(amounts),
        sums=tuple(sums[: len(edges)]),
        step_s=_usual_step_s(edges),
        began_anew=frozenset(anew),
    )


def _usual_step_s(edges_s: Sequence[float]) -> float:
    return statistics.median([late - early for early, late in pairwise(edges_s)]) if len(edges_s) > 1 else 0.0


def series_increments(series: CounterSeries | None) -> Increments | None:
    """Return the growth of a series that Prometheus recorded; None without one, or with less than two samples."""
    if series is None or len(series.at_s) < 2:  # noqa: PLR2004  growth is between two
        return None
    return increments(series.at_s, series.totals)


def load_increments(window: Window[RedisLoad], count: Callable[[RedisLoad], float]) -> Increments:
    """Return the growth of one of INFO's counters over a window."""
    frames = window.frames
    return increments(_seconds(frames), [count(frame) for frame in frames], [frame.run_id for frame in frames])


def throughput_increments(window: Window[PgThroughput], count: Callable[[PgThroughput], float]) -> Increments:
    """Return the growth of one of a database's counters over a window."""
    frames = window.frames
    return increments(_seconds(frames), [count(frame) for frame in frames], [frame.reset_at for frame in frames])


def _seconds(frames: Sequence[Snapshot]) -> list[float]:
    return [frame.observed_at.timestamp() for frame in frames]
