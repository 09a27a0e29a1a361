"""Storms of misses: when a cache answered far less than its traffic lets expect, for seconds to minutes.

Expected   misses of a step = the median share of misses among reads, hereabouts, x the reads of the
           step; without hits, the median misses of a step. Traffic that grows is no storm
Noise      Poisson's, and on top a spread v of the share: the MAD of its logarithm less Poisson's part,
           not below its median over the whole series
Storm      steps (stretches of 3 s, where steps are finer) with more than t + 6 sqrt(t) + 8 misses, where
           t = expected x e^(4.5 v), and at least twice what is expected, with their neighbours that are
           half-way there; at least 3 s and 50 misses
Works on increments at the smallest step there is: a storm of 10 s with a hit ratio of 60 % is one of
98 % over five minutes.
"""

from __future__ import annotations

import math
import operator
import statistics
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import chain, pairwise

from msgspec import Struct

from diag.analysis.increments import Increments

_BLOCK_S, _BLOCK_STEPS = 400.0, 20  # three such are hereabouts: longer than storms are, shorter than a day's drift
_SPREADS, _DEVIATIONS = 4.5, 6.0  # a step in a hundred thousand passes the one by chance, in millions the other
_FEW_MISSES = 8.0  # Poisson's bound means little where less than one is expected
_TIMES = 2.0  # a storm at least doubles the misses
_SKIRTS = 0.5  # of the bound: enough for a step that the storm only touches
_BEGINNING, _NOISES = 0.4, 2.0  # of the next steps' extra misses, and standard deviations: a step that it begins in
_LEAST_S = 3.0  # at fine steps: one slow reading makes one odd step
_LEAST_MISSES = 50.0  # so many queries are nothing to any database
_BRIDGED_S = 3.0  # a lull within a storm
_UNSEEN_STEPS = 4.0  # a step so long is time that nobody looked
_MAD_SD = 1.4826  # standard deviations in a median absolute deviation (normal)
_TELLING_MISSES, _LEAST_CELLS = 20.0, 3  # in a cell, for it to tell more than Poisson's noise; in a block
_TELLING_MEDIAN = 5.0  # of whole numbers below it, the median is too coarse
_WIDER = 4  # blocks on either side, for the spread: it takes more steps than the median
_POISSON = 1.2  # of its variance, so that an estimate from some dozens of cells does not take it for more
_PLATEAU = 3  # steps, from which on the first and last can be told from the middle


class Storm(Struct, frozen=True, kw_only=True):
    """One storm; times are seconds since 1970, misses are those beyond what was expected.

    It began within a step after `starts_s` and was over by `ends_s`; `first` and `last` are its
    steps, `centre_s` the mean moment of its misses. `depth_ratio` is how far the hit ratio fell
    (None: hits unknown). `cold` says that the server had just been started.
    """

    first: int
    last: int
    starts_s: float
    ends_s: float
    centre_s: float
    extra_misses: float
    peak_per_s: float
    reads_per_s: float | None
    depth_ratio: float | None
    cold: bool = False

    @property
    def steps(self) -> int:
        """How many steps it reaches into."""
        return self.last - self.first + 1


class _Usual(Struct, frozen=True, eq=False):
    """What each step lets expect: misses, and by how many times their spread may raise them."""

    misses: list[float]
    reach: list[float]

    def skirt(self, place: int) -> float:
        """Return above how many misses a step belongs to a storm beside it."""
        raised = self.misses[place] * math.sqrt(self.reach[place])
        return raised + _SKIRTS * (_DEVIATIONS * math.sqrt(raised) + _FEW_MISSES)


@lru_cache(maxsize=8)
def storms(misses: Increments, hits: Increments | None) -> tuple[Storm, ...]:
    """Return the storms, oldest first. `hits` may have been read at other moments."""
    if len(misses.amounts) < _BLOCK_STEPS // 4:
        return ()
    reads = _reads(misses, hits)
    usual = _expectations(misses, reads)
    lengths = [late - early for early, late in pairwise(misses.edges_s)]
    high = _high(misses, usual, lengths)
    found = (_storm(misses, reads if hits else None, usual, run) for run in _runs(misses, usual, high))
    return tuple(storm for storm in found if storm is not None)


