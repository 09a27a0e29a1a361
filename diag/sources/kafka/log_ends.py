"""Who leads each partition, and where its log begins, ends, and is stable up to.

Two requests to each leader for all its partitions, as one request may not name a partition
twice; a third about lagging ones. Source: Kafka protocol guide, "Metadata", "ListOffsets"; KIP-98.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import TypeAlias

import msgspec
from kafka.protocol.consumer.offsets import OffsetSpec
from kafka.protocol.metadata import MetadataRequest

from diag.errors import SourceError
from diag.snapshots.base import Gap
from diag.snapshots.kafka import BrokerId, Leaderless, LogEnds, Offset, Partition, TopicPartition
from diag.sources.kafka.broker import Message, exchange
from diag.sources.kafka.cluster import Session
from diag.sources.kafka.gaps import refused, unread
from diag.sources.kafka.list_offsets import READ_COMMITTED, READ_UNCOMMITTED, list_offsets
from diag.text import ServerText

_METADATA = 12  # newest version this module was tested with
_NOBODY = -1

Leaders: TypeAlias = dict[TopicPartition, int]
"""The broker that leads each partition and is connected."""


def leaders_of(
    session: Session, topics: AbstractSet[ServerText], gaps: list[Gap]
) -> tuple[Leaders, tuple[Leaderless, ...]]:
    """Return who leads each partition of the topics, and the partitions that nobody leads."""
    leaders: Leaders = {}
    leaderless: list[Leaderless] = []
    if not topics:
        return leaders, ()
    asked = [MetadataRequest.MetadataRequestTopic(name=topic.raw) for topic in sorted(topics)]
    request = MetadataRequest(topics=asked, allow_auto_topic_creation=False, max_version=_METADATA)
    answered = _first_answer(session, request, gaps)
    for topic in answered.topics if answered else ():
        name = ServerText(topic.name)
        if topic.error_code:
            gaps.append(refused("log_ends", "the partitions of a topic", topic.error_code, session, topic=name))
        for partition in topic.partitions:
            on = TopicPartition(name, Partition(partition.partition_index))
            if partition.leader_id in session.brokers:
                leaders[on] = partition.leader_id
            elif partition.leader_id == _NOBODY:
                leaderless.append(_without_leader(on, partition))
                what = f"partition {partition.partition_index} of a topic"
                gaps.append(refused("log_ends", what, partition.error_code, session, topic=name))
    return leaders, tuple(leaderless)


def _first_answer(session: Session, request: Message, gaps: list[Gap]) -> Message | None:
    """Ask one broker after the other until one tells; every one knows who leads what."""
    for node in sorted(session.brokers):
        answer = exchange(session.brokers, {node: [request]}, session.probe)[node]
        if not isinstance(answer, SourceError):
            return answer[0]
        gaps.append(unread("log_ends", f"the leaders of broker {node}", answer))
    return None


def _without_leader(on: TopicPartition, told: Message) -> Leaderless:
    return Leaderless(
        on=on,
        replicas=tuple(map(BrokerId, told.replica_nodes)),
        in_sync=tuple(map(BrokerId, told.isr_nodes)),
    )


def log_ends(session: Session, leaders: Leaders, gaps: list[Gap]) -> dict[TopicPartition, LogEnds]:
    """Ask each leader for first and next offsets."""
    requests = {
        node: [_list_offsets(of_node, spec) for spec in (OffsetSpec.EARLIEST, OffsetSpec.LATEST)]
        for node, of_node in _by_leader(leaders).items()
    }
    earliest, latest = _told(session, requests, leaders, gaps, "ends of the partitions")
    return {
        on: LogEnds(on=on, log_start_offset=Offset(earliest[on]), log_end_offset=Offset(latest[on]))
        for on in leaders
        if on in earliest and on in latest
    }


def with_stable_offsets(
    session: Session,
    ends: dict[TopicPartition, LogEnds],
    lagging: AbstractSet[TopicPartition],
    leaders: Leaders,
    gaps: list[Gap],
) -> dict[TopicPartition, LogEnds]:
    """Return the ends, those of lagging partitions with the last stable offset, which is asked for after the ends."""
    where = _by_leader({on: leaders[on] for on in leaders if on in lagging})
    requests = {node: [_list_offsets(of_node, OffsetSpec.LATEST, READ_COMMITTED)] for node, of_node in where.items()}
    if not requests:
        return ends
    (stable,) = _told(session, requests, leaders, gaps, "last stable offsets")
    changed = dict(ends)
    for on, offset in stable.items():
        before = min(offset, ends[on].log_end_offset)
        changed[on] = msgspec.structs.replace(ends[on], last_stable_offset=Offset(before))
    return changed


def _by_leader(leaders: Mapping[TopicPartition, int]) -> dict[int, list[TopicPartition]]:
    found: dict[int, list[TopicPartition]] = {}
    for on, node in leaders.items():
        found.setdefault(node, []).append(on)
    return found


def _told(
    session: Session, requests: Mapping[int, list[Message]], leaders: Leaders, gaps: list[Gap], what: str
) -> list[dict[TopicPartition, int]]:
    """Exchange one wave; return offsets by the place of the request. What a broker does not say is a gap."""
    found: list[dict[TopicPartition, int]] = [{} for _ in next(iter(requests.values()), [None, None])]
    known = {(on.topic.raw, int(on.partition)): on for on in leaders}  # the same objects, made once
    for node, answers in exchange(session.brokers, requests, session.probe).items():
        if isinstance(answers, SourceError):
            gaps.append(unread("log_ends", f"the {what} of broker {node}", answers))
            continue
        for answer, offsets in zip(answers, found, strict=True):
            for topic, rows in answer:
                for partition, error_code, _, offset in rows:
                    on = known.get((topic, partition))
                    if on is None:
                        continue
                    if error_code:
                        gaps.append(refused("log_ends", what, error_code, session, topic=on.topic))
                    else:
                        offsets[on] = offset
    return found


def _list_offsets(partitions: Iterable[TopicPartition], spec: int, isolation_level: int = READ_UNCOMMITTED) -> Message:
    topics: dict[str, list[tuple[int, int]]] = {}
    for on in partitions:
        topics.setdefault(on.topic.raw, []).append((on.partition, spec))
    return list_offsets(topics, isolation_level)
