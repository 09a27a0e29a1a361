"""Facts about Kafka. Nouns: Apache Kafka documentation, "Consumer configs", KIP-709, KIP-848, KIP-932."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import NewType

from msgspec import Struct

from diag.snapshots.base import NOTHING, Scope, Snapshot
from diag.text import ServerText

Offset = NewType("Offset", int)
Partition = NewType("Partition", int)
BrokerId = NewType("BrokerId", int)
ProducerId = NewType("ProducerId", int)


class TopicPartition(Struct, frozen=True, order=True, gc=False):
    """One partition of one topic."""

    topic: ServerText
    partition: Partition


class Member(Struct, frozen=True, kw_only=True):
    """One member of a consumer group and the partitions it owns now.

    `wanted` is its target assignment and `epoch` its member epoch, where the protocol has them (KIP-848).
    """

    member_id: ServerText
    client_id: ServerText
    host: ServerText
    assigned: tuple[TopicPartition, ...] = ()
    wanted: tuple[TopicPartition, ...] | None = None
    epoch: int | None = None


class ConsumerGroup(Struct, frozen=True, kw_only=True):
    """One group as its coordinator describes it.

    `state` is the coordinator's word (Stable, Empty, PreparingRebalance, …), `protocol` is
    "classic", "consumer" (KIP-848) or "share" (KIP-932). `members` is None when they could not be
    read. `epoch` counts the changes of membership or subscription, `assignment_epoch` is the epoch
    the target assignment is for (KIP-848 and KIP-932 only; a classic generation is not told).
    """

    group: ServerText
    state: str
    protocol: str = "classic"
    members: tuple[Member, ...] | None = ()
    epoch: int | None = None
    assignment_epoch: int | None = None
    assignor: ServerText = NOTHING


class CommittedOffset(Struct, frozen=True, kw_only=True, gc=False):
    """What a group committed for a partition: the next record it would read.

    For a share group it is the share-partition start offset. `record_at` is the newest timestamp
    up to the record at that offset (or at the log start, where that is later): with ordered
    timestamps that record's own; None when nothing is left to read, or it could not be read.
    `only_markers` says that nothing but transaction markers lies between it and the log end.
    `broker_lag_records` is the lag as the broker counts it (share groups, KIP-1226).
    """

    group: ServerText
    on: TopicPartition
    offset: Offset
    record_at: datetime | None = None
    only_markers: bool = False
    broker_lag_records: int | None = None


class TimestampType(StrEnum):
    """Whose clock a record's timestamp is from (topic configuration message.timestamp.type)."""

    CREATE_TIME = "CreateTime"
    LOG_APPEND_TIME = "LogAppendTime"


class LogEnds(Struct, frozen=True, kw_only=True, gc=False):
    """The first and the next offset of a partition, read after the commits were.

    `last_stable_offset` is the first offset of an open transaction, or the log end without one;
    None when it could not be read. `unstable_since` is the timestamp of the record there, when
    it is before the log end. `oldest_at` is the timestamp of the first record, asked only where
    a group that reads the topic has no commit on this partition.
    """

    on: TopicPartition
    log_start_offset: Offset
    log_end_offset: Offset
    last_stable_offset: Offset | None = None
    unstable_since: datetime | None = None
    oldest_at: datetime | None = None


class Leaderless(Struct, frozen=True, kw_only=True):
    """A partition that no broker leads, hence nobody can read or write, and where its replicas are."""

    on: TopicPartition
    replicas: tuple[BrokerId, ...]
    in_sync: tuple[BrokerId, ...]


class OpenTransaction(Struct, frozen=True, kw_only=True):
    """A producer's transaction that is open on a partition (DescribeProducers, DescribeTransactions).

    `transactional_id`, `started_at` and `timeout_s` are None when the transaction coordinator would
    not say; a transaction it does not know of hangs (KIP-664).
    """

    on: TopicPartition
    producer_id: ProducerId
    first_offset: Offset
    last_written_at: datetime | None = None
    transactional_id: ServerText | None = None
    started_at: datetime | None = None
    timeout_s: float | None = None


class TopicSettings(Struct, frozen=True, kw_only=True):
    """What decides when records go and what their timestamps mean; None: unlimited, or not told."""

    topic: ServerText
    retention_s: float | None = None
    retention_bytes: int | None = None
    compacted: bool = False
    timestamp_type: TimestampType | None = None


class KafkaLag(Snapshot, frozen=True, kw_only=True):
    """Every group's commits, then the ends of all partitions of the topics they are on.

    Commits are read before ends, so a lag computed from them is never negative. `topics` holds
    the settings of topics on which somebody lags, `transactions` those that hold readers up.
    """

    groups: tuple[ConsumerGroup, ...]
    commits: tuple[CommittedOffset, ...]
    log_ends: tuple[LogEnds, ...]
    leaderless: tuple[Leaderless, ...] = ()
    transactions: tuple[OpenTransaction, ...] = ()
    topics: tuple[TopicSettings, ...] = ()
    cluster_id: ServerText = NOTHING


class Mark(Struct, frozen=True, array_like=True):
    """An offset at an instant."""

    at: datetime
    offset: Offset


class ProduceCurve(Struct, frozen=True, kw_only=True):
    """The log end of a partition at instants of the past, oldest first: the first offset not older than each.

    Source: ListOffsets by timestamp (KIP-79). Times are the records' own (message.timestamp.type).
    """

    on: TopicPartition
    marks: tuple[Mark, ...]


class CommitCurve(Struct, frozen=True, kw_only=True):
    """What a group committed on a partition in the past, oldest first, by the group coordinator's clock.

    Source: the group's partition of `__consumer_offsets` (OffsetCommitValue, commitTimestamp). Of
    commits that repeat an offset only the first and the last are kept. `whole` says that the log
    reaches back to the beginning of the history, so that silence in between means no commit.
    """

    group: ServerText
    on: TopicPartition
    marks: tuple[Mark, ...]
    whole: bool = True


class Rebalance(Struct, frozen=True, kw_only=True):
    """A new generation (classic) or group epoch (KIP-848) of a group, from `__consumer_offsets`.

    `members` are member ids; `poll_interval_s` is the longest rebalance timeout of its members,
    which for the Java client is max.poll.interval.ms; None when the record does not tell.
    """

    group: ServerText
    at: datetime
    generation: int
    members: tuple[ServerText, ...] | None = None
    poll_interval_s: float | None = None


class KafkaHistory(Snapshot, frozen=True, kw_only=True, eq=False):
    """The last hour (or as long as was asked) of the groups in scope, rebuilt with no prior monitoring.

    Compared by identity, like a window.
    """

    since: datetime
    step_s: float
    produced: tuple[ProduceCurve, ...]
    committed: tuple[CommitCurve, ...]
    rebalances: tuple[Rebalance, ...] = ()

    @classmethod
    def taken_in(cls, scope: Scope) -> bool:
        """Only with --history: it reads the log of commits."""
        return scope.history_s > 0

    @property
    def span_s(self) -> float:
        """Seconds from the beginning of the history to now."""
        return (self.observed_at - self.since).total_seconds()
