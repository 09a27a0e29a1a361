"""Read records out of what Fetch returns, without trusting it: message format 2 only, no checksums.

A batch that is cut short at the end is left for the next fetch; one that makes no sense is skipped
and counted. Only the key of a record is read at first: in a log of many writers most are not wanted.
Source: Kafka documentation, "Message Format", "Record Batch", "Record".
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple, TypeAlias

from kafka import codec as codecs

from diag.sources.kafka import primitives

_HEADER: Final = struct.Struct(">qiiBIhiqqqhii")
_BEHIND_LENGTH: Final = 12  # the length counts from behind itself: base offset (8) and length (4) come before it
_FORMAT: Final = 2
_CODEC, _LOG_APPEND_TIME, _TRANSACTIONAL, _CONTROL = 0x07, 0x08, 0x10, 0x20
_MOST_BYTES: Final = 16 * 1024 * 1024  # of one batch, unpacked: a small one may claim to be a huge one
_LONGEST: Final = 63  # a timestamp's difference has 64 bits

Unpack: TypeAlias = Callable[[bytes], Any]
_UNPACK: Final[dict[int, Unpack]] = {
    0: lambda body: body,
    1: lambda body: zlib.decompressobj(31).decompress(body, _MOST_BYTES),
    2: codecs.snappy_decode,  # packs 1 to 21 at most
    3: lambda body: codecs.lz4.LZ4FrameDecompressor().decompress(body, max_length=_MOST_BYTES),
    4: lambda body: codecs.zstd.ZstdDecompressor().stream_reader(body, read_across_frames=True).read(_MOST_BYTES),
}
MALFORMED: Final = (
    *(IndexError, ValueError, struct.error, zlib.error, OSError, EOFError, RuntimeError, MemoryError),
    *(codecs.zstd.ZstdError, codecs.snappy.UncompressError),
)
"""What reading a batch can raise when its bytes are not what they claim to be."""


class Batch(NamedTuple):
    """One batch; its records are still packed. `next_offset` is the one behind it."""

    base_offset: int
    next_offset: int
    attributes: int
    first_ms: int
    newest_ms: int
    producer_id: int
    record_count: int
    body: bytes

    @property
    def is_transactional(self) -> bool:
        """Whether its records count only once their transaction is committed."""
        return bool(self.attributes & _TRANSACTIONAL)

    @property
    def is_control(self) -> bool:
        """Whether it is the end of a transaction and not records."""
        return bool(self.attributes & _CONTROL)


class Record(NamedTuple):
    """One record. `value` is None for a tombstone."""

    at_ms: int
    key: bytes
    value: bytes | None


def batches(fetched: bytes) -> Iterator[Batch | None]:
    """Yield the whole batches, in order; None stands for one of an older format, whose records are not read."""
    at = 0
    while at + _HEADER.size <= len(fetched):
        base, length, _, format_, _, attributes, span, first_ms, newest_ms, producer_id, _, _, count = (
            _HEADER.unpack_from(fetched, at)
        )
        end = at + _BEHIND_LENGTH + length
        if length < _HEADER.size - _BEHIND_LENGTH or end > len(fetched):
            return
        if format_ != _FORMAT or span < 0:
            yield None
        else:
            body = fetched[at + _HEADER.size : end]
            yield Batch(base, base + span + 1, attributes, first_ms, newest_ms, producer_id, count, body)
        at = end


def records(batch: Batch) -> Iterator[Record]:
    """Yield the records that have a key. Raises one of `MALFORMED` where the bytes are not what they claim to be."""
    body = _UNPACK.get(batch.attributes & _CODEC, _unknown)(batch.body)
    appended = batch.attributes & _LOG_APPEND_TIME
    at = 0
    for _ in range(batch.record_count):
        length, at = varint(body, at)
        end = at + length
        if length < 0 or end > len(body):
            message = "a record is longer than its batch"
            raise ValueError(message)
        delta_ms, at = varint(body, at + 1)  # behind its attributes
        _, at = varint(body, at)
        key_bytes, at = varint(body, at)
        if key_bytes >= 0:
            key = body[at : at + key_bytes]
            value_bytes, at = varint(body, at + key_bytes)
            value = body[at : at + value_bytes] if value_bytes >= 0 else None
            yield Record(batch.newest_ms if appended else batch.first_ms + delta_ms, key, value)
        at = end


def varint(body: bytes, at: int) -> tuple[int, int]:
    """Read a zigzag integer of variable length; return it and where it ends. Raises `IndexError`."""
    value, at = primitives.varint(body, at, _LONGEST)
    return (value >> 1) ^ -(value & 1), at


def _unknown(_body: bytes) -> bytes:
    message = "no codec has that number"
    raise ValueError(message)
