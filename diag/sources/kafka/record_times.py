"""When the next unread record was written: fetch the batch at the committed offset.

Needs Read on the topic. Bounded: only partitions with lag, the most lagging first, one batch
each. The seam for a method that needs Describe only is `with_record_times`.
Source: Kafka protocol guide, "Fetch"; KIP-74 (why a second request per partition may be needed).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import msgspec
from kafka.errors import KafkaError
from kafka.protocol.consumer.fetch import FetchRequest
from kafka.record import MemoryRecords

from diag.errors import SourceError
from diag.snapshots.base import Gap
from diag.snapshots.kafka import CommittedOffset, LogEnds, TimestampType, TopicPartition
from diag.sources.kafka.broker import Message, exchange
from diag.sources.kafka.cluster import Session
from diag.sources.kafka.gaps import refused, unread
from diag.text import ServerText

_FETCH = 12  # newest version that names topics; from 13 they have ids
_MOST_PLACES = 500
_MOST_ALONE = 16  # of those whose first batch is larger than that: each may answer with a whole message.max.bytes
_PARTITION_BYTES = 64 * 1024
_ANSWER_BYTES = 8 * 1024 * 1024
_LOG_APPEND_TIME = 1

Place = tuple[TopicPartition, int]
"""A partition and an offset on it; groups at the same place share one look."""
Found = dict[Place, tuple[datetime, TimestampType]]


def with_record_times(
    session: Session,
    commits: Sequence[CommittedOffset],
    ends: Mapping[TopicPartition, LogEnds],
    leaders: Mapping[TopicPartition, int],
    gaps: list[Gap],
) -> tuple[tuple[CommittedOffset, ...], TimestampType | None]:
    """Return the commits with the timestamp of the record each would read next, where there is one."""
    places = {commit: _place(commit, ends) for commit in commits}
    lagging: dict[Place, int] = {}
    for place in places.values():
        if place:
            lagging[place] = ends[place[0]].log_end_offset - place[1]
    asked = sorted(lagging, key=lambda place: -lagging[place])
    if len(asked) > _MOST_PLACES:
        what = f"record times of {len(asked) - _MOST_PLACES} of {len(asked)} lagging partitions"
        why = f"at most {_MOST_PLACES} are looked at, the most lagging first"
        gaps.append(_gap(what, why, "narrow it with --group or --topic"))
    found = _fetched(session, asked[:_MOST_PLACES], leaders, gaps)
    dated = tuple(
        msgspec.structs.replace(commit, record_at=found[place][0]) if place in found else commit
        for commit, place in places.items()
    )
    return dated, next((kind for _, kind in found.values()), None)


def _place(commit: CommittedOffset, ends: Mapping[TopicPartition, LogEnds]) -> Place | None:
    log = ends.get(commit.on)
    if log is None:
        return None
    offset = max(commit.offset, log.log_start_offset)
    return (commit.on, offset) if offset < log.log_end_offset else None


def _fetched(session: Session, places: list[Place], leaders: Mapping[TopicPartition, int], gaps: list[Gap]) -> Found:
    """Look at each place; two groups at different places of a partition need two requests."""
    found: Found = {}
    left = list(places)
    for alone in (False, True):
        requests: dict[int, list[Message]] = {}
        asked: dict[int, list[list[Place]]] = {}
        for bundle in _bundles(left, leaders, alone=alone):
            node = leaders[bundle[0][0]]
            asked.setdefault(node, []).append(bundle)
            requests.setdefault(node, []).append(_fetch(bundle))
        for node, answers in exchange(session.brokers, requests, session.probe).items():
            if isinstance(answers, SourceError):
                gaps.append(unread("record_times", f"record times on broker {node}", answers))
                continue
            for bundle, answer in zip(asked[node], answers, strict=True):
                _read(session, bundle, answer, found, gaps)
        left = [place for place in left if place not in found]
        if not left:
            break
        if not alone and len(left) > _MOST_ALONE:
            what = f"record times of {len(left) - _MOST_ALONE} partitions"
            gaps.append(_gap(what, f"their next batch is larger than {_PARTITION_BYTES // 1024} KiB", "narrow it"))
            left = left[:_MOST_ALONE]
    return found


def _bundles(places: list[Place], leaders: Mapping[TopicPartition, int], *, alone: bool) -> list[list[Place]]:
    """Put places of one leader together, each partition once; or each alone, so that its batch must come whole."""
    if alone:
        return [[place] for place in places]
    bundles: dict[tuple[int, int], list[Place]] = {}
    seen: dict[TopicPartition, int] = {}
    for place in places:
        turn = seen[place[0]] = seen.get(place[0], -1) + 1
        bundles.setdefault((leaders[place[0]], turn), []).append(place)
    return list(bundles.values())


def _fetch(bundle: list[Place]) -> Message:
    of_topic = FetchRequest.FetchTopic
    topics: dict[str, list[Message]] = {}
    for on, offset in bundle:
        topics.setdefault(on.topic.raw, []).append(
            of_topic.FetchPartition(partition=on.partition, fetch_offset=offset, partition_max_bytes=_PARTITION_BYTES)
        )
    return FetchRequest(
        replica_id=-1,
        max_wait_ms=0,
        min_bytes=0,
        max_bytes=_ANSWER_BYTES,
        isolation_level=0,
        topics=[of_topic(topic=name, partitions=partitions) for name, partitions in topics.items()],
        max_version=_FETCH,
    )


def _read(session: Session, bundle: list[Place], answer: Message, found: Found, gaps: list[Gap]) -> None:
    offsets = dict(bundle)
    for topic in answer.responses:
        name = ServerText(topic.topic)
        for partition in topic.partitions:
            on = TopicPartition(name, partition.partition_index)
            if partition.error_code:
                gaps.append(
                    refused("record_times", "record times", partition.error_code, session, topic=name, right="Read")
                )
                continue
            dated = _first_at(bytes(partition.records or b""), offsets[on])
            if dated:
                found[on, offsets[on]] = dated


def _first_at(records: bytes, offset: int) -> tuple[datetime, TimestampType] | None:
    """Return the timestamp of the first record at or after `offset`; compaction may have removed that very one."""
    try:
        batches = MemoryRecords(records)
        while batches.has_next():
            batch = batches.next_batch()
            if getattr(batch, "is_control_batch", False):  # a transaction marker is nothing to read
                continue
            for record in batch:
                if record.offset >= offset and record.timestamp is not None and record.timestamp >= 0:
                    appended = record.timestamp_type == _LOG_APPEND_TIME
                    kind = TimestampType.LOG_APPEND_TIME if appended else TimestampType.CREATE_TIME
                    return datetime.fromtimestamp(record.timestamp / 1000, UTC), kind
    except (KafkaError, ValueError, OverflowError, OSError, struct.error, RuntimeError):
        return None
    return None


def _gap(what: str, why: str, fix: str) -> Gap:
    return Gap(source="kafka", fact="record_times", what=ServerText(what), why=ServerText(why), fix=ServerText(fix))
