"""Which rung a conversation is on after so many bytes of answers, read from the protocols themselves.

Source: PostgreSQL manual, "Message Flow" and "Message Formats"; redis.io, "Redis serialization
protocol specification"; Kafka protocol guide, "Network".
"""

from __future__ import annotations

import struct

_TLS_ANSWER_BYTES = 1  # 'N': the server has no TLS
_READY_FOR_QUERY, _AUTHENTICATION = b"Z", b"R"
_OK_BYTES = len(b"+OK\r\n")  # CLIENT SETNAME


def rung_after(kind: str, answers: bytes, count: int) -> str:
    """Return the rung that waits for the byte at offset `count` of a whole conversation's `answers`."""
    return next((rung for ends_at, rung in rungs(kind, answers) if count < ends_at), "query")


def rungs(kind: str, answers: bytes) -> list[tuple[int, str]]:
    """Return after how many bytes of answers each rung below `query` ends, lowest first."""
    match kind:
        case "postgres":
            authenticated = _end_of(_AUTHENTICATION, answers)
            return [
                (_TLS_ANSWER_BYTES, "tls"),
                (authenticated, "auth"),
                (_end_of(_READY_FOR_QUERY, answers), "authorise"),
            ]
        case "redis":
            return [(_OK_BYTES, "auth")]
        case _:
            (length_bytes,) = struct.unpack_from(">i", answers)  # the answer to ApiVersions
            return [(4 + length_bytes, "auth")]


def _end_of(message_type: bytes, answers: bytes) -> int:
    """Return the offset after the first message of a type."""
    at = _TLS_ANSWER_BYTES
    while True:
        found, length_bytes = struct.unpack_from(">ci", answers, at)
        at += 1 + length_bytes
        if found == message_type:
            return at
