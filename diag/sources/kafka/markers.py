"""Where nothing is left to read but transaction markers: the endless lag of one on an idle topic.

A commit or abort marker takes an offset of its own, and no reader is ever given it, so a group
that has read everything stays one record (or a few) short of the log end. The batch headers of
these last offsets tell. Needs Read on the topic; without it such a lag is taken for what it looks like.
Source: KIP-98, "Control Messages"; Kafka documentation, "Message Format", "Record Batch".
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

from kafka.protocol.consumer.fetch import FetchRequest

from diag.errors import Rung, SourceError
from diag.snapshots.base import Gap
from diag.snapshots.kafka import LogEnds, TopicPartition
from diag.sources.kafka.broker import Message, exchange
from diag.sources.kafka.cluster import Session
from diag.sources.kafka.gaps import refused, unread
from diag.text import ServerText

Place: TypeAlias = tuple[TopicPartition, int]
"""A partition and an offset on it, from the log start on."""

_FACT = "markers"  # no check needs it: without it a lag of one stays a lag of one
_FETCH = 12  # newest version that names topics; from 13 they have ids
_MOST_RECORDS = 16  # an idle topic ends in a marker for each producer that wrote to it last; more is a real lag
_MOST_PLACES = 200
_PARTITION_BYTES = 16 * 1024  # a marker's batch has 78; a batch of records is cut off, its header is enough
_HEADER: Final = struct.Struct(">qiiBIhiqqqhii")  # of a batch in message format 2
_BEHIND_LENGTH = 12  # the length counts from behind itself: base offset (8) and length (4) come before it
_FORMAT = 2
_CONTROL = 0x20


class _Batch(NamedTuple):
    """The offsets of one batch, both inclusive, and whether a reader is given anything of it."""

    first: int
    last: int
    is_read: bool


def only_markers(
    session: Session, places: Mapping[Place, LogEnds], leaders: Mapping[TopicPartition, int], gaps: list[Gap]
) -> frozenset[Place]:
    """Return the places behind which nothing but transaction markers lies; what cannot be proven is left out."""
    short = sorted(
        (place for place in places if place[0] in leaders and 0 < _left(place, places) <= _MOST_RECORDS),
        key=lambda place: (_left(place, places), place),
    )[:_MOST_PLACES]
    first: dict[TopicPartition, int] = {}
    for on, offset in short:
        first[on] = min(offset, first.get(on, offset))
    if not first:
        return frozenset()
    heads = _heads(session, first, leaders, gaps)
    return frozenset(
        (on, offset)
        for on, offset in short
        if _is_all_markers(heads.get(on, ()), offset, places[on, offset].log_end_offset)
    )


def _left(place: Place, places: Mapping[Place, LogEnds]) -> int:
    return places[place].log_end_offset - place[1]


def _is_all_markers(batches: Sequence[_Batch], offset: int, log_end_offset: int) -> bool:
    """Whether the batches reach to the log end and none that ends at `offset` or later is read by anybody."""
    behind = [batch for batch in batches if offset <= batch.last and batch.first < log_end_offset]
    reached = max((batch.last for batch in behind), default=offset - 1)
    return reached >= log_end_offset - 1 and not any(batch.is_read for batch in behind)


def _heads(
    session: Session, first: Mapping[TopicPartition, int], leaders: Mapping[TopicPartition, int], gaps: list[Gap]
) -> dict[TopicPartition, tuple[_Batch, ...]]:
    """Fetch a little of each partition; return the batches whose headers came whole."""
    requests = {
        node: [_fetch((on, offset) for on, offset in first.items() if leaders[on] == node)]
        for node in sorted({leaders[on] for on in first})
    }
    known = {(on.topic.raw, int(on.partition)): on for on in first}
    found: dict[TopicPartition, tuple[_Batch, ...]] = {}
    errors: dict[ServerText, int] = {}
    for node, answers in exchange(session.brokers, requests, session.probe).items():
        if isinstance(answers, SourceError):
            gaps.append(unread(_FACT, f"the transaction markers on broker {node}", answers))
            continue
        for topic in answers[0].responses:
            for partition in topic.partitions:
                on = known.get((topic.topic, partition.partition_index))
                if on is not None and partition.error_code:
                    errors[on.topic] = partition.error_code
                elif on is not None:
                    found[on] = tuple(_batches(bytes(partition.records or b"")))
    gaps += _said_once(errors, session)
    return found


def _fetch(places: Iterable[Place]) -> Message:
    of_topic = FetchRequest.FetchTopic
    topics: dict[str, list[Message]] = {}
    for on, offset in places:
        topics.setdefault(on.topic.raw, []).append(
            of_topic.FetchPartition(partition=on.partition, fetch_offset=offset, partition_max_bytes=_PARTITION_BYTES)
        )
    return FetchRequest(
        replica_id=-1,
        max_wait_ms=0,
        min_bytes=0,
        max_bytes=_MOST_PLACES * _PARTITION_BYTES,
        isolation_level=0,
        topics=[of_topic(topic=name, partitions=partitions) for name, partitions in topics.items()],
        max_version=_FETCH,
    )


def _batches(records: bytes) -> Iterator[_Batch]:
    """Yield the batches by their headers; an older message format has no markers, and ends it."""
    at = 0
    while at + _HEADER.size <= len(records):
        base, length, _, format_, _, attributes, span, *_, count = _HEADER.unpack_from(records, at)
        if format_ != _FORMAT or length <= 0 or span < 0:
            return
        # Compaction leaves a batch without records behind, to remember its producer by.
        yield _Batch(first=base, last=base + span, is_read=not attributes & _CONTROL and count != 0)
        at += _BEHIND_LENGTH + length


def _said_once(errors: Mapping[ServerText, int], session: Session) -> Iterator[Gap]:
    """Yield one gap, however many topics were refused: it costs a remark on lags of a few records, no more."""
    if not errors:
        return
    topic, error_code = min(errors.items())
    gap = refused(_FACT, "whether only transaction markers are left", error_code, session, topic=topic, right="Read")
    if len(errors) == 1 or gap.rung is not Rung.AUTHORISE:
        yield gap
        return
    what = f"whether only transaction markers are left, on {len(errors)} topics (the first: {topic.raw})"
    yield Gap(source=gap.source, fact=gap.fact, what=ServerText(what), why=gap.why, fix=gap.fix, rung=gap.rung)
