"""Take `RedisKeys`: what a random sample of keys weighs, and how often each is used.

MEMORY USAGE looks at five elements of a collection, never at all of them, and is no look-up of the key.
OBJECT FREQ, asked only under an LFU policy, and TYPE, asked of the few biggest, are look-ups: the server
counts them, so they are counted here as well. No value is read.
Source: redis.io, "MEMORY USAGE" (SAMPLES), "OBJECT FREQ", "Key eviction" (the LFU policies).
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import msgspec
from msgspec import Struct
from redis.exceptions import ResponseError

from diag.analysis.key_families import families
from diag.errors import Denied, Rung, Unreadable
from diag.snapshots.base import Gap, Scope
from diag.snapshots.redis import FamilySize, KeySize, KeyUse, RedisKeys
from diag.sources.redis.connection import Argument, Reply, Session, exchange, refused, shaped
from diag.sources.redis.expiry import _SAMPLE_KEYS, _drawn, _method, _paced, _walked
from diag.sources.redis.replies import acl_line, gap, moment, number, parsed
from diag.text import KeyText, ServerText

_BATCH_KEYS = 100  # about 0.2 ms of the server's one thread: others hardly wait
_TOP = 20
_TYPED_BYTES = 1 << 20  # smaller ones are no trouble whatever their type
_COUNTERS = 256
_LFU = "lfu"


class Sample(Struct, frozen=True, kw_only=True):
    """Keys by name: how they were drawn, and whether these are all there are."""

    names: list[bytes]
    found: int
    exhaustive: bool
    whole: bool
    method: str


def redis_keys(session: Session, scope: Scope) -> RedisKeys:
    """Weigh a sample of one logical database. Raises a `SourceError` when its keys cannot be counted or named."""
    started = time.monotonic()
    info, size, clock = exchange(session.connection, session.probe, [("INFO",), ("DBSIZE",), ("TIME",)])
    if isinstance(size, ResponseError):
        raise refused(session, size, "+dbsize")
    told = {} if isinstance(info, ResponseError) else parsed(shaped(info, bytes))
    ours = isinstance(clock, ResponseError)
    size, policy = shaped(size, int), told.get("maxmemory_policy", "")
    gaps = [] if told else [gap("counters", "INFO: policy and memory", str(info), acl_line(session, "+info"))]
    sample = _sample(session, scope, size)
    sizes = _weighed(session, sample.names, gaps)
    counters = _used(session, [name for name, _ in sizes] or sample.names, gaps) if _LFU in policy else []
    log_factor, decay_min = _settings(session, gaps) if counters else (None, None)
    gaps += _limits_of_sight(sample, scope, told, size)
    return RedisKeys(
        target=msgspec.structs.replace(session.target, version=ServerText(told.get("redis_version", ""))),
        observed_at=datetime.now(UTC) if ours else moment(shaped(clock, tuple[bytes, bytes])),
        took_s=time.monotonic() - started,
        gaps=tuple(gaps),
        sampled_keys=len(sizes or counters),
        total_keys=sample.found if scope.match else size,
        exhaustive=sample.exhaustive,
        method=sample.method,
        narrowed=bool(scope.match),
        families=_families(sizes),
        biggest=_typed(session, _first(sizes)),
        hottest=tuple(KeyUse(key=_key(name), counter=counter) for name, counter in _first(counters) if counter),
        counters=_histogram(counters),
        lfu_log_factor=log_factor,
        lfu_decay_min=decay_min,
        maxmemory_policy=policy,
        used_memory_bytes=number(told, "used_memory"),
        dataset_bytes=number(told, "used_memory_dataset"),
        database=session.database,
        other_keys=_keys_elsewhere(told, session.database),
        uptime_s=float(number(told, "uptime_in_seconds")),
    )


def _sample(session: Session, scope: Scope, size: int) -> Sample:
    """Draw keys as `RedisExpiry` does: the one place that knows how."""
    walk = bool(scope.match) or size <= _SAMPLE_KEYS
    found, whole = _walked(session, scope.match) if walk else (_drawn(session), True)
    names = found if len(found) <= _SAMPLE_KEYS else random.sample(found, _SAMPLE_KEYS)
    all_of_them = whole and len(names) == len(found)
    return Sample(
        names=names,
        found=len(found),
        exhaustive=walk and all_of_them,
        whole=whole,
        method=_method(scope, walk=walk, whole=all_of_them),
    )


def _asked(session: Session, names: Sequence[bytes], *command: Argument) -> Iterator[tuple[bytes, int]]:
    """Ask one number of each key, at the pace of a sample; keys gone meanwhile are left out."""
    for start in range(0, len(names), _BATCH_KEYS):
        batch = names[start : start + _BATCH_KEYS]
        replies: list[Reply] = _paced(session, [(*command, name) for name in batch])
        yield from (
            (name, reply) for name, reply in zip(batch, shaped(replies, list[int | None]), strict=True) if reply
        )
        if command[0] == "OBJECT":
            gone = replies.count(None)
            session.own.misses += gone
            session.own.hits += len(replies) - gone


def _weighed(session: Session, names: Sequence[bytes], gaps: list[Gap]) -> list[tuple[bytes, int]]:
    try:
        return list(_asked(session, names, "MEMORY", "USAGE"))
    except (Denied, Unreadable) as refusal:
        _unless_ours(refusal)
        gaps.append(gap("sizes", "how big keys are", refusal.message, acl_line(session, "+memory|usage %R~*")))
        return []


def _used(session: Session, names: Sequence[bytes], gaps: list[Gap]) -> list[tuple[bytes, int]]:
    try:
        counted = dict(_asked(session, names, "OBJECT", "FREQ"))
    except (Denied, Unreadable) as refusal:
        _unless_ours(refusal)
        why = acl_line(session, "+object|freq %R~*")
        gaps.append(gap("frequencies", "how often keys are used", refusal.message, why))
        return []
    return [(name, counted.get(name, 0)) for name in names]


def _unless_ours(refusal: Denied | Unreadable) -> None:
    """Let what is wrong with the whole connection go on: it is no gap in one fact."""
    if isinstance(refusal, Denied) and refusal.rung is not Rung.AUTHORISE:
        raise refusal


def _settings(session: Session, gaps: list[Gap]) -> tuple[int | None, int | None]:
    (reply,) = exchange(session.connection, session.probe, [("CONFIG", "GET", "lfu-*")])
    if isinstance(reply, ResponseError):
        fix = acl_line(session, "+config|get")
        gaps.append(gap("lfu_settings", "lfu-log-factor and lfu-decay-time", str(reply), fix))
        return None, None
    words = [word.decode("ascii", "replace") for word in shaped(reply, list[bytes])]
    settings = dict(zip(words[::2], words[1::2], strict=False))
    log_factor, decay_min = settings.get("lfu-log-factor", ""), settings.get("lfu-decay-time", "")
    return (int(log_factor) if log_factor.isdecimal() else None, int(decay_min) if decay_min.isdecimal() else None)


def _first(counted: list[tuple[bytes, int]]) -> list[tuple[bytes, int]]:
    """Return the few with most, each key once however often it was drawn."""
    return sorted(dict(counted).items(), key=lambda one: (-one[1], one[0]))[:_TOP]


def _typed(session: Session, biggest: list[tuple[bytes, int]]) -> tuple[KeySize, ...]:
    large = [name for name, size in biggest if size >= _TYPED_BYTES]
    replies = exchange(session.connection, session.probe, [("TYPE", name) for name in large]) if large else []
    kinds = {
        name: reply.decode("ascii", "replace")
        for name, reply in zip(large, replies, strict=True)
        if isinstance(reply, bytes)
    }
    gone = sum(kind == "none" for kind in kinds.values())
    session.own.misses += gone
    session.own.hits += len(kinds) - gone
    return tuple(KeySize(key=_key(name), size_bytes=size, kind=kinds.get(name, "")) for name, size in biggest)


def _key(name: bytes) -> KeyText:
    return KeyText(ServerText.of_bytes(name).raw)


def _histogram(counters: list[tuple[bytes, int]]) -> tuple[int, ...]:
    seen = [0] * (_COUNTERS if counters else 0)
    for _, counter in counters:
        seen[min(max(counter, 0), _COUNTERS - 1)] += 1
    return tuple(seen)


def _families(sizes: list[tuple[bytes, int]]) -> tuple[FamilySize, ...]:
    texts = {name: ServerText.of_bytes(name).raw for name, _ in sizes}
    patterns = families(texts.values())
    members: dict[str, list[int]] = {}
    for name, size in sizes:
        members.setdefault(patterns[texts[name]], []).append(size)
    return tuple(
        FamilySize(
            pattern=KeyText(pattern),
            sampled=len(of_family),
            sum_bytes=sum(of_family),
            sum_squares=float(sum(size * size for size in of_family)),
            largest_bytes=max(of_family),
        )
        for pattern, of_family in sorted(members.items(), key=lambda one: (-sum(one[1]), one[0]))
    )


def _keys_elsewhere(told: dict[str, str], database: int) -> int:
    lines = {name: value for name, value in told.items() if name.startswith("db") and name[2:].isdecimal()}
    fields = (value.partition(",")[0].removeprefix("keys=") for name, value in lines.items() if name != f"db{database}")
    return sum(int(keys) for keys in fields if keys.isascii() and keys.isdecimal())


def _limits_of_sight(sample: Sample, scope: Scope, told: dict[str, str], size: int) -> Iterator[Gap]:
    if told.get("cluster_enabled") == "1":
        yield gap("other_nodes", "the other nodes of the cluster", "only the dialled node was sampled", "ask each node")
    if scope.match and not sample.found:
        yield gap("sizes", "keys of the asked pattern", "no key matches it in this database", "check --match")
    if not sample.whole:
        yield gap("rare_keys", "keys beyond the cap of the walk", "a walk of SCAN stops there", "narrow --match")
    elif not sample.exhaustive and sample.names:
        drawn, there = len(sample.names), sample.found if scope.match else size
        what = f"single keys among the {there - min(drawn, there)} or more that were not drawn"
        chance = f"a draw of {drawn} meets one given key with a chance of {1 - (1 - 1 / max(there, 1)) ** drawn:.2%}"
        yield gap("rare_keys", what, chance, "redis-cli --memkeys -i 0.01, on a replica; or narrow with --match")
