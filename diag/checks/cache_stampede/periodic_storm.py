"""Storms of misses that come back at even intervals: how often, when next, and what winds the clock.

The cure depends on the clock. Where a time to live runs out, the last duplicate write restarts it, so the
storms come later each time; a job on the clock keeps its minute, whatever the time to live is.

Facts    hits and misses as Prometheus scraped them, else INFO over a long look or a recorded one
Units    s, each with its standard error; misses beyond what the traffic lets expect
Source   robust storms, least squares, binomial tail: analysis/miss_storms.py, analysis/recurrence.py
Blind    fewer than six storms; EXPIREAT at a round time, or a job that sleeps between its runs, look like the other
"""

from collections.abc import Iterator

from msgspec import Struct

from diag.analysis.miss_storms import storms
from diag.analysis.recurrence import cause, recurrence
from diag.checks.cache_stampede._counters import reads
from diag.checks.cache_stampede._period_words import evidence_of, instant, ruled_out_for, steps_for, why
from diag.findings import Basis, Check, Finding, Phrase, Quantity, Severity, Subject, say
from diag.snapshots.base import Window
from diag.snapshots.prometheus import CacheHistory
from diag.snapshots.redis import RedisLoad


class Facts(Struct, frozen=True, kw_only=True):
    """The cache's counters: as they are, and as Prometheus recorded them."""

    load: Window[RedisLoad]
    history: CacheHistory | None = None


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a rhythm is an incident."""

    span_s: float = 600.0  # six storms of the shortest jobs, run every minute or two
    critical_per_s: float = 1_000.0  # misses: half of what a mid-size database does in a second, at 2 000
    over_periods: float = 2.5  # so long without a storm, and it is a matter of the past


def judge(facts: Facts, limits: Limits) -> Iterator[Finding]:
    """Find a period among the storms."""
    read = reads(facts.load, facts.history)
    if read.misses.span_s < limits.span_s:
        return
    found = recurrence(storms(read.misses, read.hits), read.misses.step_s)
    if found is None or read.now_s - found.storms[-1].ends_s >= limits.over_periods * found.period_s:
        return
    winder, following = cause(found, None), found.next_start_s(read.now_s)
    peak_per_s = max(storm.peak_per_s for storm in found.storms)
    yield Finding(
        severity=Severity.CRITICAL if peak_per_s >= limits.critical_per_s else Severity.WARNING,
        basis=Basis.DERIVED,
        subject=Subject(),
        summary=say(
            "{n} storms of misses, one every {period} (± {error} s); the next begins at {next}; {why}",
            n=len(found.storms),
            period=Quantity(round(found.period_s, 1), "seconds"),
            error=round(found.period_error_s, 1),
            next=instant(following[0]),
            why=why(winder),
        ),
        evidence=tuple(evidence_of(found, winder, following, peak_per_s, read.words)),
        ruled_out=ruled_out_for(found, winder),
        steps=steps_for(found, winder),
    )


def _too_little(facts: Facts, limits: Limits) -> Phrase | None:
    unread = facts.history is not None and facts.history.lacks("misses") is not None
    if unread or reads(facts.load, facts.history).misses.span_s >= limits.span_s:
        return None
    return say("needs Prometheus (--prometheus-url, --history 6h), or evidence of ten minutes and more")


CHECK = Check(
    title="Storms of misses that come back",
    facts=Facts,
    needs=("misses",),
    limits=Limits(),
    judge=judge,
    too_little=_too_little,
)
