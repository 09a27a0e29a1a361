"""Take `RedisExpiry`: a fair sample of keys and their times to live, paced by what it does to the server.

A database no larger than the sample is walked whole; a larger one is sampled in blocks of SCAN at spread places,
a cluster with RANDOMKEY on every primary by its share of the keys. A pattern is looked for in the same ways;
a whole name is looked up. Key names are folded into families here and travel no further.
Source: redis.io, "SCAN", "RANDOMKEY", "PEXPIRETIME"; redis/redis#15411 on long walks.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence

import msgspec
from redis.exceptions import ResponseError

from diag.analysis.key_families import families
from diag.errors import SourceError
from diag.snapshots.base import Gap, Scope
from diag.snapshots.redis import KeyFamily, RedisExpiry
from diag.sources.redis.connection import Session, ask, refused, shaped
from diag.sources.redis.named import LASTING
from diag.sources.redis.parts import FEWEST_KEYS, GRANT, Part, method_of, sampled
from diag.sources.redis.replies import acl_line, gap, loading, moment, number, parsed, version_of
from diag.text import KeyText, ServerText

_UNEVEN = 1.1  # parts that stand for more keys a draw than others by less are left as they are


def redis_expiry(session: Session, scope: Scope) -> RedisExpiry:
    """Sample one logical database. Raises a `SourceError` when neither INFO nor DBSIZE can be read."""
    started = time.monotonic()
    info, size, clock = ask(session, [("INFO",), ("DBSIZE",), ("TIME",)])
    own_hits, own_misses = session.own.hits, session.own.misses
    for reply, permission in ((size, "+dbsize"), (clock, "+time")):
        if isinstance(reply, ResponseError) and (isinstance(info, ResponseError) or reply is clock):
            raise refused(session, reply, permission)
    told = {} if isinstance(info, ResponseError) else parsed(shaped(info, bytes))
    observed_at = moment(shaped(clock, tuple[bytes, bytes]))
    gaps = [gap("counters", "INFO: counters and version", str(info), acl_line(session, "+info"))] if not told else []
    hindrance = _hindrance(session, told, size)
    if hindrance:
        gaps.append(gap("families", "when keys expire", hindrance.message, hindrance.fix))
    parts = [] if hindrance else sampled(session, told, size if isinstance(size, int) else None, scope, gaps)
    gaps += _gaps(parts, scope)
    expiries = _merged(parts, observed_at.timestamp())
    return RedisExpiry(
        target=msgspec.structs.replace(session.target, version=version_of(told)),
        observed_at=observed_at,
        took_s=time.monotonic() - started,
        gaps=tuple(gaps),
        families=_families(expiries),
        sampled_keys=len(expiries),
        total_keys=sum(part.living for part in parts),
        exhaustive=bool(parts) and all(part.sample.whole and part.sample.stride == 1 for part in parts),
        method=method_of(parts),
        database=session.database,
        keyspace_hits=max(0, number(told, "keyspace_hits") - own_hits),
        keyspace_misses=max(0, number(told, "keyspace_misses") - own_misses),
        uptime_s=float(number(told, "uptime_in_seconds")),
        maxmemory_policy=told.get("maxmemory_policy", ""),
    )


def _hindrance(session: Session, told: dict[str, str], size: object) -> SourceError | None:
    """Return why no key can be read now, for all that the server tells of itself."""
    if told.get("loading") == "1":
        return loading(told)
    if isinstance(size, ResponseError) and "NOPERM" not in str(size) and "unknown command" not in str(size):
        return refused(session, size, "+dbsize")
    return None


def _merged(parts: Sequence[Part], now: float) -> list[tuple[bytes, float | None]]:
    """Return each key with the seconds until it expires (None: never), drawn from all parts by their shares."""
    rates = [len(part.sample.expiries) / part.living for part in parts if part.living and part.sample.expiries]
    merged: list[tuple[bytes, float | None]] = []
    for part in parts:
        drawn, fair = part.sample.expiries, round(min(rates, default=0.0) * part.living)
        if len(parts) > 1 and len(drawn) > _UNEVEN * fair:
            drawn = random.sample(drawn, fair)
        for name, told_ms in drawn:
            left_s = told_ms / 1000 - (now if part.modern else 0.0)
            merged.append((name, None if told_ms == LASTING else max(0.0, left_s)))
    return merged


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


def _gaps(parts: Sequence[Part], scope: Scope) -> Iterator[Gap]:
    sampled = sum(len(part.sample.expiries) for part in parts)
    for part in parts:
        for refusal, what in (
            (part.sample.undrawn, f"the keys of {part.session.target.address}"),
            (part.sample.refusal, f"when {part.sample.refused} of the drawn keys expire"),
        ):
            if refusal is not None:
                explained = refused(part.session, refusal, GRANT)
                yield gap("families", what, explained.message, explained.fix)
    refused_any = any(part.sample.undrawn or part.sample.refusal for part in parts)
    whole = all(part.sample.whole for part in parts)
    why = next((part.pace.why for part in parts if part.pace and part.pace.why), "a walk of SCAN stops there")
    if parts and not whole and not refused_any and sampled < FEWEST_KEYS:
        fix = "narrow --match, or raise --deadline" if scope.match else "look again when the server is calmer"
        yield gap("families", f"keys beyond the {sampled} that were met", why, fix)
    elif scope.match and parts and whole and not sampled:
        yield gap("families", "keys of the asked pattern", "no key matches it in this database", "check --match")
