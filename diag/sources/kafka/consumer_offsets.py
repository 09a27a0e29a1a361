"""Decode `__consumer_offsets`: the log in which group coordinators keep commits and memberships.

Keys and values begin with the version of their layout. Commits are versions 0 and 1 of the key,
classic group metadata 2, KIP-848 group epochs 3 and their members 5; all else is skipped, and so
is a layout that is newer than this module. Commits within a transaction count from its end on.
Source: Kafka's group coordinator, OffsetCommitKey/Value, GroupMetadataKey/Value and
ConsumerGroup…Key/Value message definitions; KIP-447, KIP-848, KIP-915.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final, NamedTuple

from diag.sources.kafka.record_batches import MALFORMED, Batch, Record, batches, records

TOPIC: Final = "__consumer_offsets"
_SHORT, _INT, _LONG = struct.Struct(">h"), struct.Struct(">i"), struct.Struct(">q")
_COMMIT_KEYS: Final = (0, 1)
_GROUP_KEY, _EPOCH_KEY, _MEMBER_KEY = 2, 3, 5
_NEWEST: Final = 4  # layout of commit and of group metadata values
_FLEXIBLE: Final = 4  # strings and arrays are compact from then on (KIP-482)
_EPOCH_HAS: Final = 0  # the only layout of epoch and member values
_COMMITTED: Final = 1  # type of a control record
_MOST_MEMBERS: Final = 20_000
_MOST_PENDING: Final = 200_000  # commits of transactions that are still open

GroupPartition = tuple[str, str, int]
"""Group, topic, partition."""


class Generation(NamedTuple):
    """A membership of a group: from then on, its number, and who is in it (None where the log does not tell)."""

    at_ms: int
    number: int
    member_ids: tuple[str, ...] | None
    rebalance_timeout_ms: int | None


def partition_of(group: str, partitions: int) -> int:
    """Return which partition of `__consumer_offsets` a group writes to: its name's String.hashCode, made positive."""
    units = group.encode("utf-16-be", "surrogatepass")
    hashed = 0
    for high, low in zip(units[::2], units[1::2], strict=True):
        hashed = (31 * hashed + (high << 8 | low)) & 0xFFFFFFFF
    signed = hashed - (1 << 32) if hashed >> 31 else hashed
    return 0 if signed == -(1 << 31) else abs(signed) % partitions  # Utils.abs: the lowest number has no positive


