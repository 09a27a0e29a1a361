"""A key that was asked for by its whole name, and how often keys that were named are used.

Each look-up counts among the server's own hits or misses, and is kept so that it can be subtracted.
Source: redis.io, "PEXPIRETIME", "PTTL", "OBJECT FREQ" (a logarithmic counter, under an LFU policy only).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from redis.exceptions import ResponseError

from diag.errors import SourceError
from diag.snapshots.redis import KeyCount, WatchedKey
from diag.sources.redis.connection import Session, ask, refused
from diag.sources.redis.faults import is_elsewhere
from diag.text import KeyText

GONE, LASTING = -2, -1  # PEXPIRETIME's and PTTL's answers: no such key; one that never expires
_MOST_FREQUENCIES = 20  # look-ups in a frame
_GLOB = re.compile(r"[*?\[\\]")


def is_name(match: str) -> bool:
    """Tell whether a pattern is a key's whole name."""
    return bool(match) and not _GLOB.search(match)


def look_up(sessions: Sequence[Session], name: str, *, modern: bool) -> int | SourceError:
    """Return PEXPIRETIME's (or PTTL's) answer, from the server that has the key's slot.

    An error stands for a refusal, with the line that grants it. Raises a `SourceError` when a conversation breaks.
    """
    raw = name.encode("utf-8", "surrogateescape")
    refusal: SourceError | None = None
    for session in sessions:
        (reply,) = ask(session, [("PEXPIRETIME" if modern else "PTTL", raw)])
        if isinstance(reply, int):
            counted(session, reply != GONE)
            return reply
        if isinstance(reply, ResponseError) and not is_elsewhere(reply):
            refusal = refused(session, reply, "+pexpiretime +pttl %R~*")
    return refusal or GONE


def watched(sessions: Sequence[Session], name: str, now: float, *, modern: bool) -> WatchedKey | SourceError:
    """Look up the asked key at `now` (seconds since 1970 on the server's clock); as `look_up`."""
    told_ms = look_up(sessions, name, modern=modern)
    if isinstance(told_ms, SourceError):
        return told_ms
    left_s = told_ms / 1000 - (now if modern else 0.0)
    return WatchedKey(
        key=KeyText(name),
        exists=told_ms != GONE,
        expires_in_s=None if told_ms in (GONE, LASTING) else max(0.0, round(left_s, 3)),
    )


def frequencies(session: Session, names: Iterable[KeyText]) -> tuple[KeyCount, ...]:
    """Return OBJECT FREQ of the named keys that are here, most used first; nothing where it may not be asked."""
    asked = list(dict.fromkeys(names))[:_MOST_FREQUENCIES]
    replies = ask(session, [("OBJECT", "FREQ", name.as_bytes) for name in asked]) if asked else []
    for reply in replies:
        if not isinstance(reply, ResponseError):
            counted(session, reply is not None)
    found = [
        KeyCount(key=name, count=reply) for name, reply in zip(asked, replies, strict=True) if isinstance(reply, int)
    ]
    return tuple(sorted(found, key=lambda one: -one.count))


def counted(session: Session, found: object) -> None:
    """Keep one look-up of ours as the hit or miss that the server made of it."""
    if found:
        session.own.hits += 1
    else:
        session.own.misses += 1
