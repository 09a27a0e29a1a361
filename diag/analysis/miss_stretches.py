"""Stretches of misses far above what is usual, and all that was counted around each.

Usual is the calm quarter of the window, or everything before it where that was calmer. A stretch is found
where misses pass three times the usual, four standard deviations of a Poisson count and a floor; SETs that
come after it belong to it until they fall back to the usual: recomputations end later than the misses.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

import msgspec
from msgspec import Struct

from diag.analysis.read_steps import Step, Usual, steps, usual
from diag.snapshots.base import Window
from diag.snapshots.redis import KeyEvents, RedisLoad
from diag.text import KeyText

_LEAST_PER_S = 20.0  # one database worker serves as many short queries: nobody feels less
_LEAST = 10
_TIMES_USUAL, _DEVIATIONS = 3.0, 4.0
_SETS_DEVIATIONS = 3.0
_TRAIL_S = 10.0  # without a SET: what comes later belongs to something else
_NAMED_SHARE = 0.5  # of the named events: then one key is what it is about


class Stretch(Struct, frozen=True, kw_only=True):
    """Steps `first` to `last` with far too many misses, and everything up to `end` that belongs to them.

    `until` is the last step before the next stretch; `calm_sets_per_s` are SETs of all that is outside of any.
    Counts are beyond the usual. `per_s` is the highest rate of misses, `hits_lost_per_s` how many hits the same
    moment lacks (None: no calm to compare with), `calm_reads_per_s` and `reads_per_s` all look-ups outside and
    inside. `refusals_known`: nothing else than a refused SET NX can have changed nothing. `key` is the one key it
    is about, where a source (`named_by`) has named one; `distinct` how many keys the server named at once, `top`
    the most frequent of them.
    """

    first: int
    last: int
    end: int
    until: int
    length_s: float
    ended: bool
    misses: int
    reads_per_s: float
    sets: int
    stale_rise: float
    per_s: float = 0.0
    hits_lost_per_s: float | None = None
    calm_reads_per_s: float | None = None
    calm_sets_per_s: float | None = None
    first_set_after_s: float | None = None
    refused: int = 0
    refusals_known: bool = True
    created: int = 0
    expired: int = 0
    removed: int = 0
    evicted: int = 0
    flushes: int = 0
    key: KeyText | None = None
    named_by: str = ""
    named_misses: int = 0
    distinct: int | None = None
    top: tuple[KeyText, ...] = ()

    @property
    def hits_fell(self) -> bool | None:
        """Whether what is missed now was found before, rather than asked for in addition; None: not known."""
        return None if self.hits_lost_per_s is None else self.hits_lost_per_s >= self.per_s / 2


def excess(step: Step, normal: Usual) -> float:
    """Return the misses beyond those that so many reads usually bring."""
    return step.misses - normal.misses_per_read * step.reads


def sets_beyond(step: Step, normal: Usual) -> float:
    """Return the SETs that wrote something, beyond the usual; 0 where chance explains them."""
    expected = normal.sets_per_read * step.reads
    beyond = step.kept - expected
    return beyond if beyond >= _SETS_DEVIATIONS * math.sqrt(max(0.0, expected)) and beyond >= 1 else 0.0


@lru_cache(maxsize=4)
def stretches(window: Window[RedisLoad]) -> tuple[Stretch, ...]:
    """Return every stretch of too many misses, in the order of time."""
    taken = steps(window)
    if not taken:
        return ()
    normal = usual(window, taken)
    spans = list(_spans(taken, normal))
    stormy = {place for first, last in spans for place in range(first - 1, last + 2)}
    calm = [step for place, step in enumerate(taken) if place not in stormy and not step.anew]
    made = []
    for number, (first, last) in enumerate(spans):
        following = spans[number + 1][0] if number + 1 < len(spans) else len(taken)
        made.append(_stretch(taken, normal, calm, (first, last, following - 1)))
    return tuple(made)


def _spans(taken: Sequence[Step], normal: Usual) -> Iterator[tuple[int, int]]:
    """Yield the first and the last step of each stretch; one quiet step in between does not end it."""
    places = [place for place, step in enumerate(taken) if _is_too_much(step, normal)]
    while places:
        first = last = places.pop(0)
        while places and places[0] - last <= 2:  # noqa: PLR2004  the next, or the one after it
            last = places.pop(0)
        yield first, last


def _is_too_much(step: Step, normal: Usual) -> bool:
    expected, beyond = normal.misses_per_read * step.reads, excess(step, normal)
    floor = max(_LEAST, _LEAST_PER_S * step.span_s, _DEVIATIONS * math.sqrt(max(0.0, expected)))
    return not step.anew and beyond >= floor and step.misses >= _TIMES_USUAL * expected


def _trail_end(taken: Sequence[Step], normal: Usual, last: int, until: int) -> int:
    """Return the last step whose SETs belong to the stretch."""
    end, waited_s, begun = last, 0.0, False
    for place in range(last + 1, until + 1):
        if sets_beyond(taken[place], normal) > 0:
            end, begun = place, True
            continue
        waited_s += taken[place].span_s
        if begun or waited_s > _TRAIL_S:
            break
    return end


def _stretch(taken: Sequence[Step], normal: Usual, calm: Sequence[Step], places: tuple[int, int, int]) -> Stretch:
    first, last, until = places
    end = _trail_end(taken, normal, last, until)
    core = taken[first : last + 1]
    edge = taken[max(0, first - 1) : last + 2]
    whole = taken[max(0, first - 1) : max(end, min(last + 1, len(taken) - 1)) + 1]
    beyond = [max(0.0, excess(step, normal)) for step in edge]
    worst = max(core, key=lambda step: excess(step, normal) / step.span_s)
    calm_s = sum(step.span_s for step in calm)

    def more(counted: Callable[[Step], int]) -> int:
        rate = sum(counted(step) for step in calm) / calm_s if calm_s else 0.0
        return max(0, round(sum(counted(step) - rate * step.span_s for step in whole)))

    hits_per_s = sum(step.hits for step in calm) / calm_s if calm_s else None
    stretch = Stretch(
        first=first,
        last=last,
        end=end,
        until=until,
        length_s=sum(beyond) / max(1.0, excess(worst, normal) / worst.span_s),
        ended=last + 1 < len(taken),
        misses=round(sum(beyond)),
        per_s=excess(worst, normal) / worst.span_s,
        hits_lost_per_s=None if hits_per_s is None else hits_per_s - worst.hits / worst.span_s,
        reads_per_s=worst.reads / worst.span_s,
        calm_reads_per_s=sum(step.reads for step in calm) / calm_s if calm_s else None,
        calm_sets_per_s=sum(step.kept for step in calm) / calm_s if calm_s else None,
        sets=round(sum(sets_beyond(step, normal) for step in taken[first : end + 1])),
        first_set_after_s=_first_set_after_s(taken, normal, first, end),
        refused=sum(step.refused or 0 for step in core),
        refusals_known=all(step.refused is not None for step in core),
        created=more(lambda step: step.created),
        expired=more(lambda step: step.expired),
        removed=more(lambda step: step.removed),
        evicted=sum(step.evicted for step in whole),
        flushes=sum(step.flushes for step in taken[: last + 1]),
        stale_rise=max(step.stale_rise for step in whole),
    )
    return _named(stretch, edge, whole)


def _first_set_after_s(taken: Sequence[Step], normal: Usual, first: int, end: int) -> float | None:
    """Return the time from the first step with misses to the first with SETs; 0 within the same step."""
    began = max(0, first - 1) if first and excess(taken[first - 1], normal) >= 1 else first
    for step in taken[began : end + 1]:
        if sets_beyond(step, normal) > 0:
            return (step.from_at - taken[began].from_at).total_seconds()
    return None


def counted(events: Sequence[KeyEvents | None]) -> Counter[KeyText]:
    """Add up what was named, as far as the lists go."""
    total: Counter[KeyText] = Counter()
    for one in events:
        for key in one.top if one else ():
            total[key.key] += key.count
    return total


def _named(stretch: Stretch, edge: Sequence[Step], whole: Sequence[Step]) -> Stretch:
    """Put names to it: by missed keys, then by the key that was asked for, then by what was written."""
    missed = counted([step.missed for step in edge])
    total = sum(step.missed.total for step in edge if step.missed)
    if missed:
        (key, count), *_ = missed.most_common(1)
        alone = count >= _NAMED_SHARE * total and count >= _LEAST
        return msgspec.structs.replace(
            stretch,
            key=key if alone else None,
            named_by="keymiss events" if alone else "",
            named_misses=count if alone else total,
            distinct=max(len(missed), *(step.missed.distinct for step in edge if step.missed)),
            top=tuple(name for name, _ in missed.most_common()),
        )
    renewed = next((step.renewed for step in edge if step.renewed), None)
    if renewed:
        return msgspec.structs.replace(stretch, key=renewed, named_by="its time to live")
    written = counted([step.written for step in whole])
    if written:
        (key, count), *_ = written.most_common(1)
        if count >= max(_LEAST, _NAMED_SHARE * sum(written.values())):
            return msgspec.structs.replace(stretch, key=key, named_by="CLIENT TRACKING")
    return stretch
