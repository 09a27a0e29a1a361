"""The protocol's compact types, for the readers of our own. All raise `IndexError` or `struct.error` on a cut body.

Source: Kafka protocol guide, "Protocol Primitive Types" (UNSIGNED_VARINT, COMPACT_STRING, tagged fields); KIP-482.
"""

from __future__ import annotations

_INT32 = 28  # the shift of the last byte that may carry 32 bits in 7s


def varint(body: bytes, at: int, longest: int = _INT32) -> tuple[int, int]:
    """Read an unsigned variable-length integer, its last byte shifted by `longest` at most; return it and its end."""
    value = shift = 0
    while True:
        byte = body[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004  the last byte has no continuation bit
            return value, at
        shift += 7
        if shift > longest:
            message = "a variable-length integer is too long"
            raise IndexError(message)


def compact_string(body: bytes, at: int) -> tuple[str, int]:
    """Read a compact string; a null one is empty."""
    length, at = varint(body, at)
    end = at + max(0, length - 1)
    return body[at:end].decode("utf-8", "surrogateescape"), end


def past_tags(body: bytes, at: int) -> int:
    """Return where the tagged fields at `at` end."""
    count, at = varint(body, at)
    for _ in range(count):
        _, at = varint(body, at)
        length, at = varint(body, at)
        at += length
    return at


def as_varint(value: int) -> bytes:
    """Write an unsigned variable-length integer."""
    written = bytearray()
    while value > 0x7F:  # noqa: PLR2004  seven bits a byte
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)


def as_compact_string(text: str) -> bytes:
    """Write a compact string."""
    encoded = text.encode("utf-8", "surrogateescape")
    return as_varint(len(encoded) + 1) + encoded
