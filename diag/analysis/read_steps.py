"""What a Redis server counted between one frame and the next, and what is usual there.

Redis counts a read of an expired key as a miss and removes the key at once, in `expired_keys` too; a SET
that overwrites leaves the number of keys as it was. So `created` tells how many keys the SETs were about.
Source: redis.io, "INFO" (keyspace, commandstats, rdb_changes_since_last_save), "SET" (NX).
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import lru_cache

from msgspec import Struct

from diag.snapshots.base import Window
from diag.snapshots.redis import KeyEvents, RedisLoad, WatchedKey
from diag.text import KeyText

_SETS = ("set", "setnx", "setex", "psetex", "getset", "mset", "hset", "hmset")
_REMOVALS = ("del", "unlink", "getdel")
_OTHER_WRITES = (
    "append", "incr", "incrby", "incrbyfloat", "decr", "decrby", "expire", "pexpire", "expireat", "pexpireat",
    "persist", "hsetnx", "hincrby", "hdel", "lpush", "rpush", "lpop", "rpop", "sadd", "srem", "zadd", "zincrby",
    "zrem", "xadd", "rename", "setrange",
)  # fmt: skip
_MAY_CHANGE_NOTHING = (
    *_REMOVALS,
    "expire",
    "pexpire",
    "expireat",
    "pexpireat",
    "persist",
    "hsetnx",
    "hdel",
    "lpop",
    "rpop",
    "sadd",
    "srem",
    "zadd",
    "zrem",
)
_FLUSHES = ("flushall", "flushdb")
_PROBES = ("exists", "ttl", "type", "expiretime", "object|encoding", "object|idletime", "strlen", "touch", "dump")
_PTTL_IS_THEIRS_SINCE = 7  # our own samples ask PEXPIRETIME from there on, which is therefore not in the list above
_LONG = 5.0  # times the reads of the window: then what was before it says what is usual


class Step(Struct, frozen=True, kw_only=True):
    """What happened between two frames. `keys` is the change of DBSIZE over all databases.

    `refused` are SETs that changed nothing, as SET NX on a key that exists (None: a save put the count of
    changes back); `removed` keys were deleted by command. `renewed` is the key that was asked for by name, if it was
    gone or got a later expiry. `anew` says why the counters began again, if they did.
    """

    from_at: datetime
    to_at: datetime
    span_s: float
    hits: int = 0
    misses: int = 0
    sets: int = 0
    refused: int | None = 0
    removed: int = 0
    removals: int = 0
    flushes: int = 0
    evicted: int = 0
    expired: int = 0
    keys: int = 0
    stale_rise: float = 0.0
    probes: int = 0
    anew: str = ""
    missed: KeyEvents | None = None
    written: KeyEvents | None = None
    renewed: KeyText | None = None

    @property
    def reads(self) -> int:
        """Look-ups of keys, found or not."""
        return self.hits + self.misses

    @property
    def kept(self) -> int:
        """SETs that wrote something."""
        return self.sets - (self.refused or 0)

    @property
    def created(self) -> int:
        """Keys that were not there before: the rest of the balance of keys."""
        return max(0, self.keys + self.expired + self.evicted + self.removed)


@lru_cache(maxsize=4)
def steps(window: Window[RedisLoad]) -> tuple[Step, ...]:
    """Return what happened between each two frames that follow each other in time."""
    pairs = zip(window.frames, window.frames[1:], strict=False)
    return tuple(_step(early, late) for early, late in pairs if late.observed_at > early.observed_at)


def _step(early: RedisLoad, late: RedisLoad) -> Step:
    span_s = (late.observed_at - early.observed_at).total_seconds()
    anew = _anew(early, late)
    if anew:
        return Step(from_at=early.observed_at, to_at=late.observed_at, span_s=span_s, anew=anew)

    def called(names: Sequence[str]) -> int:
        return sum(max(0, late.calls.get(name, 0) - early.calls.get(name, 0)) for name in names)

    sets, removals, others = called(_SETS), called(_REMOVALS), called(_OTHER_WRITES)
    changes = late.changes - early.changes
    lacking = sets + removals + others - changes
    unclear = changes < 0 or 0 < lacking <= called(_MAY_CHANGE_NOTHING)
    refused = None if unclear else max(0, min(called(("set", "setnx")), lacking))
    beyond = 0 if changes < 0 else changes - (sets - (refused or 0)) - others  # one call may delete many keys
    return Step(
        from_at=early.observed_at,
        to_at=late.observed_at,
        span_s=span_s,
        hits=late.keyspace_hits - early.keyspace_hits,
        misses=late.keyspace_misses - early.keyspace_misses,
        sets=sets,
        refused=refused,
        removed=(removals if changes < 0 else max(0, beyond)) if removals else 0,
        removals=removals,
        flushes=called(_FLUSHES),
        evicted=late.evicted_keys - early.evicted_keys,
        expired=late.expired_keys - early.expired_keys,
        keys=late.keys - early.keys,
        stale_rise=late.expired_stale_ratio - early.expired_stale_ratio,
        probes=called((*_PROBES, "pttl") if _major(late) >= _PTTL_IS_THEIRS_SINCE else _PROBES),
        missed=late.missed,
        written=late.written,
        renewed=_renewed(early.watched, late.watched),
    )


def _major(load: RedisLoad) -> int:
    """Return the first number of the server's version; 0 where it has none."""
    digits = load.target.version.raw.partition(".")[0]
    return int(digits) if digits.isdecimal() and digits.isascii() else 0


