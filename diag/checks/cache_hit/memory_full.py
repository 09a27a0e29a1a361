"""Memory is at maxmemory and nothing may be evicted: writes are refused, or will be soon.

With noeviction, and with a volatile policy where few keys have a time to live, a full server
answers writes with an OOM error; reads go on.

Facts    INFO: used_memory, maxmemory, maxmemory_policy, keyspace; errorstat_OOM over a window
Units    bytes; ratio = used_memory of maxmemory; errors in the window
Source   redis.io, "Key eviction" (noeviction, volatile-*), "INFO" (errorstats, from 6.2)
Blind    memory of the host: without maxmemory the operating system decides, and ends the server
"""

from collections.abc import Iterator

from msgspec import Struct

from diag.analysis.cache_use import evictable, fill_ratio, used
from diag.checks.cache_hit._memory import WHAT_IS_BIG, more_memory
from diag.findings import Basis, Check, Evidence, Finding, Quantity, Risk, Severity, Step, Subject, say
from diag.snapshots.base import Window
from diag.snapshots.redis import RedisLoad


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a server that cannot evict is full."""

    fill_ratio: float = 0.9  # a tenth is what one import or one hour of growth takes
    evictable_ratio: float = 0.01  # of the keys: a policy with so little to evict cannot keep up with writes


def judge(window: Window[RedisLoad], limits: Limits) -> Iterator[Finding]:
    """Find out whether writes are refused, or nearly."""
    use, last = used(window), window.last
    full = fill_ratio(last)
    refused = use.refused if use else 0
    cannot_evict = evictable(last) < max(1.0, limits.evictable_ratio * last.keys)
    if full is None or not (refused or (full >= limits.fill_ratio and cannot_evict)):
        return
    yield Finding(
        severity=Severity.CRITICAL if refused else Severity.WARNING,
        basis=Basis.OBSERVED,
        subject=Subject(),
        summary=say(
            "memory is {full} of maxmemory and {policy} leaves {evictable} to evict; {refused} refused in {span}",
            full=Quantity(full, "ratio"),
            policy=last.maxmemory_policy,
            evictable=Quantity(evictable(last), "keys"),
            refused=Quantity(refused, "writes"),
            span=Quantity(window.span_s, "s"),
        ),
        evidence=(
            Evidence(name="used memory", value=Quantity(last.used_memory_bytes, "bytes"), source="INFO used_memory"),
            Evidence(name="maxmemory", value=Quantity(last.maxmemory_bytes, "bytes"), source="INFO maxmemory"),
            Evidence(name="refused", value=Quantity(refused, "writes"), source="INFO errorstat_OOM, window"),
            Evidence(name="keys with expiry", value=Quantity(last.volatile_keys, "keys"), source="INFO keyspace"),
        ),
        steps=(WHAT_IS_BIG, more_memory(say("no OOM error in the next look")), _EVICT),
    )


_EVICT = Step(
    title=say("Only if everything here is a cache that can be recomputed: let it evict (maxmemory-policy allkeys-lru)"),
    risk=Risk.DISRUPTIVE,
    expect=say("writes go through, and keys are evicted: locks, queues and sessions here would be lost as well"),
)

CHECK = Check(
    title="Memory full",
    facts=Window[RedisLoad],
    needs=(),
    explains=("cache-hit/no-expiry",),
    limits=Limits(),
    judge=judge,
)
