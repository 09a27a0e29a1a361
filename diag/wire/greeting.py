"""Recognise a protocol by its first bytes, for "this answers like X, not Y"."""

from __future__ import annotations

_TLS_ALERT = b"\x15\x03"
_SIGNS: tuple[tuple[bytes, str], ...] = (
    (b"HTTP/", "an HTTP server"),
    (b"<!DOCTYPE", "an HTTP server"),
    (b"<html", "an HTTP server"),
    (b"-ERR", "Redis"),
    (b"-NOAUTH", "Redis"),
    (b"-DENIED", "Redis"),
    (b"+PONG", "Redis"),
    (b"+OK", "Redis"),
    (b"SSH-", "an SSH server"),
    (b"220 ", "a mail server"),
    (_TLS_ALERT, "a TLS server"),
    (b"\x16\x03", "a TLS server"),
)
_POSTGRES_ERROR = b"E"  # ErrorResponse, then a four-byte length, then the field 'S' (severity)


def looks_like(first_bytes: bytes) -> str:
    """Return the name of what answers so, or an empty string when it is not recognised.

    Source of the PostgreSQL form: manual, "Message Formats", ErrorResponse.
    """
    for sign, name in _SIGNS:
        if first_bytes.startswith(sign):
            return name
    if first_bytes[:1] == _POSTGRES_ERROR and first_bytes[5:6] in (b"S", b"F"):
        return "PostgreSQL"
    return ""