def _renewed(early: WatchedKey | None, late: WatchedKey | None) -> KeyText | None:
    """Return the watched key when it was gone, or got a later expiry: time only makes what is left shorter."""
    if early is None or late is None or early.key != late.key:
        return None
    longer = (late.expires_in_s or 0.0) > (early.expires_in_s or 0.0)
    return late.key if early.exists != late.exists or longer else None


def _anew(early: RedisLoad, late: RedisLoad) -> str:
    if early.role != late.role:
        return "failover"
    if early.run_id != late.run_id or late.uptime_s < early.uptime_s:
        return "restart"
    counters = ("keyspace_hits", "keyspace_misses", "expired_keys", "evicted_keys")
    return "reset" if any(getattr(late, name) < getattr(early, name) for name in counters) else ""


class Usual(Struct, frozen=True, kw_only=True):
    """What each read usually brings: misses and SETs; `known` says that something was there to learn it from."""

    misses_per_read: float
    sets_per_read: float
    known: bool


def usual(window: Window[RedisLoad], taken: Sequence[Step]) -> Usual:
    """Take the calm quarter of the window, or all that was counted before it where that is calmer still."""
    first = window.first
    before = first.keyspace_hits + first.keyspace_misses
    within = sum(step.reads for step in taken)
    long_before = before > _LONG * max(1, within)
    ratios = [_per_read(step, lambda one: one.misses) for step in taken]
    sets = [_per_read(step, lambda one: one.kept) for step in taken]
    some = len(taken) >= 4  # noqa: PLR2004  a calm quarter
    misses_per_read = min(
        _quarter(ratios) if some else 1.0, first.keyspace_misses / before if long_before and before else 1.0
    )
    since_start = sum(first.calls.get(name, 0) for name in _SETS) / before if long_before and before else 0.0
    known = some or long_before
    return Usual(
        misses_per_read=max(0.0, misses_per_read) if known else 0.0,
        sets_per_read=_quarter(sets) if some else max(0.0, since_start),
        known=known,
    )


def _per_read(step: Step, counted: Callable[[Step], int]) -> float:
    return counted(step) / step.reads if step.reads > 0 else 0.0


def _quarter(values: Sequence[float]) -> float:
    """Return the lower quartile."""
    return statistics.quantiles(values, n=4, method="inclusive")[0] if len(values) > 1 else sum(values)
