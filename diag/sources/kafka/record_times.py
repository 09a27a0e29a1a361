"""When the next unread record was written, with Describe on the topic only: a search by ListOffsets.

The records themselves are not read. Each round asks every leader what the first record not
older than some timestamps is, for all places at once; `diag.analysis.time_search` says which
timestamps, and what one gets. The answer also counts records of transactions that are not
committed, as the log end does (isolation level 0).
Source: Kafka protocol guide, "ListOffsets"; KIP-79 (timestamps), KIP-734 (MAX_TIMESTAMP).
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TypeAlias

from kafka.errors import KafkaError
from kafka.protocol.consumer.offsets import ListOffsetsRequest
from msgspec import Struct

from diag.analysis.time_search import NEWEST, Answer, TimeSearch
from diag.errors import SourceError
from diag.snapshots.base import Gap
from diag.snapshots.kafka import LogEnds, TopicPartition
from diag.sources.kafka.broker import Broker, Message, exchange
from diag.sources.kafka.cluster import Session
from diag.sources.kafka.gaps import refused, unread
from diag.sources.kafka.list_offsets import NEWEST_VERSION, Told, list_offsets, size_bytes
from diag.text import ServerText

Place: TypeAlias = tuple[TopicPartition, int]
"""A partition and an offset on it, from the log start on and before the log end; groups there share one look."""

_TIMESTAMPS_SINCE, _NEWEST_SINCE = 1, 7
_MOST_PLACES = 2000
_MOST_PROBES = 100_000  # half as many again as 2,000 places usually take
_PARTITIONS = 500  # in one request: each costs the broker a look into an index and a part of a batch
_IN_FLIGHT_BYTES = 96 * 1024  # fits the socket buffers of both sides, so that neither waits for the other to read
_SPARE_TIME = 0.2  # of the time allowed: what else the look found must not be lost for this
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NARROW = "narrow it with --group or --topic"

_On: TypeAlias = tuple[str, int]
_Heard: TypeAlias = dict[_On, dict[int, Answer | None]]


def record_times(
    session: Session,
    places: Mapping[Place, LogEnds],
    leaders: Mapping[TopicPartition, int],
    gaps: list[Gap],
    *,
    compacted: Collection[ServerText] = (),
) -> dict[Place, datetime]:
    """Return, for each place that can be dated, the newest timestamp up to the record there.

    At most a second later than that, never earlier, and in the future if the records say so.
    Name the topics known to be `compacted`: only there may records be missing in between, and a
    place is then never dated older than the first record left. What could not be dated is in `gaps`.
    Raises `TooSlow` when the command's deadline passes; it stops well before that.
    """
    asked = sorted(places, key=lambda place: place[1] - places[place].log_end_offset)
    if len(asked) > _MOST_PLACES:
        why = f"at most {_MOST_PLACES} are looked at, the most lagging first"
        gaps.append(_gap(f"{len(asked) - _MOST_PLACES} of {len(asked)} places", why, _NARROW))
    searched = _searches(session, places, asked[:_MOST_PLACES], leaders, compacted)
    _leave_out_old_brokers(session, searched, gaps)
    stopped = _search(session, searched, gaps)
    found: dict[Place, datetime] = {}
    for partition in searched.values():
        for offset, at_ms in partition.search.found.items():
            record_at = _moment(at_ms)
            if record_at is not None:
                found[partition.on, offset] = record_at
    gaps += _left_over(list(searched.values()), stopped)
    return found


class _Partition(Struct, frozen=True, kw_only=True, eq=False):
    """A partition that is searched."""

    on: TopicPartition
    leader: int
    search: TimeSearch


class _Request(Struct, frozen=True, kw_only=True):
    """One request: of each partition in it, the timestamp at place `slot` of its probes."""

    message: Message
    slot: int
    size_bytes: int


def _searches(
    session: Session,
    places: Mapping[Place, LogEnds],
    asked: Sequence[Place],
    leaders: Mapping[TopicPartition, int],
    compacted: Collection[ServerText],
) -> dict[_On, _Partition]:
    """Begin a search for each partition, in the order of their names, so that a request names each topic once."""
    offsets: dict[TopicPartition, list[int]] = {}
    for on, offset in asked:
        if leaders.get(on) in session.brokers:  # else it is in the gaps already
            offsets.setdefault(on, []).append(offset)
    now_ms = int(time.time() * 1000)
    return {
        (on.topic.raw, on.partition): _Partition(
            on=on,
            leader=leaders[on],
            search=TimeSearch(
                on_it,
                log_end_offset=places[on, on_it[0]].log_end_offset,
                now_ms=now_ms,
                tells_newest=_version(session.brokers[leaders[on]]) >= _NEWEST_SINCE,
                compacted=on.topic in compacted,
            ),
        )
        for on, on_it in sorted(offsets.items())
    }


def _version(broker: Broker) -> int:
    """Return the version of ListOffsets that this broker is asked in; 0 also for none."""
    try:
        return int(broker.versions.api_version(ListOffsetsRequest, max_version=NEWEST_VERSION))
    except KafkaError:
        return 0


def _leave_out_old_brokers(session: Session, searched: dict[_On, _Partition], gaps: list[Gap]) -> None:
    for node in sorted({partition.leader for partition in searched.values()}):
        if _version(session.brokers[node]) < _TIMESTAMPS_SINCE:
            _drop(searched, node)
            why = "it speaks no version of ListOffsets that tells timestamps"
            gaps.append(_gap(f"the places on broker {node}", why, "brokers from 0.10.1 on do"))


def _search(session: Session, searched: dict[_On, _Partition], gaps: list[Gap]) -> str:
    """Search until all is found, and return why it ended before that. Takes out what cannot be asked."""
    spent = 0
    while True:
        probes = {on: asked for on, partition in searched.items() if (asked := partition.search.probes())}
        if not probes:
            return ""
        spent += sum(map(len, probes.values()))
        if spent > _MOST_PROBES:
            return f"that would take more than {_MOST_PROBES} look-ups"
        heard = _ask(session, probes, searched, gaps)
        if heard is None:
            return "the deadline came close"
        for on, answers in heard.items():
            searched[on].search.learn(answers)


def _ask(
    session: Session, probes: Mapping[_On, Sequence[int]], searched: dict[_On, _Partition], gaps: list[Gap]
) -> _Heard | None:
    """Ask all probes, as much at a time as fits the sockets; None when time runs short."""
    waiting: dict[int, list[_Request]] = {}
    for node in {searched[on].leader for on in probes}:
        waiting[node] = list(_requests([on for on in probes if searched[on].leader == node], probes))
    heard: _Heard = {on: {} for on in probes}
    errors: dict[_On, int] = {}
    while waiting:
        deadline = session.probe.deadline
        if deadline.remaining_s < _SPARE_TIME * deadline.allowed_s:
            return None
        wave = {node: _next_wave(requests) for node, requests in waiting.items()}
        messages = {node: [request.message for request in sent] for node, sent in wave.items()}
        for node, answers in exchange(session.brokers, messages, session.probe).items():
            if isinstance(answers, SourceError):
                gaps.append(unread("record_times", f"record times on broker {node}", answers))
                _drop(searched, node)
                del waiting[node]
                continue
            for request, answer in zip(wave[node], answers, strict=True):
                _read(answer, request.slot, probes, heard, errors)
        waiting = {node: requests for node, requests in waiting.items() if requests}
    _leave_out_refused(session, errors, searched, gaps)
    return {on: answers for on, answers in heard.items() if on in searched}


def _requests(partitions: Sequence[_On], probes: Mapping[_On, Sequence[int]]) -> Iterator[_Request]:
    """Yield requests that name no partition twice, as Kafka wants it, and not too many."""
    left = iter(partitions)
    while chunk := list(islice(left, _PARTITIONS)):
        for slot in range(max(len(probes[on]) for on in chunk)):
            topics: dict[str, list[tuple[int, int]]] = {}
            for on in chunk:
                if slot < len(probes[on]):
                    topics.setdefault(on[0], []).append((on[1], probes[on][slot]))
            yield _Request(
                message=list_offsets(topics),
                slot=slot,
                size_bytes=size_bytes((name, len(of_topic)) for name, of_topic in topics.items()),
            )


def _next_wave(requests: list[_Request]) -> list[_Request]:
    """Take from the front what may be in flight together, and at least one."""
    wave = [requests.pop(0)]
    size_bytes = wave[0].size_bytes
    while requests and (size_bytes := size_bytes + requests[0].size_bytes) <= _IN_FLIGHT_BYTES:
        wave.append(requests.pop(0))
    return wave


def _read(answer: Told, slot: int, probes: Mapping[_On, Sequence[int]], heard: _Heard, errors: dict[_On, int]) -> None:
    for topic, rows in answer:
        for partition, error_code, at_ms, offset in rows:
            on = (topic, partition)
            if slot >= len(probes.get(on, ())):
                continue  # nobody asked for it
            asked = probes[on][slot]
            if error_code and asked != NEWEST:  # without that one it takes longer, no more
                errors[on] = error_code
            heard[on][asked] = Answer(offset, at_ms) if not error_code and offset >= 0 else None


def _leave_out_refused(
    session: Session, errors: Mapping[_On, int], searched: dict[_On, _Partition], gaps: list[Gap]
) -> None:
    said = set()
    for on, error_code in errors.items():
        partition = searched.pop(on, None)
        if partition is None or (on[0], error_code) in said:
            continue
        said.add((on[0], error_code))
        gaps.append(refused("record_times", "record times", error_code, session, topic=partition.on.topic))


def _drop(searched: dict[_On, _Partition], leader: int) -> None:
    for on in [on for on, partition in searched.items() if partition.leader == leader]:
        del searched[on]


def _left_over(partitions: Sequence[_Partition], stopped: str) -> Iterator[Gap]:
    """Yield what could not be dated although it could be asked."""
    undated = [partition for partition in partitions if partition.search.undated]
    if undated:
        fix = "records of message formats before 0.10 have none"
        yield _gap(_on(undated, len(undated)), "its records have no timestamps", fix)
    unsettled = [partition for partition in partitions if partition.search.unsettled]
    if unsettled:
        count = sum(len(partition.search.unsettled) for partition in unsettled)
        why = stopped or "the timestamps are too far apart to find one to the second"
        yield _gap(_on(unsettled, count), why, f"raise --deadline, or {_NARROW}" if stopped else "")
    wild = [part for part in partitions if any(_moment(at_ms) is None for at_ms in part.search.found.values())]
    if wild:
        yield _gap(_on(wild, len(wild)), "the timestamp of a record is no time", "look at what its producer sets")


def _on(partitions: Sequence[_Partition], count: int) -> str:
    first = partitions[0].on
    return f"{count} places (first: {first.topic.raw}-{first.partition})"


def _moment(at_ms: int) -> datetime | None:
    try:
        return _EPOCH + timedelta(milliseconds=at_ms)
    except OverflowError:
        return None


def _gap(what: str, why: str, fix: str) -> Gap:
    return Gap(
        source="kafka",
        fact="record_times",
        what=ServerText(f"record times of {what}"),
        why=ServerText(why),
        fix=ServerText(fix),
    )
