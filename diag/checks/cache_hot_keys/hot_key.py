"""One key takes a large part of all accesses, so that one thread, link or node carries it alone.

Under an LFU policy the server keeps a counter for every key. Without one, only keys that it names by itself
are seen: missed ones where its keyspace events carry `m`, changed ones under the prefix of --match.

Facts    OBJECT FREQ of a random sample of keys; INFO over a window; keymiss events; CLIENT TRACKING (BCAST)
Units    accesses a second, from the logarithmic counter; ratio = share of the reads or commands of the window
Source   redis.conf (lfu-log-factor, lfu-decay-time); redis.io, "Key eviction", "Redis keyspace notifications"
Blind    in a large database a single key is seldom drawn: the gap says how seldom; who reads it; other nodes;
         in the first minutes of keys or policy other counters still climb, and a share comes out too high
"""

from collections.abc import Iterator

from msgspec import Struct

from diag.analysis.key_use import held_per_s, hot_by_counter, median_counter, named, scale_of
from diag.checks.cache_hot_keys._hot_words import by_counter, by_name, unanswerable
from diag.findings import Basis, Check, Finding, Severity
from diag.snapshots.base import Window
from diag.snapshots.redis import RedisKeys, RedisLoad


class Facts(Struct, frozen=True, kw_only=True):
    """The counters of keys, and the traffic they are a part of."""

    keys: RedisKeys
    load: Window[RedisLoad]


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a key is hotter than its server should bear."""

    share_ratio: float = 0.1  # of all accesses: among a thousand keys used alike it would be a thousandth
    times_median: float = 10.0  # of the median key's: keys used alike differ by chance, not so much
    per_s: float = 10.0  # accesses: fewer are no load for any server, whatever their share
    critical_per_s: float = 10_000.0  # a tenth of what one thread of Redis does, and no node can be added for it
    most: int = 5  # findings: with five at a tenth each, half of the traffic is named


def judge(facts: Facts, limits: Limits) -> Iterator[Finding]:
    """Find keys that take a large part of the accesses, or of what the server names by itself."""
    usual_per_s, said = held_per_s(median_counter(facts.keys), scale_of(facts.keys)), set()
    for hot in hot_by_counter(facts.keys, facts.load)[: limits.most]:
        if hot.share >= limits.share_ratio and hot.per_s >= max(limits.per_s, limits.times_median * usual_per_s):
            said.add(hot.key)
            yield by_counter(hot, facts.keys, facts.load, _severity(hot.per_s, limits), Basis.DERIVED)
    for changed in (False, True):
        for one in named(facts.load, changed=changed):
            if one.key not in said and one.share >= limits.share_ratio and one.per_s >= limits.per_s:
                said.add(one.key)
                yield by_name(one, _severity(one.per_s, limits), changed=changed)


def _severity(per_s: float, limits: Limits) -> Severity:
    return Severity.CRITICAL if per_s >= limits.critical_per_s else Severity.WARNING


CHECK = Check(
    title="Keys used far more than others",
    facts=Facts,
    needs=("frequencies",),
    too_little=lambda facts, _: unanswerable(facts.keys, facts.load),
    limits=Limits(),
    judge=judge,
)