def _high(misses: Increments, usual: _Usual, lengths: Sequence[float]) -> list[int]:
    """Return the steps that, with their neighbours up to three seconds, have more misses than chance explains."""
    beside = max(0, math.ceil((_LEAST_S / misses.step_s - 1) / 2))
    unseen = _UNSEEN_STEPS * misses.step_s
    high = []
    for place, (amount, expected) in enumerate(zip(misses.amounts, usual.misses, strict=True)):
        if amount <= expected + _FEW_MISSES * _SKIRTS or amount <= usual.skirt(place) or lengths[place] > unseen:
            continue
        near = slice(max(0, place - beside), place + beside + 1)
        least = sum(usual.misses[near])
        bound = sum(map(operator.mul, usual.misses[near], usual.reach[near]))
        bound += _DEVIATIONS * math.sqrt(bound) + _FEW_MISSES
        if sum(misses.amounts[near]) > max(bound, _TIMES * least):
            high.append(place)
    return high


def _reads(misses: Increments, hits: Increments | None) -> list[float]:
    """Return the reads of each step; without hits, one a second: then misses are expected to be even."""
    edges = misses.edges_s
    if hits is None:
        return [late - early for early, late in pairwise(edges)]
    answered = hits.on(edges).amounts
    return [max(0.0, hit) + miss for hit, miss in zip(answered, misses.amounts, strict=True)]


def _expectations(misses: Increments, reads: Sequence[float]) -> _Usual:
    width = max(_BLOCK_STEPS, round(_BLOCK_S / misses.step_s))
    starts = range(0, len(reads), width)
    pairs = list(zip(misses.amounts, reads, strict=True))
    ordered = [
        sorted([(miss / read, miss, read) for miss, read in pairs[at : at + width] if read > 0]) for at in starts
    ]
    shares = [
        _share(sorted(chain.from_iterable(ordered[max(0, place - 1) : place + 2]))) for place in range(len(ordered))
    ]
    logs = [_logs(pairs[at : at + width], share) for at, share in zip(starts, shares, strict=True)]
    spreads = [_spread(logs[max(0, place - _WIDER) : place + _WIDER + 1]) for place in range(len(logs))]
    least = statistics.median(spreads)
    usual = _Usual([], [])
    for at, share, spread in zip(starts, shares, spreads, strict=True):
        block = reads[at : at + width]
        usual.misses.extend([share * read for read in block])
        usual.reach.extend([math.exp(_SPREADS * max(spread, least))] * len(block))
    return usual


