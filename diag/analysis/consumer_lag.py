"""Lag of consumer groups, in records and in seconds, and how it changes.

lag = max(0, end - max(committed, log start)); lost = max(0, log start - committed); no commit
is unknown, never "everything". Transaction markers at the end are nothing to read; of a share
group the broker's own count is taken. Time lag = now - the newest timestamp up to the record
at the committed offset; 0 when nothing is left to read. Source: Burrow's and KIP-1226's
definitions of lag; rates here are two-point slopes between the first and the last frame.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

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
    now, before = window.last, window.first
    span_s, target = window.span_s, now.target.name
    ends = {log.on: log for log in now.log_ends}
    several = span_s > 0
    ends_before = {log.on: log.log_end_offset for log in before.log_ends} if several else {}
    commits_before = {(one.group, one.on): one.offset for one in before.commits} if several else {}
    groups = {group.group: group for group in now.groups}
    owners = {(group.group, on): member for group in now.groups for on, member in _owned(group)}
    rows = []
    looked_up: dict[int, Any] = {}  # by identity, as one look has many commits on the same few names
    for commit in now.commits:
        log, group = _known(commit.on, ends, looked_up), _known(commit.group, groups, looked_up)
        start, end = (log.log_start_offset, log.log_end_offset) if log else (None, None)
        lag = _lag(commit, start, end)
        owner = owners.get((commit.group, commit.on)) if owners else None
        rows.append(
            PartitionRow(
                target=target,
                group=commit.group,
                topic=commit.on.topic,
                partition=commit.on.partition,
                committed_offset=commit.offset,
                log_start_offset=start,
                log_end_offset=end,
                lag_records=lag,
                lag_s=0.0 if lag == 0 else _time_lag(now.observed_at, commit.record_at, lag),
                produce_per_s=_slope(end, ends_before.get(commit.on), span_s) if several else None,
                consume_per_s=_slope(commit.offset, commits_before.get((commit.group, commit.on)), span_s)
                if several
                else None,
                member=owner.client_id if owner else None,
                host=owner.host if owner else None,
                state=group.state if group else "unknown",
                lost_records=max(0, start - commit.offset) if start is not None else 0,
                record_at=commit.record_at,
            )
        )
    rows.sort(key=_most_lag_first)
    return tuple(rows)


def _known(name: Any, table: Mapping[Any, Any], looked_up: dict[int, Any]) -> Any:
    """Look a name up, each object once: all of them live as long as the window, so that no identity is used twice."""
    if id(name) not in looked_up:
        looked_up[id(name)] = table.get(name)
    return looked_up[id(name)]


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
    found: dict[tuple[int, int], list[PartitionRow]] = {}
    for row in rows:  # most lag first: what begins a new pair without lag has none anywhere
        key = number.of(row.group), number.of(row.topic)
        if key in found:
            found[key].append(row)
        elif row.lag_records:
            found[key] = [row]
    return list(found.values())


class _Numbers:
    """Numbers texts, equal ones alike. In one look most are the very same object, which saves comparing them."""

    def __init__(self) -> None:
        self._by_identity: dict[int, int] = {}
        self._by_text: dict[ServerText, int] = {}

    def of(self, text: ServerText) -> int:
        number = self._by_identity.get(id(text))
        if number is None:
            number = self._by_identity[id(text)] = self._by_text.setdefault(text, len(self._by_text))
        return number


def _total(parts: list[float | None]) -> float | None:
    known = [part for part in parts if part is not None]
    return sum(known) if len(known) == len(parts) else None
