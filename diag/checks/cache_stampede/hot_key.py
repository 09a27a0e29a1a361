"""One key is recomputed by many readers at once: it expired, and nothing lets one of them go first.

Or something does and fails: a lock whose holder is gone, a lock shorter than the recomputation, an
early refresh that anybody may do. Redis looks healthy; the database gets every read of the key.

Facts    INFO each second: hits, misses, calls, changes, keys; keymiss events, CLIENT TRACKING, a key by its name
Units    misses and SETs beyond the usual; s = seconds, as exact as the samples are apart
Source   Nishtala et al., NSDI 2013, 3.2.1; redis.io, "SET" (NX), "Redis keyspace notifications"
Blind    a refresh without misses needs the key's name (--match); its reads are not told from other reads
"""

from collections.abc import Iterator

from msgspec import Struct

from diag.analysis.miss_shapes import HOT, Shape, Storm, storms
from diag.checks.cache_stampede._hot_key_words import own_evidence, own_ruled_out, own_steps, summary
from diag.checks.cache_stampede._storm_words import counted, look_again, naming, ruled_out
from diag.findings import Basis, Check, Finding, Severity, Subject
from diag.snapshots.base import Window
from diag.snapshots.redis import RedisLoad


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When readers of one key are a storm."""

    duplicates: int = 20  # recomputations at once: more than a mid-size database works on side by side
    critical_duplicates: int = 200  # ten times that: each takes ten times as long, and all other queries with it
    held_s: float = 3.0  # without a value behind a lock: a page is recomputed in less, or its reader gives up
    database_workers: int = 8  # its cores; a person who knows them can say so
    short_lock_values: int = 2  # for one expiry: the lock has not kept the second away


def judge(window: Window[RedisLoad], limits: Limits) -> Iterator[Finding]:
    """Say the worst storm of each key."""
    worst: dict[object, Storm] = {}
    for storm in storms(window):
        key = storm.stretch.key
        if storm.shape in HOT and _counts(storm, limits):
            worst[key] = max(worst.get(key, storm), storm, key=_weight)
    for storm in worst.values():
        named = storm.stretch.key
        yield Finding(
            severity=Severity.CRITICAL if _weight(storm) >= limits.critical_duplicates else Severity.WARNING,
            basis=Basis.OBSERVED if named and (storm.stretch.sets or storm.stretch.refused) else Basis.DERIVED,
            subject=Subject(key=named),
            summary=summary(storm),
            evidence=(*own_evidence(storm, limits.database_workers), *counted(storm)),
            ruled_out=(*own_ruled_out(storm), *ruled_out(storm, window)),
            steps=(
                look_again(named),
                *(() if named else naming(window.last)),
                *own_steps(storm, limits.database_workers),
            ),
        )


def _weight(storm: Storm) -> int:
    """What it costs: recomputations for nothing, or readers who get nothing."""
    return storm.stretch.misses if storm.shape is Shape.LOCK_HELD else storm.duplicates


def _counts(storm: Storm, limits: Limits) -> bool:
    if storm.shape is Shape.LOCK_HELD:
        return storm.stretch.length_s >= limits.held_s
    if storm.shape is Shape.LOCK_SHORT:
        return (storm.recomputations or 0) >= limits.short_lock_values
    return storm.duplicates >= limits.duplicates


CHECK = Check(
    title="Storm over one key",
    facts=Window[RedisLoad],
    needs=("calls",),
    min_frames=2,
    explains=("cache-stampede/miss-burst", "cache-hit/low-hit-ratio"),
    limits=Limits(),
    judge=judge,
)
