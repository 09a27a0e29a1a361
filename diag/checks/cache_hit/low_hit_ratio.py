"""Too many reads find nothing, now, and why.

A ratio since the server's start says nothing of this minute. Nor does a ratio alone say what to do: the
cause decides, and where the counters show none, that is said.

Facts    INFO: keyspace hits and misses, calls, keys, evicted and expired keys; two readings or more
Units    ratio = hits of all reads (0-1), without our own look-ups; keys and calls in the window
Source   redis.io, "INFO" (Stats, Commandstats)
Blind    which reads matter; a storm of ten seconds is lost in a window of minutes, see diag cache-stampede
"""

from collections.abc import Iterator

from msgspec import Struct

from diag.analysis.miss_causes import Cause, Reads, reads
from diag.checks.cache_hit import _ratio_words as words
from diag.findings import Basis, Check, Evidence, Finding, Quantity, Severity, Subject, say
from diag.snapshots.base import Window
from diag.snapshots.redis import RedisLoad


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a cache misses too much."""

    hit_ratio: float = 0.8  # below it the database gets four times the load of a cache that finds 95 of 100
    critical_hit_ratio: float = 0.5  # more reads pass the cache than are answered by it
    reads_per_s: float = 20.0  # fewer are no load for a database, found or not
    reads: int = 50  # of so many, chance moves the ratio by some 0.06 each way


def judge(window: Window[RedisLoad], limits: Limits) -> Iterator[Finding]:
    """Find out whether most reads are still answered."""
    read = reads(window)
    if read is None or read.hit_ratio is None or read.hit_ratio >= limits.hit_ratio:
        return
    count = read.hits + read.misses
    if count < limits.reads or count < limits.reads_per_s * read.span_s:
        return
    fills_by_itself = read.cause in (Cause.COLD, Cause.FLUSH)
    meant = read.cause in (Cause.PROBES, Cause.FIRST)  # a denylist, a list of what was seen: misses are its work
    worst = read.hit_ratio < limits.critical_hit_ratio and not (fills_by_itself or meant)
    yield Finding(
        severity=Severity.CRITICAL if worst else Severity.WARNING,
        basis=Basis.DERIVED if read.cause in (Cause.ABSENT, Cause.FIRST, Cause.EXPIRED) else Basis.OBSERVED,
        subject=Subject(),
        summary=say(
            "only {ratio} of {rate} find their key: {cause}",
            ratio=Quantity(read.hit_ratio, "ratio"),
            rate=Quantity(round(count / read.span_s), "reads/s"),
            cause=words.cause(read, window.last),
        ),
        evidence=_evidence(read),
        ruled_out=tuple(words.ruled_out(read)),
        steps=words.steps(read),
    )


def _evidence(read: Reads) -> tuple[Evidence, ...]:
    rows = [
        Evidence(name="misses", value=Quantity(read.misses, "misses"), source="INFO keyspace_misses, window"),
        Evidence(name="values written", value=Quantity(read.sets, "SETs"), source="INFO commandstats"),
        Evidence(name="keys created", value=Quantity(read.created, "keys"), source="INFO keyspace"),
        Evidence(name="keys expired", value=Quantity(read.expired, "keys"), source="INFO expired_keys"),
        Evidence(name="keys evicted", value=Quantity(read.evicted, "keys"), source="INFO evicted_keys"),
        Evidence(name="other look-ups", value=Quantity(read.probes, "reads"), source="INFO commandstats"),
    ]
    if read.distinct is not None:
        named = Quantity(read.distinct, "keys")
        rows.append(Evidence(name="different keys missed", value=named, source="keymiss events"))
    return tuple(rows)


CHECK = Check(title="Low hit ratio", facts=Window[RedisLoad], needs=(), min_frames=2, limits=Limits(), judge=judge)
