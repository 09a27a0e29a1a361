"""Facts about Kafka. Nouns: Apache Kafka documentation, "Consumer configs", KIP-709, KIP-848."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import NewType

from msgspec import Struct

from diag.snapshots.base import NOTHING, Snapshot
from diag.text import ServerText

Offset = NewType("Offset", int)
Partition = NewType("Partition", int)
BrokerId = NewType("BrokerId", int)


class TopicPartition(Struct, frozen=True, order=True):
    """One partition of one topic."""

    topic: ServerText
    partition: Partition


class Member(Struct, frozen=True, kw_only=True):
    """One member of a consumer group and the partitions it owns now."""

    member_id: ServerText
    client_id: ServerText
    host: ServerText
    assigned: tuple[TopicPartition, ...] = ()


class ConsumerGroup(Struct, frozen=True, kw_only=True):
    """One group as its coordinator describes it.

    `state` is the coordinator's word (Stable, Empty, PreparingRebalance, …), `protocol` is
    "classic" or "consumer" (KIP-848). `members` is None when they could not be read.
    """

    group: ServerText
    state: str
    protocol: str = "classic"
    members: tuple[Member, ...] | None = ()


class CommittedOffset(Struct, frozen=True, kw_only=True):
    """What a group committed for a partition: the next record it would read.

    `record_at` is the timestamp of the first record at or after that offset; None when
    nothing is left to read, or the timestamp could not be read.
    """

    group: ServerText
    on: TopicPartition
    offset: Offset
    record_at: datetime | None = None


class TimestampType(StrEnum):
    """Whose clock a record's timestamp is from (topic configuration message.timestamp.type)."""

    CREATE_TIME = "CreateTime"
    LOG_APPEND_TIME = "LogAppendTime"


class LogEnds(Struct, frozen=True, kw_only=True):
    """The first and the next offset of a partition, read after the commits were."""

    on: TopicPartition
    log_start_offset: Offset
    log_end_offset: Offset


class KafkaLag(Snapshot, frozen=True, kw_only=True):
    """Every group's commits, then the ends of the partitions they are on.

    Commits are read before ends, so a lag computed from them is never negative.
    """

    groups: tuple[ConsumerGroup, ...]
    commits: tuple[CommittedOffset, ...]
    log_ends: tuple[LogEnds, ...]
    timestamp_type: TimestampType | None = None
    cluster_id: ServerText = NOTHING
