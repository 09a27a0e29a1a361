"""Lag of consumer groups, in records and in seconds, and how it changes.

lag = max(0, end - max(committed, log start)); lost = max(0, log start - committed); no commit
is unknown, never "everything". Transaction markers at the end are nothing to read; of a share
group the broker's own count is taken. Time lag = now - the newest timestamp up to the record
at the committed offset; 0 when nothing is left to read. Source: Burrow's and KIP-1226's
definitions of lag; rates here are two-point slopes between the first and the last frame.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import lru_cache

from msgspec import Struct

from diag.snapshots.base import Row, Window
from diag.snapshots.kafka import CommittedOffset, ConsumerGroup, KafkaLag, Member, TopicPartition
from diag.text import ServerText


class PartitionRow(Row, frozen=True, kw_only=True, gc=False):
    """One row of `facts.partitions[]`: one group on one partition. None is "not known"."""

    group: ServerText
    topic: ServerText
    partition: int
    committed_offset: int
    log_start_offset: int | None
    log_end_offset: int | None
    lag_records: int | None
    lag_s: float | None
    produce_per_s: float | None
    consume_per_s: float | None
    member: ServerText | None
    host: ServerText | None
    state: str
    lost_records: int = 0
    record_at: datetime | None = None


class TopicLag(Struct, frozen=True, kw_only=True):
    """One group on one topic. Totals are over the partitions where they are known.

    `drain_s` is None when there is one frame only, or the lag does not shrink.
    """

    group: ConsumerGroup
    topic: ServerText
    rows: tuple[PartitionRow, ...]
    lag_records: int
    lag_s: float | None
    worst: PartitionRow
    produce_per_s: float | None
    consume_per_s: float | None

    @property
    def growth_per_s(self) -> float | None:
        """Records by which the lag grows each second (negative: it shrinks); None with one frame."""
        if self.produce_per_s is None or self.consume_per_s is None:
            return None
        return self.produce_per_s - self.consume_per_s

    @property
    def drain_s(self) -> float | None:
        """Seconds until the lag is gone at the rates of the window; None when it is not shrinking."""
        growth = self.growth_per_s
        return self.lag_records / -growth if growth is not None and growth < 0 else None


@lru_cache(maxsize=4)
def partition_rows(window: Window[KafkaLag]) -> tuple[PartitionRow, ...]:
    """Return one row per committed partition of the last frame, most lag first."""
    now = window.last
    known = _Known(window)
    target, span_s, observed_at = now.target.name, window.span_s, now.observed_at
    rows = []
    log_of, reader_of = known.logs.get, known.readers.get
    for commit in now.commits:
        log = log_of(id(commit.on)) or known.log(commit.on)
        reader = reader_of(id(commit.group)) or known.reader(commit.group)
        offset, start = commit.offset, log.start
        lag = _lag(commit, start, log.end)
        owner = reader.owners.get(log.number)
        rows.append(
            PartitionRow(
                target=target,
                group=commit.group,
                topic=log.on.topic,
                partition=log.on.partition,
                committed_offset=offset,
                log_start_offset=start,
                log_end_offset=log.end,
                lag_records=lag,
                lag_s=0.0 if lag == 0 else _time_lag(observed_at, commit.record_at, lag),
                produce_per_s=log.produce_per_s,
                consume_per_s=_slope(offset, reader.offsets_before.get(log.number), span_s) if span_s else None,
                member=owner.client_id if owner else None,
                host=owner.host if owner else None,
                state=reader.state,
                lost_records=start - offset if start is not None and start > offset else 0,
                record_at=commit.record_at,
            )
        )
    rows.sort(key=_most_lag_first)
    return tuple(rows)


class _Log(Struct, frozen=True):
    """What all commits on one partition share; `number` stands for the partition."""

    number: int
    on: TopicPartition
    start: int | None
    end: int | None
    produce_per_s: float | None


class _Reader(Struct, frozen=True):
    """What all commits of one group share, by the numbers of partitions."""

    state: str
    owners: dict[int, Member]
    offsets_before: dict[int, int]


class _Known:
    """Partitions and groups of a window by identity, each looked up once: many commits are on the same few names."""

    def __init__(self, window: Window[KafkaLag]) -> None:
        now, before = window.last, window.first
        self._numbers = _Numbers()
        self._span_s = window.span_s
        self.logs: dict[int, _Log] = {}
        self.readers: dict[int, _Reader] = {}
        self._ends = {self._numbers.of(log.on): log for log in now.log_ends}
        self._ends_before = {self._numbers.of(log.on): log.log_end_offset for log in before.log_ends}
        self._groups = {self._numbers.of(group.group): group for group in now.groups}
        self._commits_before: dict[int, dict[int, int]] = {}
        for one in before.commits if self._span_s else ():
            of_group = self._commits_before.setdefault(self._numbers.of(one.group), {})
            of_group[self._numbers.of(one.on)] = one.offset

    def log(self, on: TopicPartition) -> _Log:
        number = self._numbers.of(on)
        log = self._ends.get(number)
        start, end = (log.log_start_offset, log.log_end_offset) if log else (None, None)
        per_s = _slope(end, self._ends_before.get(number), self._span_s)
        found = self.logs[id(on)] = _Log(number, on, start, end, per_s)
        return found

    def reader(self, name: ServerText) -> _Reader:
        number = self._numbers.of(name)
        group = self._groups.get(number)
        owners = {self._numbers.of(on): member for on, member in _owned(group)} if group else {}
        state = group.state if group else "unknown"
        found = self.readers[id(name)] = _Reader(state, owners, self._commits_before.get(number, {}))
        return found


def _most_lag_first(row: PartitionRow) -> int:
    return -(row.lag_records or 0)


def _lag(commit: CommittedOffset, start: int | None, end: int | None) -> int | None:
    if commit.broker_lag_records is not None:
        return commit.broker_lag_records
    if start is None or end is None:
        return None
    if commit.only_markers:
        return 0
    return max(0, end - max(commit.offset, start))


def _owned(group: ConsumerGroup) -> Iterator[tuple[TopicPartition, Member]]:
    for member in group.members or ():
        for on in member.assigned:
            yield on, member


def _time_lag(now: datetime, record_at: datetime | None, lag_records: int | None) -> float | None:
    """Return the time lag; None when unknown or when the record is from the future."""
    if record_at is None or lag_records is None or record_at > now:
        return None
    return (now - record_at).total_seconds()


def _slope(newest: int | None, oldest: int | None, span_s: float) -> float | None:
    if newest is None or oldest is None or span_s <= 0:
        return None
    return (newest - oldest) / span_s


@lru_cache(maxsize=4)
def topic_lags(window: Window[KafkaLag]) -> tuple[TopicLag, ...]:
    """Return the lag of every group on every topic where it has something left to read, most records first.

    All partitions of such a topic are in it. Where nothing is left, or the ends are unknown, there is none.
    """
    groups = {group.group: group for group in window.last.groups}
    gathered = _gathered(partition_rows(window))
    lags = [
        TopicLag(
            group=groups.get(rows[0].group, ConsumerGroup(group=rows[0].group, state="unknown", members=None)),
            topic=rows[0].topic,
            rows=tuple(rows),
            lag_records=sum(row.lag_records or 0 for row in rows),
            lag_s=max((row.lag_s for row in rows if row.lag_s is not None), default=None),
            worst=max(rows, key=lambda row: (row.lag_s or 0.0, row.lag_records or 0)),
            produce_per_s=_total([row.produce_per_s for row in rows]),
            consume_per_s=_total([row.consume_per_s for row in rows]),
        )
        for rows in gathered
    ]
    return tuple(sorted(lags, key=lambda lag: -lag.lag_records))


def _gathered(rows: Sequence[PartitionRow]) -> list[list[PartitionRow]]:
    """Put the rows of one group and topic together, where any of them has something left to read."""
    number = _Numbers()
    known = number.by_identity.get
    found: dict[tuple[int, int], list[PartitionRow]] = {}
    for row in rows:  # most lag first: what begins a new pair without lag has none anywhere
        group, topic = known(id(row.group)), known(id(row.topic))
        if group is None or topic is None:
            group, topic = number.of(row.group), number.of(row.topic)
        of_pair = found.get((group, topic))
        if of_pair is not None:
            of_pair.append(row)
        elif row.lag_records:
            found[group, topic] = [row]
    return list(found.values())


class _Numbers:
    """Numbers names, equal ones alike. In one look most are the very same object, which saves comparing them.

    The names have to live as long as this does, so that no identity is used twice.
    """

    def __init__(self) -> None:
        self.by_identity: dict[int, int] = {}
        self._by_name: dict[ServerText | TopicPartition, int] = {}

    def of(self, name: ServerText | TopicPartition) -> int:
        number = self.by_identity.get(id(name))
        if number is None:
            number = self.by_identity[id(name)] = self._by_name.setdefault(name, len(self._by_name))
        return number


def _total(parts: list[float | None]) -> float | None:
    known = [part for part in parts if part is not None]
    return sum(known) if len(known) == len(parts) else None
