"""How the logs grew: the first offset not older than T, for many T, by ListOffsets; no record is read.

Each answer also tells when the record there was written, and until then nothing was: so a pause
between two instants is known to the millisecond, and so is the burst that ends it. Instants far
apart are asked first, then those in between: when time runs out, the curve is coarser, not shorter.
Source: KIP-79; Kafka's UnifiedLog.fetchOffsetByTimestamp.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from diag.errors import SourceError
from diag.snapshots.base import Gap
from diag.snapshots.kafka import LogEnds, Mark, Offset, ProduceCurve, TopicPartition
from diag.sources.kafka.broker import Message, exchange
from diag.sources.kafka.cluster import Session
from diag.sources.kafka.gaps import refused, unread
from diag.sources.kafka.list_offsets import Told, list_offsets, size_bytes
from diag.text import ServerText

MOST_INSTANTS: Final = 360
FEWEST_INSTANTS: Final = 60
MOST_LOOK_UPS: Final = 20_000  # each costs the broker a look into an index and into a part of a batch
SHORTEST_STEP_S: Final = 1.0
_IN_FLIGHT_BYTES: Final = (
    96 * 1024
)  # fits the socket buffers of both sides, so that neither waits for the other to read
_AT_A_TIME: Final = 1_000  # look-ups in flight: some tenths of a second, after which the time is looked at
_STRIDES: Final = (8, 4, 2, 1)  # of the instants: each stride asks what the one before it has left out
_WORTH_A_MARK: Final = 0.05  # of a step: a log that is written all the time needs no further marks
_AHEAD_MS: Final = 10_000  # clocks differ that much without anybody noticing
_NONE = -1
_FACT = "produced"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Grid(NamedTuple):
    """Evenly spaced instants, from the beginning of the history to now."""

    since: datetime
    step_s: float
    steps: int

    @property
    def instants(self) -> tuple[datetime, ...]:
        """The instants; the last one is now."""
        return tuple(self.since + timedelta(seconds=number * self.step_s) for number in range(self.steps + 1))


def grid(since: datetime, span_s: float, partitions: int) -> Grid:
    """Return instants for that many partitions: the more there are, the wider they are apart."""
    most = min(MOST_INSTANTS, max(FEWEST_INSTANTS, MOST_LOOK_UPS // max(1, partitions)))
    widest = _STRIDES[0]
    count = max(1, min(most, int(span_s / SHORTEST_STEP_S)) // widest) * widest
    return Grid(since, span_s / count, count)


def produce_curves(  # noqa: PLR0913  what, where, when, and what to add to
    session: Session,
    ends: Mapping[TopicPartition, LogEnds],
    leaders: Mapping[TopicPartition, int],
    asked: Grid,
    until: float,
    gaps: list[Gap],
) -> tuple[tuple[ProduceCurve, ...], float]:
    """Return the curves of the partitions in `ends`, and the step in seconds between their instants.

    Nothing is asked after `until` (monotonic clock).
    """
    look = _LookUps(session, ends, leaders, asked.instants)
    reached = 0
    for stride in _STRIDES:
        if not look.ask(range(0, asked.steps + 1, stride), until):
            break
        reached = stride
    gaps += look.gaps
    if not reached:
        gaps.append(_gap("the log ends of the past", "there was no time to ask for them", "raise --deadline"))
        return (), asked.step_s
    instants = asked.instants[::reached]
    told = {on: [at[place] for place in sorted(at)] for on, at in look.heard(reached).items()}
    ahead = [on for on, of_on in told.items() if _is_ahead(instants[-1], of_on[-1])]
    gaps += _from_the_future(ahead)
    curves = (
        ProduceCurve(on=on, marks=_marks(instants, of_on, ends[on])) for on, of_on in told.items() if on not in ahead
    )
    return tuple(curves), asked.step_s * reached


class _LookUps:
    """What has been asked and answered: (offset, timestamp) by partition and place of the instant."""

    def __init__(
        self,
        session: Session,
        ends: Iterable[TopicPartition],
        leaders: Mapping[TopicPartition, int],
        instants: Sequence[datetime],
    ) -> None:
        self._session, self._instants = session, instants
        self._known = {(on.topic.raw, int(on.partition)): on for on in ends}
        self._heard: dict[TopicPartition, dict[int, tuple[int, int]]] = {on: {} for on in self._known.values()}
        self._asked: set[int] = set()
        self._refusals: dict[ServerText, int] = {}
        self._unread: list[Gap] = []
        self._by_leader: dict[int, list[TopicPartition]] = {}
        for on in sorted(self._heard):
            self._by_leader.setdefault(leaders[on], []).append(on)

    @property
    def gaps(self) -> list[Gap]:
        """What was refused or broke off."""
        what = "the log ends of the past"
        refusals = [refused(_FACT, what, code, self._session, topic=on) for on, code in self._refusals.items()]
        return [*self._unread, *refusals]

    def heard(self, stride: int) -> dict[TopicPartition, dict[int, tuple[int, int]]]:
        """Return the answers about every instant of a stride, of the partitions that gave all of them."""
        places = range(0, len(self._instants), stride)
        kept = {on: {place: at[place] for place in places if place in at} for on, at in self._heard.items()}
        return {on: at for on, at in kept.items() if len(at) == len(places)}

    def ask(self, places: Sequence[int], until: float) -> bool:
        """Ask for what is still missing at some places; False when time ran out before all was asked."""
        missing = [place for place in places if place not in self._asked]
        most = max((len(of_node) for of_node in self._by_leader.values()), default=1)
        largest = max(map(_size_bytes, self._by_leader.values()), default=1)
        count = max(1, min(_IN_FLIGHT_BYTES // largest, _AT_A_TIME // most))
        for first in range(0, len(missing), count):
            if time.monotonic() >= until:
                return False
            self._wave(missing[first : first + count])
        return True

    def _wave(self, places: Sequence[int]) -> None:
        self._asked.update(places)
        requests = {
            node: [_request(of_node, self._instants[place]) for place in places]
            for node, of_node in self._by_leader.items()
        }
        if not requests:
            return
        for node, answers in exchange(self._session.brokers, requests, self._session.probe).items():
            if isinstance(answers, SourceError):
                self._unread.append(unread(_FACT, f"the log ends of the past on broker {node}", answers))
                del self._by_leader[node]
                continue
            for place, answer in zip(places, answers, strict=True):
                self._hear(place, answer)

    def _hear(self, place: int, answer: Told) -> None:
        for topic, rows in answer:
            for partition, error_code, at_ms, offset in rows:
                on = self._known.get((topic, partition))
                if on is None:
                    continue
                if error_code:
                    self._refusals[on.topic] = error_code
                else:
                    self._heard[on][place] = (offset, at_ms)


def _size_bytes(partitions: Sequence[TopicPartition]) -> int:
    return size_bytes(Counter(on.topic.raw for on in partitions).items())


def _request(partitions: Iterable[TopicPartition], at: datetime) -> Message:
    at_ms = _milliseconds(at)
    topics: dict[str, list[tuple[int, int]]] = {}
    for on in partitions:
        topics.setdefault(on.topic.raw, []).append((on.partition, at_ms))
    return list_offsets(topics)


def _marks(instants: Sequence[datetime], told: Sequence[tuple[int, int]], log: LogEnds) -> tuple[Mark, ...]:
    """Return the curve. Where the first record is newer than an instant, what was before it is not known."""
    found: list[Mark] = []
    end = max([int(log.log_end_offset), *(offset for offset, _ in told)])
    following = [*instants[1:], instants[-1]]
    for at, after, (offset, written_ms) in zip(instants, following, told, strict=True):
        if offset == log.log_start_offset > 0 and written_ms > _milliseconds(at):
            continue
        reached = offset if offset >= 0 else end
        if found and reached < found[-1].offset:  # the log was cut, or timestamps went backwards meanwhile
            continue
        found.append(Mark(at=at, offset=Offset(reached)))
        written_at = _moment(written_ms) if offset >= 0 else None
        if written_at is not None and at + _WORTH_A_MARK * (after - at) < written_at < after:
            found.append(Mark(at=written_at, offset=Offset(offset)))
    if found:  # what lies behind is dated a little ahead of our clock
        found[-1] = Mark(at=instants[-1], offset=Offset(max(end, found[-1].offset)))
    return tuple(_without_repeats(found))


def _without_repeats(marks: Sequence[Mark]) -> Iterator[Mark]:
    """Leave out what lies on a level between its ends."""
    for number, mark in enumerate(marks):
        inside = 0 < number < len(marks) - 1
        if not (inside and marks[number - 1].offset == mark.offset == marks[number + 1].offset):
            yield mark


def _is_ahead(now: datetime, last: tuple[int, int]) -> bool:
    """Whether a record is dated after now: then the log seems to end before it, at every instant."""
    offset, written_ms = last
    return offset != _NONE and written_ms > _milliseconds(now) + _AHEAD_MS


def _from_the_future(ahead: Sequence[TopicPartition]) -> Iterator[Gap]:
    if ahead:
        what = f"the log ends of the past on {len(ahead)} partitions (first: {ahead[0].topic.raw}-{ahead[0].partition})"
        fix = "compare the clocks of the producers, the brokers and this machine"
        yield _gap(what, "records there are dated in the future", fix)


def _milliseconds(at: datetime) -> int:
    """Return the first whole millisecond that is not before the instant: a log end counts what is older than it."""
    return -((_EPOCH - at) // timedelta(milliseconds=1))


def _moment(at_ms: int) -> datetime | None:
    try:
        return _EPOCH + timedelta(milliseconds=at_ms)
    except OverflowError:
        return None


def _gap(what: str, why: str, fix: str) -> Gap:
    return Gap(source="kafka", fact=_FACT, what=ServerText(what), why=ServerText(why), fix=ServerText(fix))
