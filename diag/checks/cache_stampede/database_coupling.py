"""Misses of the cache run the database's load: how many queries each, what share of the extra load, who was first.

A storm of misses matters by what it does behind the cache. Where the database does not feel it, or is busy
without it, the cache is not what to look at.

Facts    hits, misses and queries as Prometheus scraped them, else INFO and pg_stat_database, second by second
Units    queries (transactions where statements are not counted); ratio 0 to 1; s, no finer than both steps
Source   extra over usual, storm by storm; cross-correlation of the differences: analysis/coupling.py
Blind    misses that come evenly cost queries too; both clocks are taken as one where Prometheus is not asked
"""

from collections.abc import Iterator

from msgspec import Struct

from diag.analysis.coupling import Order, coupling, slower_before_s
from diag.checks.cache_stampede._counters import counted
from diag.checks.cache_stampede._coupling_words import evidence_of, order_words, ruled_out_for, steps_for
from diag.findings import Basis, Check, Finding, Phrase, Quantity, Severity, Subject, say
from diag.snapshots.base import Window
from diag.snapshots.postgres import PgThroughput
from diag.snapshots.prometheus import CacheHistory
from diag.snapshots.redis import RedisLoad


class Facts(Struct, frozen=True, kw_only=True):
    """Both sides: as they are, and as Prometheus recorded them."""

    load: Window[RedisLoad]
    history: CacheHistory | None = None
    throughput: Window[PgThroughput] | None = None


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When misses explain what the database does."""

    explained_share: float = 0.5  # less, and most of its load comes from elsewhere
    together: float = 0.5  # correlation around the storms: without it, one happened beside the other
    extra_per_s: float = 50.0  # queries beyond the usual: a small database does hundreds
    critical_per_s: float = 1_000.0  # half of what a mid-size database does in a second, at 2 000
    readings: int = 20  # a storm of ten seconds and as much beside it, each second


def judge(facts: Facts, limits: Limits) -> Iterator[Finding]:
    """Find out whether misses explain the extra load of the database."""
    both = counted(facts.load, facts.history, facts.throughput)
    found = coupling(both.misses, both.hits, both.queries) if both and both.readings >= limits.readings else None
    if both is None or found is None or found.together < limits.together:
        return
    if found.explained_share < limits.explained_share or found.extra_per_s < limits.extra_per_s:
        return
    slower_s = slower_before_s(both.misses, both.hits, both.queries, both.active)
    order = Order.DATABASE if (slower_s or 0.0) > found.resolution_s else found.order
    yield Finding(
        severity=Severity.CRITICAL if found.extra_per_s >= limits.critical_per_s else Severity.WARNING,
        basis=Basis.DERIVED,
        subject=Subject(),
        summary=say(
            "{share} of the database's extra load comes with misses: up to {rate} a second, {each} a miss; {order}",
            share=Quantity(found.explained_share, "ratio"),
            rate=Quantity(round(found.extra_per_s), "queries"),
            each=Quantity(round(found.queries_per_miss, 2), "queries"),
            order=order_words(order),
        ),
        evidence=tuple(evidence_of(found, both, order, slower_s)),
        ruled_out=ruled_out_for(found),
        steps=steps_for(order),
    )


def _too_little(facts: Facts, limits: Limits) -> Phrase | None:
    both = counted(facts.load, facts.history, facts.throughput)
    if both is None and facts.history and facts.history.lacks("misses"):
        return None
    if both is None:
        return say("needs both sides: Prometheus with the database's counters, or --dsn --samples 60 --interval 1")
    return say("needs {n} readings of both sides", n=limits.readings) if both.readings < limits.readings else None


CHECK = Check(
    title="Misses behind the database's load",
    facts=Facts,
    needs=("misses",),
    limits=Limits(),
    judge=judge,
    too_little=_too_little,
)