class CommitLog:
    """What is known of some groups after reading a part of the log, in the order of the log.

    `commits` has (commit time in ms, offset) by group and partition, `generations` the
    memberships by group. `malformed` counts batches and records that could not be read.
    `whole_from_ms` is the time of the newest place where compaction has removed something.
    """

    def __init__(self, groups: Iterable[str]) -> None:
        """Care for these groups only."""
        self._wanted = {group.encode("utf-8", "surrogateescape"): group for group in groups}
        self.commits: dict[GroupPartition, list[tuple[int, int]]] = {}
        self.generations: dict[str, list[Generation]] = {group: [] for group in self._wanted.values()}
        self.malformed = 0
        self.whole_from_ms: int | None = None
        self._timeouts_ms: dict[str, dict[bytes, int]] = {}
        self._pending: dict[int, list[Record]] = {}
        self._pending_count = 0

    def read(self, fetched: bytes, expected: int) -> int:
        """Take in what one Fetch returned of one partition; return the offset to go on from."""
        for batch in batches(fetched):
            if batch is None:
                self.malformed += 1
                continue
            if batch.next_offset <= expected:
                continue  # Fetch returns whole batches: this one ends before what was asked for
            if batch.base_offset > expected or batch.record_count < batch.next_offset - batch.base_offset:
                self.whole_from_ms = batch.newest_ms
            expected = batch.next_offset
            try:
                self._take(batch)
            except MALFORMED:
                self.malformed += 1
        return expected

    def _take(self, batch: Batch) -> None:
        for record in records(batch):
            if batch.is_control:
                self._end(batch.producer_id, record)
            elif len(record.key) > 2 * _SHORT.size and self._is_wanted(record.key):
                if batch.is_transactional and self._pending_count < _MOST_PENDING:
                    self._pending.setdefault(batch.producer_id, []).append(record)
                    self._pending_count += 1
                else:
                    self._keep(record)

    def _is_wanted(self, key: bytes) -> bool:
        (length,) = _SHORT.unpack_from(key, _SHORT.size)
        return key[2 * _SHORT.size : 2 * _SHORT.size + length] in self._wanted

    def _end(self, producer_id: int, marker: Record) -> None:
        """End a transaction: what it committed counts now, or never did."""
        pending = self._pending.pop(producer_id, [])
        self._pending_count -= len(pending)
        if _SHORT.unpack_from(marker.key, _SHORT.size) == (_COMMITTED,):
            for record in pending:
                self._keep(record)

    def _keep(self, record: Record) -> None:
        try:
            key = _Reader(record.key)
            version, group = key.short(), self._wanted[key.bytes_()]
            if record.value is None:
                self._forget(version, group, key)
                return
            value = _Reader(record.value)
            if version in _COMMIT_KEYS:
                place = (group, key.text(), key.int_())
                self._commit(place, value)
            elif version == _GROUP_KEY:
                self._classic(group, record.at_ms, value)
            elif version == _EPOCH_KEY and value.short() == _EPOCH_HAS:
                timeouts = self._timeouts_ms.get(group, {}).values()
                self._renew(group, Generation(record.at_ms, value.int_(), None, max(timeouts, default=None)))
            elif version == _MEMBER_KEY and value.short() == _EPOCH_HAS:
                self._timeouts_ms.setdefault(group, {})[key.bytes_()] = _member_timeout_ms(value)
        except MALFORMED:
            self.malformed += 1

    def _forget(self, version: int, group: str, key: _Reader) -> None:
        if version == _MEMBER_KEY:
            self._timeouts_ms.get(group, {}).pop(key.bytes_(), None)

    def _commit(self, place: GroupPartition, value: _Reader) -> None:
        version = value.short()
        if not 0 <= version <= _NEWEST:
            return
        value.flexible = version >= _FLEXIBLE
        offset = value.long()
        if version >= 3:  # noqa: PLR2004  the leader epoch came with layout 3
            value.int_()
        value.bytes_()
        self.commits.setdefault(place, []).append((value.long(), offset))

    def _classic(self, group: str, at_ms: int, value: _Reader) -> None:
        version = value.short()
        if not 0 <= version <= _NEWEST:
            return
        value.flexible = version >= _FLEXIBLE
        value.bytes_()  # protocol type
        number = value.int_()
        value.bytes_()  # protocol
        value.bytes_()  # leader
        if version >= 2:  # noqa: PLR2004  the time of the state came with layout 2
            value.long()
        count = value.length(_INT)
        if count > _MOST_MEMBERS:
            message = "no group has so many members"
            raise ValueError(message)
        members = [_classic_member(value, version) for _ in range(count)]
        timeouts = [timeout_ms for _, timeout_ms in members if timeout_ms is not None]
        member_ids = tuple(member_id for member_id, _ in members)
        self._renew(group, Generation(at_ms, number, member_ids, max(timeouts, default=None)))

    def _renew(self, group: str, generation: Generation) -> None:
        """Keep a membership, unless it only repeats the one before: a static member came back, say."""
        known = self.generations[group]
        if not known or known[-1].number != generation.number:
            known.append(generation)


def _classic_member(value: _Reader, version: int) -> tuple[str, int | None]:
    member_id = value.text()
    if version >= 3:  # noqa: PLR2004  group.instance.id came with layout 3
        value.bytes_()
    value.bytes_()  # client id
    value.bytes_()  # host
    timeout_ms = value.int_() if version >= 1 else None
    value.int_()  # session timeout
    for _ in range(2):  # subscription and assignment
        value.skip(value.length(_INT))
    value.past_tags()
    return member_id, timeout_ms


def _member_timeout_ms(value: _Reader) -> int:
    value.flexible = True
    for _ in range(4):  # instance, rack, client id, host
        value.bytes_()
    for _ in range(value.length(_INT)):  # topics
        value.bytes_()
    value.bytes_()  # regular expression
    return value.int_()


class _Reader:
    """Reads primitive types one after the other. Raises one of `MALFORMED` behind the end."""

    def __init__(self, body: bytes) -> None:
        self._body, self._at = body, 0
        self.flexible = False

    def _unpack(self, form: struct.Struct) -> int:
        (value,) = form.unpack_from(self._body, self._at)
        self._at += form.size
        return int(value)

    def short(self) -> int:
        return self._unpack(_SHORT)

    def int_(self) -> int:
        return self._unpack(_INT)

    def long(self) -> int:
        return self._unpack(_LONG)

    def length(self, form: struct.Struct) -> int:
        """Read a length; null has none."""
        return max(0, self._varint() - 1 if self.flexible else self._unpack(form))

    def bytes_(self) -> bytes:
        """Read a string as its bytes; null is empty."""
        length = self.length(_SHORT)
        begin = self._at
        self.skip(length)
        return self._body[begin : self._at]

    def text(self) -> str:
        return self.bytes_().decode("utf-8", "surrogateescape")

    def skip(self, count: int) -> None:
        self._at += count
        if self._at > len(self._body):
            message = "a field is longer than its record"
            raise ValueError(message)

    def past_tags(self) -> None:
        for _ in range(self._varint() if self.flexible else 0):
            self._varint()
            self.skip(self._varint())

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._body[self._at]
            self._at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:  # noqa: PLR2004  the last byte has no continuation bit
                return value
            shift += 7
            if shift > 28:  # noqa: PLR2004  32 bits in sevens
                message = "a length is too long"
                raise ValueError(message)