def _share(known: Sequence[tuple[float, float, float]]) -> float:
    """Return the usual share of misses among reads, of (share, misses, reads) in rising order.

    It is the median, or a trimmed mean where most steps have a few misses at most.
    """
    if not known:
        return 0.0
    median, miss, _ = known[len(known) // 2]
    if miss > _TELLING_MEDIAN:
        return median
    few = known[: max(1, len(known) * 3 // 4)]
    return sum(miss for _, miss, _ in few) / sum(read for _, _, read in few)


def _logs(pairs: Sequence[tuple[float, float]], share: float) -> tuple[list[float], float]:
    """Return the logarithms of misses over what is expected, by cells with enough of them, and Poisson's variance.

    Where cells would be too few, there are none: Poisson's is all the noise that can be told.
    """
    reads = sum([read for _, read in pairs])
    each = share * reads / len(pairs)
    width = max(1, math.ceil(_TELLING_MISSES / max(each, 1e-9)))
    if width > len(pairs) // _LEAST_CELLS:
        return [], 0.0
    had: Sequence[tuple[float, float]] = pairs
    if width > 1:
        cells = [pairs[at : at + width] for at in range(0, len(pairs) - width + 1, width)]
        had = [(sum([miss for miss, _ in cell]), sum([read for _, read in cell])) for cell in cells]
    return [math.log((miss + 0.5) / (share * read + 0.5)) for miss, read in had], 1 / (width * each)


def _spread(blocks: Sequence[tuple[list[float], float]]) -> float:
    """Return the standard deviation of these logarithms beyond Poisson's, by their median absolute deviation."""
    logs = sorted(chain.from_iterable([some for some, _ in blocks]))
    if not logs:
        return 0.0
    poisson = statistics.fmean([variance for some, variance in blocks if some])
    middle = logs[len(logs) // 2]
    sizes = sorted([abs(log - middle) for log in logs])
    spread = _MAD_SD * sizes[len(sizes) // 2]
    return math.sqrt(max(0.0, spread * spread - _POISSON * poisson))


def _runs(misses: Increments, usual: _Usual, high: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield first and last step of each storm: what is high, with its skirts, lulls bridged."""
    edges, storm = misses.edges_s, None
    for place in high:
        if storm is not None and place <= storm[1]:
            continue
        run = _with_skirts(misses, usual, place)
        if storm is not None and edges[run[0]] - edges[storm[1] + 1] <= _BRIDGED_S:
            storm = (storm[0], run[1])
            continue
        if storm is not None:
            yield storm
        storm = run
    if storm is not None:
        yield storm


def _with_skirts(misses: Increments, usual: _Usual, place: int) -> tuple[int, int]:
    amounts = misses.amounts
    first = last = place
    while first > 0 and amounts[first - 1] > usual.skirt(first - 1):
        first -= 1
    while last + 1 < len(amounts) and amounts[last + 1] > usual.skirt(last + 1):
        last += 1
    if first > 0 and _begins_before(misses, usual, first, min(last, first + 2)):
        first -= 1
    return first, last


def _begins_before(misses: Increments, usual: _Usual, first: int, third: int) -> bool:
    """Whether the step before the first already has a good part of what the next have, beyond Poisson's noise."""
    extra = [misses.amounts[place] - usual.misses[place] for place in range(first - 1, third + 1)]
    noise = _NOISES * math.sqrt(usual.misses[first - 1]) + _NOISES
    return extra[0] > max(noise, _BEGINNING * statistics.median(extra[1:]))


def _storm(misses: Increments, reads: Sequence[float] | None, usual: _Usual, run: tuple[int, int]) -> Storm | None:
    first, last = run
    edges, places = misses.edges_s, range(first, last + 1)
    lengths = [edges[place + 1] - edges[place] for place in places]
    extra = [max(0.0, misses.amounts[place] - usual.misses[place]) for place in places]
    total = sum(extra)
    if total < _LEAST_MISSES or sum(lengths) < _LEAST_S:
        return None
    begun, over = _ends(extra, lengths)
    middles = [(edges[place] + edges[place + 1]) / 2 for place in places]
    return Storm(
        first=first,
        last=last,
        starts_s=edges[first] + begun,
        ends_s=edges[last + 1] - over,
        centre_s=sum(at * one for at, one in zip(middles, extra, strict=True)) / total,
        extra_misses=total,
        peak_per_s=max(one / length for one, length in zip(extra, lengths, strict=True)),
        reads_per_s=sum(reads[place] for place in places) / sum(lengths) if reads else None,
        depth_ratio=_depth(misses, reads, usual, places) if reads else None,
        cold=any(place in misses.began_anew for place in range(max(0, first - 1), last + 1)),
    )


def _ends(extra: Sequence[float], lengths: Sequence[float]) -> tuple[float, float]:
    """Return how much of the first step was before the storm, and how much of the last after it.

    Between them misses came at the rate of the steps that the storm filled; with less than three steps none is known.
    """
    if len(extra) < _PLATEAU:
        return 0.0, 0.0
    rate = statistics.median(one / length for one, length in zip(extra[1:-1], lengths[1:-1], strict=True))
    if not rate > 0:
        return 0.0, 0.0
    return max(0.0, lengths[0] - extra[0] / rate), max(0.0, lengths[-1] - extra[-1] / rate)


def _depth(misses: Increments, reads: Sequence[float], usual: _Usual, places: range) -> float:
    shares = [(misses.amounts[place] - usual.misses[place]) / reads[place] for place in places if reads[place] > 0]
    return max(0.0, min(1.0, max(shares, default=0.0)))
