"""The words for a low hit ratio, by what made the misses."""

from collections.abc import Iterator

from diag.analysis.miss_causes import Cause, Reads
from diag.findings import Phrase, Quantity, Risk, ShellCommand, Step, say
from diag.findings.commands import redis_cli
from diag.snapshots.redis import RedisLoad


def cause(reads: Reads, last: RedisLoad) -> Phrase:
    """Say what made the misses, or that nothing shows it."""
    if reads.cause in (Cause.COLD, Cause.FLUSH):
        return _cold(reads, last)
    if reads.cause in (Cause.STORM, Cause.BURST, Cause.LOCK):
        return _storm(reads)
    match reads.cause:
        case Cause.EVICTION:
            return say("{n} were evicted for memory", n=Quantity(reads.evicted, "keys"))
        case Cause.PROBES:
            return say(
                "look-ups by EXISTS, TTL, TYPE and such, by the application or by other tools: {n} of them{without}",
                n=Quantity(reads.probes, "calls"),
                without=say("")
                if reads.without_probes is None
                else say("; without them it is up to {ratio}", ratio=Quantity(reads.without_probes, "ratio")),
            )
        case Cause.ABSENT:
            return say("cache penetration: nothing is written after the misses, so these keys do not exist")
        case Cause.EXPIRED:
            return say("the keys expire before they are read again: {n} did", n=Quantity(reads.expired, "keys"))
        case Cause.FIRST:
            return say("most misses are first reads: {n} were created", n=Quantity(reads.created, "keys"))
    return say("no cause shows in the counters")


def _cold(reads: Reads, last: RedisLoad) -> Phrase:
    if reads.cause is Cause.FLUSH:
        return say("the cache is cold: FLUSHALL or FLUSHDB came during the look")
    if reads.anew:
        return say("the cache is cold: the server had a {anew} during the look", anew=reads.anew)
    return say("the cache is cold: the server was started {up} ago", up=Quantity(last.uptime_s, "s"))


def _storm(reads: Reads) -> Phrase:
    if reads.cause is Cause.STORM:
        return say("one hot key is recomputed by many, see diag cache-stampede")
    if reads.cause is Cause.LOCK:
        return say("readers go without while one holds a lock: {n} refused", n=Quantity(reads.refused, "SET NX"))
    return say("many keys went at once, see diag cache-stampede")


def ruled_out(reads: Reads) -> Iterator[Phrase]:
    """Say what the counters speak against."""
    if reads.cause is not Cause.EVICTION:
        yield say("memory: {n} were evicted", n=Quantity(reads.evicted, "keys"))
    if reads.cause is Cause.ABSENT:
        yield say(
            "a stampede: {sets} wrote something after {misses}",
            sets=Quantity(reads.sets, "SETs"),
            misses=Quantity(reads.misses, "misses"),
        )
    if not reads.anew and reads.cause not in (Cause.COLD, Cause.FLUSH):
        yield say("a restart, a failover or a flush in this time: the counters went on, and neither command came")


def steps(reads: Reads) -> tuple[Step, ...]:
    """Return what helps, safest first."""
    return _STEPS.get(reads.cause, (_SECONDS,))


_SECONDS = Step(
    title=say("Look for half a minute, second by second"),
    risk=Risk.READ_ONLY,
    command=ShellCommand(("diag", "cache-stampede", "--samples", "30", "--interval", "1")),
    expect=say("whether the misses come all the time or in storms, and of which keys"),
)
_POOL = Step(
    title=say("Cap the readers' database pool while the cache fills"),
    risk=Risk.REVERSIBLE,
    expect=say("the ratio rises from look to look, and queries keep their usual time"),
)
_WARM = Step(
    title=say("Fill the most read families from a job, slowly"),
    risk=Risk.REVERSIBLE,
    expect=say("the ratio rises faster than by waiting"),
)
_CLIENTS = Step(
    title=say("See which client looks keys up: cmd=exists, ttl, pttl or type, and its name"),
    risk=Risk.READ_ONLY,
    command=redis_cli("CLIENT", "LIST"),
    expect=say("a monitor or a scan, not the application"),
)
_PAUSE = Step(
    title=say("Let that tool pause, or use SCAN and MEMORY USAGE, which do not count as reads"),
    risk=Risk.REVERSIBLE,
    expect=say("the ratio of the next look is the application's own"),
)
_WHOSE = Step(
    title=say("See who asks for them: the application's logs, by address and path"),
    risk=Risk.READ_ONLY,
    expect=say("a scanner, a broken link, or a job with old identifiers"),
)
_CACHE_ABSENCE = Step(
    title=say("Cache the absence for a short time, or refuse what a filter of known identifiers lacks"),
    risk=Risk.REVERSIBLE,
    expect=say("misses and database queries fall together"),
)
_LONGER = Step(
    title=say("Compare the time to live of the largest family with how often its keys are read"),
    risk=Risk.READ_ONLY,
    command=ShellCommand(("diag", "cache-stampede", "--only", "cache-stampede/expiry-cliff", "--verbose")),
    expect=say("times to live well above the time between two reads of one key"),
)
_MEMORY = Step(
    title=say("See what fills the memory"),
    risk=Risk.READ_ONLY,
    command=ShellCommand(("diag", "cache-hit", "--only", "cache-hit/evictions")),
    expect=say("the policy, and how full the memory is"),
)
_STEPS = {
    Cause.COLD: (_SECONDS, _POOL, _WARM),
    Cause.FLUSH: (_SECONDS, _POOL, _WARM),
    Cause.EVICTION: (_MEMORY,),
    Cause.PROBES: (_CLIENTS, _PAUSE),
    Cause.ABSENT: (_WHOSE, _CACHE_ABSENCE),
    Cause.EXPIRED: (_SECONDS, _LONGER),
    Cause.FIRST: (_SECONDS, _LONGER),
}
