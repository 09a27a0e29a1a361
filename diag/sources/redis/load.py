"""Take `RedisLoad`: what the server counts, and the keys it names by itself while we look.

One INFO is tens of microseconds of the server's time. The server names missed keys where its
keyspace events carry `m`, and keys changed under the prefix of --match through broadcast tracking;
both come over a second connection, so that no setting of the server is touched.
Source: redis.io, "INFO", "Redis keyspace notifications" (keymiss), "CLIENT TRACKING" (BCAST).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

import msgspec
from redis.exceptions import ResponseError

from diag.snapshots.base import Gap, Scope
from diag.snapshots.redis import RedisLoad
from diag.sources.redis.connection import Session, exchange, refused, shaped
from diag.sources.redis.listening import listen
from diag.sources.redis.replies import gap, moment, number, parsed
from diag.text import ServerText

_PERCENT = 100.0
_SECTIONS = ("INFO", "everything")  # commandstats and errorstats are not in the default ones


def redis_load(session: Session, scope: Scope) -> RedisLoad:
    """Read the counters once. Raises a `SourceError` when INFO cannot be read: without it there is nothing."""
    started = time.monotonic()
    ears = listen(session, scope)
    replies = exchange(session.connection, session.probe, [_SECTIONS, ("TIME",)])
    if isinstance(replies[0], ResponseError):
        raise refused(session, replies[0], "+info")
    told = parsed(shaped(replies[0], bytes))
    ours = isinstance(replies[1], ResponseError)
    observed_at = datetime.now(UTC) if ours else moment(shaped(replies[1], tuple[bytes, bytes]))
    return RedisLoad(
        target=msgspec.structs.replace(session.target, version=ServerText(told.get("redis_version", ""))),
        observed_at=observed_at,
        took_s=time.monotonic() - started,
        gaps=(*ears.gaps, *_gaps(session, told)),
        run_id=told.get("run_id", ""),
        role=told.get("role", ""),
        uptime_s=float(number(told, "uptime_in_seconds")),
        keyspace_hits=number(told, "keyspace_hits") - session.own.hits,
        keyspace_misses=number(told, "keyspace_misses") - session.own.misses,
        expired_keys=number(told, "expired_keys"),
        expired_stale_ratio=_fraction(told.get("expired_stale_perc", "")) / _PERCENT,
        evicted_keys=number(told, "evicted_keys"),
        keys=sum(_keyspace(told, "keys")),
        volatile_keys=sum(_keyspace(told, "expires")),
        used_memory_bytes=number(told, "used_memory"),
        maxmemory_bytes=number(told, "maxmemory"),
        maxmemory_policy=told.get("maxmemory_policy", ""),
        changes=number(told, "rdb_changes_since_last_save"),
        calls=_counted(told, "cmdstat_", "calls"),
        errors=_counted(told, "errorstat_", "count"),
        missed=ears.listener.taken(changed=False) if ears.listener else None,
        written=ears.listener.taken(changed=True) if ears.listener else None,
        keyspace_events=ears.configured,
        replicas=tuple(_replicas(told)),
    )


def _fraction(written: str) -> float:
    try:
        return float(written)
    except ValueError:
        return 0.0


def _fields(written: str) -> dict[str, str]:
    """Read `calls=21,usec=175,…`."""
    return dict(part.split("=", 1) for part in written.split(",") if "=" in part)


def _counted(told: Mapping[str, str], prefix: str, field: str) -> dict[str, int]:
    return {
        name.removeprefix(prefix): number(_fields(value), field)
        for name, value in told.items()
        if name.startswith(prefix)
    }


def _keyspace(told: Mapping[str, str], field: str) -> Iterator[int]:
    for name, value in told.items():
        if name.startswith("db") and name[2:].isdecimal():
            yield number(_fields(value), field)


def _replicas(told: Mapping[str, str]) -> Iterator[ServerText]:
    for name, value in told.items():
        if name.startswith("slave") and name[5:].isdecimal():
            one = _fields(value)
            yield ServerText(f"{one.get('ip', '')}:{one.get('port', '')}")


def _gaps(session: Session, told: Mapping[str, str]) -> Iterator[Gap]:
    for address in _replicas(told):
        fix = f"diag with --redis-url redis://{address.raw}/{session.database}"
        yield gap("replicas", f"reads served by the replica {address.raw}", "each server counts its own", fix)
    if told.get("cluster_enabled") == "1":
        yield gap("replicas", "the other nodes of the cluster", "each node counts its own", "ask each node")
    if "cmdstat_info" not in told:
        yield gap("calls", "calls by command", "the server's INFO has no commandstats", "")
