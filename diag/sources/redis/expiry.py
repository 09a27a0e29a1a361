"""Take `RedisExpiry`: a random sample of keys and their times to live.

RANDOMKEY is the one draw that stays fair where keys are grouped by slot; a database no larger
than the sample is walked whole with SCAN. Both are paced, and stop with what they have when
the cap is reached. Key names are folded into families here and travel no further.
Source: redis.io, "RANDOMKEY", "SCAN", "PEXPIRETIME"; redis/redis#15411 on long walks.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

import msgspec
from redis.exceptions import ResponseError

from diag.analysis.key_families import families
from diag.snapshots.base import Gap, Scope
from diag.snapshots.redis import KeyFamily, RedisExpiry
from diag.sources.redis.connection import Argument, Reply, Session, exchange, refused, shaped
from diag.sources.redis.replies import acl_line, gap, moment, number, parsed
from diag.text import KeyText, ServerText

_SAMPLE_KEYS = 5_000  # finds a cluster of 2 % of a family with power 0.99, costs under 10 ms of server time
_BATCH_KEYS = 500
_SCAN_COUNT = 100  # blocks the server for about 0.13 ms
_KEYS_PER_S = 20_000
_MOST_SCANS = 2_000  # with MATCH: 200,000 keys looked at, then we stop and say so
_PEXPIRETIME_SINCE = 7
_GONE = -2  # PEXPIRETIME's answer for a key that is not there


def redis_expiry(session: Session, scope: Scope) -> RedisExpiry:
    """Sample one logical database. Raises a `SourceError` when not even DBSIZE or the keys can be read."""
    started = time.monotonic()
    info, size, clock = exchange(session.connection, session.probe, [("INFO",), ("DBSIZE",), ("TIME",)])
    for reply, permission in ((size, "+dbsize"), (clock, "+time")):
        if isinstance(reply, ResponseError):
            raise refused(session, reply, permission)
    told = {} if isinstance(info, ResponseError) else parsed(shaped(info, bytes))
    size, observed_at = shaped(size, int), moment(shaped(clock, tuple[bytes, bytes]))
    walk = bool(scope.match) or size <= _SAMPLE_KEYS
    names, whole = _walked(session, scope.match) if walk else (_drawn(session), True)
    sampled = names if len(names) <= _SAMPLE_KEYS else random.sample(names, _SAMPLE_KEYS)
    expiries = list(_expiries(session, sampled, told, observed_at.timestamp()))
    return RedisExpiry(
        target=msgspec.structs.replace(session.target, version=ServerText(told.get("redis_version", ""))),
        observed_at=observed_at,
        took_s=time.monotonic() - started,
        gaps=tuple(_gaps(session, info, told, whole=whole, match=scope.match, found=len(names))),
        families=_families(expiries),
        sampled_keys=len(expiries),
        total_keys=len(names) if scope.match else size,
        exhaustive=walk and whole and len(sampled) == len(names),
        method=_method(scope, walk=walk, whole=whole and len(sampled) == len(names)),
        database=session.database,
        keyspace_hits=number(told, "keyspace_hits"),
        keyspace_misses=number(told, "keyspace_misses"),
        uptime_s=float(number(told, "uptime_in_seconds")),
        maxmemory_policy=told.get("maxmemory_policy", ""),
    )


def _method(scope: Scope, *, walk: bool, whole: bool) -> str:
    if not walk:
        return "RANDOMKEY, with replacement"
    narrowed = "SCAN MATCH" if scope.match else "SCAN"
    return f"{narrowed}, every key" if whole else f"{narrowed}, a fair draw of what it met"


def _drawn(session: Session) -> list[bytes]:
    names: list[bytes] = []
    for _ in range(_SAMPLE_KEYS // _BATCH_KEYS):
        replies = _paced(session, [("RANDOMKEY",)] * _BATCH_KEYS)
        names += [name for name in shaped(replies, list[bytes | None]) if name is not None]
    return names


def _walked(session: Session, match: str) -> tuple[list[bytes], bool]:
    """Walk the database; return distinct names and whether the walk came round."""
    names: dict[bytes, None] = {}
    cursor: Argument = 0
    narrowed = ("MATCH", match) if match else ()
    for _ in range(_MOST_SCANS):
        (reply,) = _paced(session, [("SCAN", cursor, *narrowed, "COUNT", _SCAN_COUNT)], worth_keys=_SCAN_COUNT)
        cursor, found = shaped(reply, tuple[bytes, list[bytes]])
        names.update(dict.fromkeys(found))
        if cursor in (b"0", 0):
            return list(names), True
    return list(names), False


def _expiries(
    session: Session, names: list[bytes], told: dict[str, str], now: float
) -> Iterator[tuple[bytes, float | None]]:
    """Yield each key with the seconds until it expires (None: never); keys gone meanwhile are left out."""
    major = told.get("redis_version", "").partition(".")[0]
    modern = major.isascii() and major.isdecimal() and int(major) >= _PEXPIRETIME_SINCE
    command = "PEXPIRETIME" if modern else "PTTL"  # an absolute time needs no guess of when the server looked
    for start in range(0, len(names), _BATCH_KEYS):
        batch = names[start : start + _BATCH_KEYS]
        replies = shaped(_paced(session, [(command, name) for name in batch]), list[int])
        session.own.misses += replies.count(_GONE)
        session.own.hits += len(replies) - replies.count(_GONE)
        for name, told_ms in zip(batch, replies, strict=True):
            if told_ms == -1:
                yield name, None
            elif told_ms >= 0:
                yield name, max(0.0, told_ms / 1000 - now if modern else told_ms / 1000)


def _paced(session: Session, commands: list[tuple[Argument, ...]], *, worth_keys: int = 0) -> list[Reply]:
    """Exchange one batch, then rest so that no more than the allowed keys a second are looked at."""
    started = time.monotonic()
    replies = exchange(session.connection, session.probe, commands)
    refusal = next((reply for reply in replies if isinstance(reply, ResponseError)), None)
    if refusal is not None:
        raise refused(session, refusal, f"+{str(commands[0][0]).lower()} %R~*")
    rest_s = (worth_keys or len(commands)) / _KEYS_PER_S - (time.monotonic() - started)
    if rest_s > 0:
        session.probe.wait(rest_s)
    return replies


def _families(expiries: list[tuple[bytes, float | None]]) -> tuple[KeyFamily, ...]:
    texts = {name: ServerText.of_bytes(name).raw for name, _ in expiries}
    patterns = families(texts.values())
    times: dict[str, list[float]] = {}
    lasting: dict[str, int] = {}
    for name, expires_in_s in expiries:
        pattern = patterns[texts[name]]
        lasting.setdefault(pattern, 0)
        if expires_in_s is None:
            lasting[pattern] += 1
        else:
            times.setdefault(pattern, []).append(round(expires_in_s, 3))
    return tuple(
        KeyFamily(
            pattern=KeyText(pattern),
            expires_in_s=tuple(sorted(times.get(pattern, ()))),
            without_expiry=lasting[pattern],
        )
        for pattern in sorted(lasting, key=lambda name: -len(times.get(name, ())) - lasting[name])
    )


def _gaps(  # noqa: PLR0913  what each gap is about
    session: Session, info: object, told: dict[str, str], *, whole: bool, match: str, found: int
) -> Iterator[Gap]:
    if isinstance(info, ResponseError):
        yield gap("counters", "INFO: counters and version", str(info), acl_line(session, "+info"))
    if told.get("cluster_enabled") == "1":
        yield gap("families", "the other nodes of the cluster", "only the dialled node was sampled", "ask each node")
    if match and not found:
        yield gap("families", "keys of the asked pattern", "no key matches it in this database", "check --match")
    if not whole:
        yield gap("families", "keys beyond the cap of the walk", "a walk of SCAN stops there", "narrow --match")
