"""What groups have committed: one OffsetFetch for all groups of a coordinator.

Before brokers 3.0 one for each group, pipelined. The answer for 100,000 offsets is read by a
reader of our own: kafka-python's generic one takes ten times as long (measured beside it in the
tests). Source: KIP-709; Kafka protocol guide, "OffsetFetch" version 8, "Protocol Primitive Types".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import TypeAlias

from kafka.errors import KafkaError
from kafka.protocol.consumer.group import OffsetFetchRequest
from msgspec import Struct

from diag.errors import Rung, SourceError, Unreadable
from diag.snapshots.base import Gap, Scope
from diag.snapshots.kafka import CommittedOffset, ConsumerGroup, Offset
from diag.sources.kafka.assignments import Topics
from diag.sources.kafka.broker import Answers, Message, Packed
from diag.sources.kafka.cluster import Session
from diag.sources.kafka.gaps import refused, unread
from diag.sources.kafka.groups import Coordinated, matches
from diag.sources.kafka.primitives import compact_string, past_tags, varint
from diag.text import ServerText

_BATCHED_SINCE = 8  # OffsetFetch version (brokers from 3.0)
_ALL_TOPICS_SINCE = 2
_NO_OFFSET = -1
_BARE = struct.Struct(">iqibhb")  # a partition whose metadata is empty, and that has no tags
_BEFORE, _AFTER = struct.Struct(">iqi"), struct.Struct(">h")
_EMPTY = (0, 1)  # lengths of a compact string that is null or empty

PartitionRows: TypeAlias = list[tuple[int, int, int]]
"""Partition, committed offset, error code."""


class GroupOffsets(Struct, frozen=True, kw_only=True):
    """The commits of one group, as the broker answered."""

    group_id: str
    error_code: int
    topics: tuple[tuple[str, PartitionRows], ...]


def offset_fetches(session: Session, listed: Coordinated, gaps: list[Gap]) -> dict[int, list[Message]]:
    """Return the requests for the commits of all groups but share groups, which have none."""
    requests: dict[int, list[Message]] = {}
    for node, groups in listed.items():
        asked = _committing(groups)
        try:
            requests[node] = _fetches(session, node, asked) if asked else []
        except KafkaError:
            why = Unreadable("the broker speaks no version of OffsetFetch that diag does", rung=Rung.QUERY)
            gaps.append(unread("commits", f"the commits of the groups of broker {node}", why))
    return requests


def _committing(groups: list[ConsumerGroup]) -> list[ConsumerGroup]:
    return [group for group in groups if group.protocol != "share"]


def _fetches(session: Session, node: int, groups: list[ConsumerGroup]) -> list[Message]:
    """Ask for all groups in one request, or one request each before 3.0; no topics means all of them."""
    newest = session.brokers[node].versions.api_version(OffsetFetchRequest)
    if newest < _BATCHED_SINCE:
        return [
            OffsetFetchRequest(group_id=group.group.raw, topics=None, min_version=_ALL_TOPICS_SINCE) for group in groups
        ]
    of_group = OffsetFetchRequest.OffsetFetchRequestGroup
    asked = [of_group(group_id=group.group.raw, topics=None) for group in groups]
    request = OffsetFetchRequest(groups=asked, min_version=_BATCHED_SINCE, max_version=_BATCHED_SINCE)
    return [Packed(request, read=read_group_offsets)]


def commits_in(  # noqa: PLR0913  where, what of, who, what was said, and the two things to add to
    session: Session,
    scope: Scope,
    listed: Coordinated,
    answers: Answers,
    gaps: list[Gap],
    others: set[str] | None = None,
) -> tuple[CommittedOffset, ...]:
    """Read the commits out of the answers to `offset_fetches`; topics that were not asked for go to `others`."""
    topics = Topics()
    found: list[CommittedOffset] = []
    for node, answered in answers.items():
        if isinstance(answered, SourceError):
            gaps.append(unread("commits", f"the commits of the groups of broker {node}", answered))
            continue
        names = {group.group.raw: group.group for group in listed[node]}
        for place, answer in enumerate(answered):
            groups = answer if isinstance(answer, list) else [_alone(_committing(listed[node])[place], answer)]
            for told in groups:
                if told.group_id in names:
                    found += _commits_of(session, scope, names[told.group_id], told, topics, gaps)
                    if scope.topics and others is not None:
                        others |= {name for name, _ in told.topics if not matches(name, scope.topics)}
    return tuple(found)


def _alone(group: ConsumerGroup, answer: Message) -> GroupOffsets:
    """Shape the answer about a single group (before version 8) like the batched one."""
    topics = (
        (topic.name, [(one.partition_index, one.committed_offset, one.error_code) for one in topic.partitions])
        for topic in answer.topics
    )
    return GroupOffsets(group_id=group.group.raw, error_code=answer.error_code, topics=tuple(topics))


def _commits_of(  # noqa: PLR0913  where, what of, who, what was said, and what to add it to
    session: Session, scope: Scope, group: ServerText, told: GroupOffsets, topics: Topics, gaps: list[Gap]
) -> Iterator[CommittedOffset]:
    if told.error_code:
        gaps.append(refused("commits", "the commits of a group", told.error_code, session, group=group))
        return
    for name, rows in told.topics:
        if not matches(name, scope.topics):
            continue
        partitions = topics[name]
        for partition, offset, error_code in rows:
            if error_code:
                topic = ServerText(name)
                gaps.append(refused("commits", "commits on a topic", error_code, session, topic=topic))
            elif offset != _NO_OFFSET:
                yield CommittedOffset(group=group, on=partitions[partition], offset=Offset(offset))


def read_group_offsets(body: bytes) -> list[GroupOffsets]:
    """Read the body of an OffsetFetch answer of version 8. Raises `struct.error` or `IndexError` if it is cut short.

    Where metadata is empty, as nearly everywhere, the partitions of a topic have one length and
    are unpacked together: a first one that is longer shows at once, so nothing is misread.
    """
    count, at = varint(body, 4)  # after throttle_time_ms
    found = []
    for _ in range(count - 1):
        group_id, at = compact_string(body, at)
        topic_count, at = varint(body, at)
        topics = []
        for _ in range(topic_count - 1):
            name, at = compact_string(body, at)
            rows, at = _partitions(body, at)
            at = past_tags(body, at)
            topics.append((name, rows))
        (error_code,) = _AFTER.unpack_from(body, at)
        at = past_tags(body, at + _AFTER.size)
        found.append(GroupOffsets(group_id=group_id, error_code=error_code, topics=tuple(topics)))
    return found


def _partitions(body: bytes, at: int) -> tuple[PartitionRows, int]:
    count, at = varint(body, at)
    count -= 1
    end = at + count * _BARE.size
    if count > 0 and end <= len(body):
        rows = []
        for partition, offset, _, metadata, error_code, tags in _BARE.iter_unpack(body[at:end]):
            if metadata not in _EMPTY or tags:
                break
            rows.append((partition, offset, error_code))
        else:
            return rows, end
    return _uneven_partitions(body, at, count)


def _uneven_partitions(body: bytes, at: int, count: int) -> tuple[PartitionRows, int]:
    rows = []
    for _ in range(count):
        partition, offset, _ = _BEFORE.unpack_from(body, at)
        metadata, at = varint(body, at + _BEFORE.size)
        at += max(0, metadata - 1)
        (error_code,) = _AFTER.unpack_from(body, at)
        at = past_tags(body, at + _AFTER.size)
        rows.append((partition, offset, error_code))
    return rows, at
