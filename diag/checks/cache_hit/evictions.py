"""The server throws keys away before they expire, now, because its memory is at maxmemory.

What is thrown away and read again is missed. Memory, not the times to live, decides what stays.

Facts    INFO: evicted_keys, used_memory, maxmemory, maxmemory_policy, two readings or more
Units    keys a second; bytes; ratio = used_memory of maxmemory
Source   redis.io, "Key eviction", "INFO"
Blind    which keys went: keyspace events (flag e) name them where they are on
"""

from collections.abc import Iterator

from msgspec import Struct

from diag.analysis.cache_use import evictable, fill_ratio, used
from diag.checks.cache_hit._memory import WHAT_IS_BIG, more_memory
from diag.findings import Basis, Check, Evidence, Finding, Quantity, Risk, Severity, Step, Subject, say
from diag.snapshots.base import Window
from diag.snapshots.redis import RedisLoad


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When evictions are more than the cache breathing."""

    evicted_per_s: float = 1.0  # below one a second even a small database recomputes them unnoticed
    critical_per_s: float = 1_000.0  # each a query later: half of a mid-size database's 2 000 a second


def judge(window: Window[RedisLoad], limits: Limits) -> Iterator[Finding]:
    """Find out whether keys are thrown away while we look."""
    use, last = used(window), window.last
    if use is None or use.evicted_per_s < limits.evicted_per_s:
        return
    full = fill_ratio(last)
    yield Finding(
        severity=Severity.CRITICAL if use.evicted_per_s >= limits.critical_per_s else Severity.WARNING,
        basis=Basis.OBSERVED,
        subject=Subject(),
        summary=say(
            "{rate} a second are evicted ({policy}), with memory at {full} of maxmemory",
            rate=Quantity(use.evicted_per_s, "keys"),
            policy=last.maxmemory_policy,
            full=Quantity(full, "ratio") if full is not None else "above what it was",
        ),
        evidence=(
            Evidence(name="evicted", value=Quantity(use.evicted, "keys"), source="INFO evicted_keys, window"),
            Evidence(name="used memory", value=Quantity(last.used_memory_bytes, "bytes"), source="INFO used_memory"),
            Evidence(name="maxmemory", value=Quantity(last.maxmemory_bytes, "bytes"), source="INFO maxmemory"),
            Evidence(name="keys it may evict", value=Quantity(evictable(last), "keys"), source="INFO keyspace"),
        ),
        ruled_out=(say("expiry: evicted_keys counts only what was thrown away for memory"),),
        steps=(WHAT_IS_BIG, more_memory(say("evicted_keys stands still in the next look")), _SHORTER),
    )


_SHORTER = Step(
    title=say("Give the largest family a shorter time to live, where it is written"),
    risk=Risk.REVERSIBLE,
    expect=say("used memory stays below maxmemory"),
)

CHECK = Check(
    title="Evictions",
    facts=Window[RedisLoad],
    needs=(),
    min_frames=2,
    explains=("cache-hit/low-hit-ratio",),
    limits=Limits(),
    judge=judge,
)
