"""Most keys never expire, on a server whose memory runs out and whose policy may not evict them.

A store that is meant to last has no limit, or room below it, and is left in peace; so is a policy
that may evict any key. What is named is a cache that was told to make room and cannot.

Facts    INFO: keyspace (keys, expires), used_memory, maxmemory, maxmemory_policy; families from a sample
Units    ratio = keys without a time to live of all keys, used_memory of maxmemory; s until it is full
Source   redis.io, "Key eviction" (volatile-*, noeviction), "INFO" (keyspace); Wilson 1927 for families
Blind    whether a family was meant to last; growth slower or faster outside of the look
"""

from collections.abc import Iterator

from msgspec import Struct

from diag.analysis.cache_use import evictable, fill_ratio
from diag.analysis.lasting_keys import Lasting, full_in_s, lasting
from diag.checks.cache_hit._lasting import evidence_of, largest, steps_for
from diag.findings import Basis, Check, Finding, Phrase, Quantity, Severity, Subject, say
from diag.snapshots.base import Window
from diag.snapshots.redis import RedisExpiry, RedisLoad


class Facts(Struct, frozen=True, kw_only=True):
    """The counters over a window and, where keys may be sampled, which families never expire."""

    load: Window[RedisLoad]
    expiry: RedisExpiry | None


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When keys that never expire are a danger."""

    lasting_ratio: float = 0.5  # of all keys: with less, most of the memory frees itself
    fill_ratio: float = 0.7  # of maxmemory: three tenths left are a day or two of usual growth
    evictable_ratio: float = 0.1  # of the keys: fewer, and those still read are thrown away for the rest
    full_in_s: float = 3_600.0  # at the rate of the look: time to find the writer and to stop it
    added_per_s: float = 10.0  # lasting keys: fewer in a short look are a user signing up, not a leak


def judge(facts: Facts, limits: Limits) -> Iterator[Finding]:
    """Find out whether keys that never expire fill the memory."""
    last, kept, full = facts.load.last, lasting(facts.load), fill_ratio(facts.load.last)
    if full is None or last.maxmemory_policy.startswith("allkeys-") or kept.ratio < limits.lasting_ratio:
        return
    cannot_make_room = (
        last.maxmemory_policy.startswith("volatile-")
        and full >= limits.fill_ratio
        and evictable(last) < limits.evictable_ratio * last.keys
    )
    in_s = full_in_s(facts.load)
    grows = kept.span_s > 0 and kept.added >= limits.added_per_s * kept.span_s
    soon = grows and in_s is not None and in_s <= limits.full_in_s
    if not (cannot_make_room or soon):
        return
    yield Finding(
        severity=Severity.WARNING,
        basis=Basis.DERIVED if soon else Basis.OBSERVED,
        subject=Subject(),
        summary=say(
            "{ratio} of {keys} never expire{family}; {policy} may not evict them; memory is {full} of maxmemory{in_s}",
            ratio=Quantity(kept.ratio, "ratio"),
            keys=Quantity(kept.keys, "keys"),
            family=largest(facts.expiry),
            policy=last.maxmemory_policy,
            full=Quantity(full, "ratio"),
            in_s=_when(in_s, kept) if soon and in_s is not None else say(""),
        ),
        evidence=tuple(evidence_of(facts.load, facts.expiry)),
        ruled_out=(say("a store with room to grow: maxmemory is {n}", n=Quantity(last.maxmemory_bytes, "bytes")),),
        steps=steps_for(facts.expiry),
    )


def _when(in_s: float, kept: Lasting) -> Phrase:
    return say(
        ", full in {wait} if {n} a second go on", wait=Quantity(in_s, "s"), n=Quantity(kept.bytes_per_s, "bytes")
    )


CHECK = Check(
    title="Keys that never expire",
    facts=Facts,
    needs=(),
    explains=("cache-hit/evictions",),
    limits=Limits(),
    judge=judge,
)
