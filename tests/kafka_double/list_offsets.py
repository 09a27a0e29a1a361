"""ListOffsets in bulk: the one request whose body differs from look to look, read and answered by hand.

With kafka-python's classes 10,000 partitions cost the double 0.3 s, which a measurement would
take for the network. Flexible versions only (6 to 10); others go through the classes.
Source: Kafka protocol guide, "ListOffsets API"; KIP-482 for compact arrays and tags.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from kafka.protocol.consumer.offsets import OffsetSpec

if TYPE_CHECKING:
    from collections.abc import Callable

    from kafka_double.world import Place

VERSIONS = range(6, 11)
_ASKED = struct.Struct(">iiqb")  # partition, leader epoch, timestamp, no tags
_TOLD = struct.Struct(">ihqqib")  # partition, error, timestamp, offset, leader epoch, no tags
_REPLICA_AND_ISOLATION_BYTES = 5
_NO_THROTTLE = b"\0\0\0\0"
Offset = tuple[int, int, int]
"""Error code, timestamp, offset."""


def answered(body: bytes, find: Callable[[Place, int], Offset], known: dict[tuple[Place, int], bytes]) -> bytes:
    """Return the answer's body; `known` keeps the ends of each partition."""
    topics, at = _unsigned(body, _REPLICA_AND_ISOLATION_BYTES)
    told = [_NO_THROTTLE, _varint(topics)]
    for _ in range(topics - 1):
        start = at
        name_bytes, at = _unsigned(body, at)
        name, at = body[at : at + name_bytes - 1].decode(), at + name_bytes - 1
        partitions, after = _unsigned(body, at)
        told.append(body[start:after])  # the name and how many partitions are written alike
        at = after
        for _ in range(partitions - 1):
            number, _, wanted, _ = _ASKED.unpack_from(body, at)
            at += _ASKED.size
            on = name, number
            found = known.get((on, wanted))
            if found is None:
                error, timestamp, offset = find(on, wanted)
                found = _TOLD.pack(number, error, timestamp, offset, 0, 0)
                if wanted < 0:
                    known[on, wanted] = found
            told.append(found)
        at += 1  # the topic's tags
        told.append(b"\0")
    told.append(b"\0")
    return b"".join(told)


def about(body: bytes) -> str:
    """Return what is asked for, by the first partition of a request."""
    topics, at = _unsigned(body, _REPLICA_AND_ISOLATION_BYTES)
    if topics <= 1:  # compact arrays count one more
        return "nothing"
    name_bytes, at = _unsigned(body, at)
    _, at = _unsigned(body, at + name_bytes - 1)
    wanted = _ASKED.unpack_from(body, at)[2]
    committed = " committed" if body[_REPLICA_AND_ISOLATION_BYTES - 1] else ""
    return named(wanted) + committed


def named(wanted: int) -> str:
    """Return what a timestamp stands for."""
    return OffsetSpec(wanted).name.lower() if wanted < 0 else "at a time"


def _unsigned(body: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = body[at]
        value, shift, at = value | (byte & 0x7F) << shift, shift + 7, at + 1
        if byte < 0x80:
            return value, at


def _varint(value: int) -> bytes:
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)
