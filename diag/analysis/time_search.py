"""When the record at an offset was written, found by asking "which is the first record not older than T?".

ListOffsets by timestamp answers f(T) = (o, ts): the lowest offset whose record is dated T or
later, and that record's timestamp; nothing when all are older. f never falls as T rises, and
f(T) <= c exactly when some record up to c is dated T or later. So the largest such T is M(c), the
newest timestamp up to and including the record at c: with ordered timestamps that record's own,
with unordered ones never older. Time lag computed from M(c) is never overstated.
A transaction marker counts as a record, dated by the broker that wrote it.

The search keeps M(c) between what the answers prove, asks seven timestamps a round, and ends
when an answer lies at c itself (exact) or when no more than a second is left; then it takes the
upper end, the later time, so that the lag is still never overstated. Up to nine rounds.
Source: KIP-79, KIP-734 (MAX_TIMESTAMP), Kafka's UnifiedLog.fetchOffsetByTimestamp.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import NamedTuple

NEWEST = -3  # the special timestamp MAX_TIMESTAMP: the record that is dated newest
MOST_ROUNDS = 9
TOLERANCE_MS = 1000
PROBES = 7
"""Timestamps asked in one round for one place."""

_LAGS_MS = (60_000, 600_000, 7_200_000, 86_400_000)  # where readers usually are; saves a third of the rounds
_NOWHERE = 2**63 - 1  # the offset of "all records are older"
_PARTS = PROBES + 1
_FEW = 256


class Answer(NamedTuple):
    """f(T): the first record dated T or later."""

    offset: int
    at_ms: int


class _Bracket(NamedTuple):
    """What is proven about one place: M is `low_ms` or later (a record at `low` says so), `high_ms` or earlier.

    `beyond` is the next record known to be dated later than `high_ms`; it lies after the place.
    """

    low: int
    low_ms: int
    high_ms: int
    beyond: Answer | None


class TimeSearch:
    """All places on one partition: what one of them learns narrows the others.

    Ask `probes`, give the answers to `learn`, until there are no more probes. `found` has M in
    milliseconds for each place that is settled. `undated` says that no record has a timestamp.
    """

    def __init__(
        self,
        offsets: Iterable[int],
        *,
        log_end_offset: int,
        now_ms: int,
        tells_newest: bool = True,
        compacted: bool = False,
    ) -> None:
        """Take offsets from the log start on and before `log_end_offset`.

        `now_ms` only places the first probes and, where the broker does not tell the newest
        timestamp (`tells_newest`), stands for it. `compacted`: the record at an offset may have
        been removed, and what will be read there is the first one left after it. If no answer lies
        at the place, it may therefore be as new as the next record that is newer than all before
        it; that time is taken, which no removal makes too old. Not so otherwise: there every record
        is still in place, and one that no answer shows is no newer than those before it.
        """
        self.found: dict[int, int] = {}
        self.undated = False
        self.rounds = 0
        self._open = sorted(set(offsets))
        self._end = log_end_offset
        self._now_ms = now_ms
        self._tells_newest = tells_newest
        self._compacted = compacted
        # Everything proven, in the order of the timestamps asked: f(asked) = (offset, at).
        self._asked: list[int] = []
        self._offsets: list[int] = []
        self._at_ms: list[int] = []

    @property
    def unsettled(self) -> tuple[int, ...]:
        """The places that are not settled (yet, or for good when there are no more probes)."""
        return tuple(self._open)

    def probes(self) -> list[int]:
        """Return the timestamps to ask in the next round, each once; `NEWEST` may be one. Empty: it is over."""
        if not self._open or self.rounds >= MOST_ROUNDS:
            return []
        if self.rounds == 0:
            recent = [self._now_ms - lag_ms for lag_ms in _LAGS_MS if lag_ms < self._now_ms]
            return [0, self._now_ms, *recent, *([NEWEST] if self._tells_newest else [])]
        return sorted(set().union(*map(self._cuts, self._open)))

    def learn(self, answers: Mapping[int, Answer | None]) -> None:
        """Take the answers of a round by the timestamp asked; None: all records are older."""
        self.rounds += 1
        if self.rounds == 1 and answers.get(0) is None:
            self.undated = True
            self._open = []
            return
        proven = dict(zip(self._asked, zip(self._offsets, self._at_ms, strict=True), strict=True))
        for asked, answer in answers.items():
            proven.update(_proven(asked, answer))
        in_order = sorted(proven.items())
        self._asked = [asked for asked, _ in in_order]
        self._offsets = [offset for _, (offset, _) in in_order]
        self._at_ms = [at_ms for _, (_, at_ms) in in_order]
        for place in self._open:
            settled = self._settled(place)
            if settled is not None:
                self.found[place] = settled
        self._open = [place for place in self._open if place not in self.found]

    def _bracket(self, place: int) -> _Bracket | None:
        """Return what the answers prove; None when the first dated record is later than the place."""
        later = bisect_right(self._offsets, place)
        if later == 0:
            return None
        high_ms, beyond = self._at_ms[later - 1], None
        if later < len(self._asked):
            high_ms = self._asked[later] - 1
            if self._offsets[later] != _NOWHERE:
                beyond = Answer(self._offsets[later], self._at_ms[later])
        return _Bracket(self._offsets[later - 1], self._at_ms[later - 1], high_ms, beyond)

    def _settled(self, place: int) -> int | None:
        bracket = self._bracket(place)
        if bracket is None:  # what was there is gone or undated: the first dated record after it
            return self._at_ms[0]
        if bracket.low == place:
            return bracket.low_ms
        span_ms = bracket.high_ms - bracket.low_ms
        newest_ms = max(bracket.low_ms, bracket.high_ms)  # a log that changes meanwhile may contradict itself
        if not self._compacted:
            return newest_ms if span_ms <= TOLERANCE_MS else None
        if bracket.beyond is not None:
            newest_ms = max(newest_ms, bracket.beyond.at_ms)
        last_chance = self.rounds >= MOST_ROUNDS and span_ms <= TOLERANCE_MS
        close = newest_ms - bracket.low_ms <= TOLERANCE_MS or span_ms <= 0  # else its own record might yet turn up
        return newest_ms if close or last_chance else None

    def _cuts(self, place: int) -> set[int]:
        """Return where to cut: close around the interpolated time, and into thirds in case that is wrong.

        A cut into eight equal parts shrinks any bracket eightfold, so it takes over as soon as
        nothing less is sure to end in time, unless not even that is.
        """
        bracket = self._bracket(place)
        assert bracket is not None
        low_ms, span_ms = bracket.low_ms, bracket.high_ms - bracket.low_ms
        width = (bracket.beyond.offset if bracket.beyond else self._end) - bracket.low
        guess_ms = low_ms + span_ms * (place - bracket.low) // max(1, width)
        near_ms, far_ms = max(span_ms // 256, TOLERANCE_MS // 2 - 1), max(span_ms // 32, 4 * TOLERANCE_MS)
        cuts = {guess_ms - far_ms, guess_ms - near_ms, guess_ms + near_ms, guess_ms + far_ms}
        cuts |= {low_ms + span_ms // 3, low_ms + span_ms * 2 // 3}
        # Among few records the place is often one of several of the same time, with silence after them.
        cuts.add(low_ms + TOLERANCE_MS if width <= _FEW and not self._compacted else guess_ms)
        cuts = {min(max(cut, low_ms + 1), bracket.high_ms) for cut in cuts}
        sure_ms = TOLERANCE_MS * _PARTS ** (MOST_ROUNDS - self.rounds - 1)
        if span_ms <= TOLERANCE_MS or sure_ms < _widest(bracket, cuts) <= span_ms <= sure_ms * _PARTS:
            return {max(low_ms + 1, low_ms + span_ms * part // _PARTS) for part in range(1, _PARTS)}
        return cuts


def _proven(asked: int, answer: Answer | None) -> Iterator[tuple[int, tuple[int, int]]]:
    """Yield what one answer proves, as (timestamp, (offset, timestamp of the record there))."""
    if asked != NEWEST:
        yield asked, (_NOWHERE, asked) if answer is None else (answer.offset, max(asked, answer.at_ms))
    elif answer is not None:
        # Older brokers name the last record of its batch instead of the first that is dated so. Too late
        # an offset loses nothing: other answers still find the right one.
        yield answer.at_ms, (answer.offset, answer.at_ms)
        yield answer.at_ms + 1, (_NOWHERE, answer.at_ms + 1)


def _widest(bracket: _Bracket, cuts: set[int]) -> int:
    edges = sorted({bracket.low_ms, bracket.high_ms, *cuts})
    return max((after - before for before, after in pairwise(edges)), default=0)
