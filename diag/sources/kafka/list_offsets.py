"""The ListOffsets request and its answer, for thousands of partitions at a time.

Both are packed here, as kafka-python takes ten times as long for them (measured beside it in the
tests); header and version are its own. Source: Kafka protocol guide, "ListOffsets" versions 1 to 7;
KIP-79 (timestamps), KIP-98 (isolation), KIP-320 (leader epoch), KIP-482 (compact types), KIP-734 (MAX_TIMESTAMP).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from kafka.protocol.consumer.offsets import ListOffsetsRequest

from diag.sources.kafka.broker import Message, Packed
from diag.sources.kafka.primitives import as_compact_string, as_varint, compact_string, past_tags, varint

NEWEST_VERSION = 7  # newest version diag was tested with
READ_UNCOMMITTED, READ_COMMITTED = 0, 1
_TIMESTAMPS_SINCE = 1
_ISOLATED_SINCE = 2  # before it there are no transactions (0.11)
_LEADER_EPOCH_SINCE = 4
_COMPACT_SINCE = 6
_ANY_EPOCH = -1
_COUNT, _LENGTH = struct.Struct(">i"), struct.Struct(">h")

Row: TypeAlias = tuple[int, int, int, int]
"""Partition, error code, timestamp (ms since 1970, -1: none) and offset (-1: none)."""
Told: TypeAlias = list[tuple[str, list[Row]]]
"""An answer: topics and their rows."""


def list_offsets(topics: Mapping[str, Sequence[tuple[int, int]]], isolation_level: int = READ_UNCOMMITTED) -> Message:
    """Return the request: partitions, none twice, each with its timestamp. The answer is `Told`."""
    request = ListOffsetsRequest(
        replica_id=-1,
        isolation_level=isolation_level,
        topics=[],
        min_version=_ISOLATED_SINCE if isolation_level else _TIMESTAMPS_SINCE,
        max_version=NEWEST_VERSION,
    )
    return Packed(
        request,
        pack=lambda empty: packed(empty, topics, request.API_VERSION),
        read=lambda body: read_list_offsets(body, request.API_VERSION),
    )


def packed(empty: bytes, topics: Mapping[str, Sequence[tuple[int, int]]], version: int) -> bytes:
    """Return the request without topics, as kafka-python encodes it in a frame, with these."""
    if version >= _COMPACT_SINCE:
        row = struct.Struct(">iiqb").pack
        parts = [empty[_COUNT.size : -2], as_varint(len(topics) + 1)]
        for name, wanted in topics.items():
            parts += [as_compact_string(name), as_varint(len(wanted) + 1)]
            parts += [row(partition, _ANY_EPOCH, at_ms, 0) for partition, at_ms in wanted]
            parts.append(b"\0")
        parts.append(b"\0")
    else:
        epoch = (_ANY_EPOCH,) if version >= _LEADER_EPOCH_SINCE else ()
        row = struct.Struct(">iiq" if epoch else ">iq").pack
        parts = [empty[_COUNT.size : -_COUNT.size], _COUNT.pack(len(topics))]
        for name, wanted in topics.items():
            encoded = name.encode("utf-8", "surrogateescape")
            parts += [_LENGTH.pack(len(encoded)), encoded, _COUNT.pack(len(wanted))]
            parts += [row(partition, *epoch, at_ms) for partition, at_ms in wanted]
    body = b"".join(parts)
    return _COUNT.pack(len(body)) + body


def read_list_offsets(body: bytes, version: int) -> Told:
    """Read the body of an answer. Raises `struct.error` or `IndexError` if it is cut short."""
    return _compact(body) if version >= _COMPACT_SINCE else _plain(body, version)


def _compact(body: bytes) -> Told:
    row = struct.Struct(">ihqqib")
    count, at = varint(body, 4)  # after throttle_time_ms
    found: Told = []
    for _ in range(count - 1):
        name, at = compact_string(body, at)
        rows, at = varint(body, at)
        end = at + (rows - 1) * row.size
        if end > len(body):
            message = "the answer is cut short"
            raise IndexError(message)
        taken = list(row.iter_unpack(body[at:end]))
        if any(one[5] for one in taken):  # tagged fields, which nobody sends yet: rows are not all of one length
            taken, end = _uneven(body, at, rows - 1)
        found.append((name, [(partition, code, at_ms, offset) for partition, code, at_ms, offset, _, _ in taken]))
        at = past_tags(body, end)
    return found


def _uneven(body: bytes, at: int, count: int) -> tuple[list[tuple[int, ...]], int]:
    row = struct.Struct(">ihqqi")
    taken = []
    for _ in range(count):
        taken.append((*row.unpack_from(body, at), 0))
        at = past_tags(body, at + row.size)
    return taken, at


def _plain(body: bytes, version: int) -> Told:
    row = struct.Struct(">ihqqi" if version >= _LEADER_EPOCH_SINCE else ">ihqq")
    at = _COUNT.size if version >= _ISOLATED_SINCE else 0  # throttle_time_ms came with it
    (count,) = _COUNT.unpack_from(body, at)
    at += _COUNT.size
    found: Told = []
    for _ in range(count):
        (length,) = _LENGTH.unpack_from(body, at)
        at += _LENGTH.size
        name = body[at : at + length].decode("utf-8", "surrogateescape")
        (rows,) = _COUNT.unpack_from(body, at + length)
        at += length + _COUNT.size
        end = at + rows * row.size
        if end > len(body):
            message = "the answer is cut short"
            raise IndexError(message)
        found.append((name, [one[:4] for one in row.iter_unpack(body[at:end])]))
        at = end
    return found


def size_bytes(topics: Iterable[tuple[str, int]]) -> int:
    """Return about what a request takes, or its answer, for topics with so many partitions: 24 bytes for each."""
    return 64 + sum(len(name) + 8 + 24 * partitions for name, partitions in topics)
