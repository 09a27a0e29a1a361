"""Take `RedisKeys`: what a random sample of keys weighs, and how often each is used.

MEMORY USAGE looks at five elements of a collection, never at all of them, and is no look-up of the key.
OBJECT FREQ, asked only under an LFU policy, and TYPE, asked of the few biggest, are look-ups: the server
counts them, so they are counted here as well. No value is read.
Source: redis.io, "MEMORY USAGE" (SAMPLES), "OBJECT FREQ", "Key eviction" (the LFU policies).
"""

from __future__ import annotations

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
from diag.sources.redis.connection import Argument, Reply, Session, ask, refused, shaped
from diag.sources.redis.named import counted
from diag.sources.redis.pace import BATCH_KEYS, Pace, bare_trip_s
from diag.sources.redis.parts import Part, method_of, sampled
from diag.sources.redis.replies import acl_line, gap, moment, number, parsed, version_of
from diag.text import KeyText, ServerText

_TOP = 20
_TYPED_BYTES = 1 << 20  # smaller ones are no trouble whatever their type
_COUNTERS = 256
_LFU = "lfu"


class Drawn(Struct, frozen=True, kw_only=True):
    """Keys of one server by name, and the connection and pace to ask more of them."""

    session: Session
    pace: Pace
    names: list[bytes]


def redis_keys(session: Session, scope: Scope) -> RedisKeys:
    """Weigh a sample of one logical database. Raises a `SourceError` when its keys cannot be counted or named."""
    started = time.monotonic()
    info, size, clock = ask(session, [("INFO",), ("DBSIZE",), ("TIME",)])
    if isinstance(size, ResponseError):
        raise refused(session, size, "+dbsize")
    told = {} if isinstance(info, ResponseError) else parsed(shaped(info, bytes))
    ours = isinstance(clock, ResponseError)
    size, policy = shaped(size, int), told.get("maxmemory_policy", "")
    gaps = [] if told else [gap("counters", "INFO: policy and memory", str(info), acl_line(session, "+info"))]
    parts = sampled(session, told, size, scope, gaps, names_only=True)
    undrawn = next((part.sample.undrawn for part in parts if part.sample.undrawn), None)
    if undrawn is not None:
        raise refused(session, undrawn, "+scan +randomkey %R~*")
    drawn = [_drawn_of(part) for part in parts]
    sizes = _weighed(session, drawn, gaps)
    counters = _used(session, drawn, gaps) if _LFU in policy else []
    log_factor, decay_min = _settings(session, gaps) if counters else (None, None)
    gaps += _limits_of_sight(parts, scope)
    return RedisKeys(
        target=msgspec.structs.replace(session.target, version=version_of(told)),
        observed_at=datetime.now(UTC) if ours else moment(shaped(clock, tuple[bytes, bytes])),
        took_s=time.monotonic() - started,
        gaps=tuple(gaps),
        sampled_keys=len(sizes or counters),
        total_keys=sum(part.living for part in parts),
        exhaustive=bool(parts) and all(part.sample.whole for part in parts),
        method=method_of(parts),
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


def _drawn_of(part: Part) -> Drawn:
    pace = part.pace or Pace(part.session.probe, bare_trip_s(part.session))
    return Drawn(session=part.session, pace=pace, names=[name for name, _ in part.sample.expiries])


def _asked(drawn: Drawn, *command: Argument) -> Iterator[tuple[bytes, int]]:
    """Ask one number of each key, at the pace of a sample; keys gone meanwhile are left out."""
    for start in range(0, len(drawn.names), BATCH_KEYS):
        batch, sent_at = drawn.names[start : start + BATCH_KEYS], time.monotonic()
        replies: list[Reply] = ask(drawn.session, [(*command, name) for name in batch])
        drawn.pace.took(time.monotonic() - sent_at)
        refusal = next((one for one in replies if isinstance(one, ResponseError)), None)
        if refusal is not None:
            raise refused(drawn.session, refusal, f"+{'|'.join(map(str, command)).lower()} %R~*")
        if command[0] == "OBJECT":
            for reply in replies:
                counted(drawn.session, reply is not None)
        yield from (
            (name, reply)
            for name, reply in zip(batch, shaped(replies, list[int | None]), strict=True)
            if reply is not None
        )
        if drawn.pace.stopped:
            return
        drawn.pace.rest(sent_at, len(batch))


def _weighed(session: Session, drawn: Sequence[Drawn], gaps: list[Gap]) -> list[tuple[bytes, int]]:
    try:
        return [one for part in drawn for one in _asked(part, "MEMORY", "USAGE")]
    except (Denied, Unreadable) as refusal:
        _unless_ours(refusal)
        gaps.append(gap("sizes", "how big keys are", refusal.message, acl_line(session, "+memory|usage %R~*")))
        return []


def _used(session: Session, drawn: Sequence[Drawn], gaps: list[Gap]) -> list[tuple[bytes, int]]:
    try:
        return [one for part in drawn for one in _asked(part, "OBJECT", "FREQ")]
    except (Denied, Unreadable) as refusal:
        _unless_ours(refusal)
        why = acl_line(session, "+object|freq %R~*")
        gaps.append(gap("frequencies", "how often keys are used", refusal.message, why))
        return []


def _unless_ours(refusal: Denied | Unreadable) -> None:
    """Let what is wrong with the whole connection go on: it is no gap in one fact."""
    if isinstance(refusal, Denied) and refusal.rung is not Rung.AUTHORISE:
        raise refusal


def _settings(session: Session, gaps: list[Gap]) -> tuple[int | None, int | None]:
    (reply,) = ask(session, [("CONFIG", "GET", "lfu-*")])
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
    replies = ask(session, [("TYPE", name) for name in large]) if large else []
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


def _limits_of_sight(parts: Sequence[Part], scope: Scope) -> Iterator[Gap]:
    drawn, there = sum(len(part.sample.expiries) for part in parts), sum(part.living for part in parts)
    whole = all(part.sample.whole for part in parts)
    why = next((part.pace.why for part in parts if part.pace and part.pace.why), "")
    if scope.match and whole and not drawn:
        yield gap("sizes", "keys of the asked pattern", "no key matches it in this database", "check --match")
    elif why and not whole:
        yield gap("rare_keys", f"more than {drawn} keys", why, "look again when the server is calmer")
    elif not whole and drawn:
        what = f"single keys among the {max(0, there - drawn)} or more that were not drawn"
        chance = f"a draw of {drawn} meets one given key with a chance of {1 - (1 - 1 / max(there, 1)) ** drawn:.2%}"
        yield gap("rare_keys", what, chance, "redis-cli --memkeys -i 0.01, on a replica; or narrow with --match")
