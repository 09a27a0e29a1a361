"""The proof of cache-stampede/database-coupling: what misses cost is measured, what they do not cost is not told."""

from __future__ import annotations

import random

import pytest
from cache_past import BEGIN_S, Habits, Struck, past, poisson, queried
from worlds import NOW, cache_history, gap, judged, pg_throughput, redis_load

from diag.analysis.coupling import Order
from diag.findings import Outcome, Severity

SLUG = "cache-stampede/database-coupling"
READS = 1_000.0
SPAN_S = 3_600.0
IRREGULAR = (420.0, 1_130.0, 2_290.0, 2_900.0)


def storms(*after_s: float, share: float = 0.9, length_s: float = 12.0):
    return [Struck(at_s=BEGIN_S + at_s, length_s=length_s, share=share) for at_s in after_s]


def recorded(struck, *, per_miss=1.0, step_s=15.0, span_s=SPAN_S, **database):
    chance = random.Random(1)
    told = past(chance, Habits(reads_per_s=READS, miss_ratio=0.01), struck, step_s=step_s, span_s=span_s)
    sides = {"per_miss": per_miss, "step_s": step_s, "span_s": span_s, **database}
    asked = queried(chance, struck, reads_per_s=READS, **sides)
    return cache_history(at_s=told.at_s, hits=told.hits, misses=told.misses, queries=asked)


def said(found):
    return {one.name: one.value for one in found.evidence}


UNDECIDED, MISSES, DATABASE = Order.UNDECIDED, Order.MISSES, Order.DATABASE
FOUR = storms(*IRREGULAR)
ELSEWHEN = storms(800, 1_700, 2_600, 3_300, share=2_000.0, length_s=30.0)
WORLDS = {
    "nothing happens on either side": (recorded([]), []),
    "each miss is a query": (recorded(FOUR), [(Severity.WARNING, 1.0, UNDECIDED)]),
    "each miss is three queries": (recorded(FOUR, per_miss=3.0), [(Severity.CRITICAL, 3.0, UNDECIDED)]),
    "a dip without effect on the database": (recorded(FOUR, per_miss=0.0), []),
    "a batch job without a dip": (recorded([], jobs=ELSEWHEN), []),
    "a batch job, and dips at other times without effect": (recorded(FOUR, per_miss=0.0, jobs=ELSEWHEN), []),
    "dips explain less than half of what the job does not": (recorded(FOUR, jobs=ELSEWHEN), []),
    "they explain more than half of it": (
        recorded(FOUR, per_miss=2.0, jobs=storms(1_700, share=400.0, length_s=30.0)),
        [(Severity.CRITICAL, 2.0, UNDECIDED)],
    ),
    "just under fifty queries a second more": (recorded(FOUR, per_miss=0.06, usual_per_s=20.0), []),
    "fifty queries a second more": (
        recorded(FOUR, per_miss=0.12, usual_per_s=20.0),
        [(Severity.WARNING, 0.12, UNDECIDED)],
    ),
    "queries come half a minute later, second by second": (
        recorded(storms(100, 300, 500), step_s=1.0, span_s=600.0, later_s=25.0),
        [(Severity.WARNING, 1.0, MISSES)],
    ),
    "two seconds later is within what PostgreSQL reports late": (
        recorded(storms(100, 300, 500), step_s=1.0, span_s=600.0, later_s=2.0),
        [(Severity.WARNING, 1.0, UNDECIDED)],
    ),
    "the database is busy five seconds before the misses": (
        recorded(storms(100, 300, 500), step_s=1.0, span_s=600.0, later_s=-5.0),
        [(Severity.WARNING, pytest.approx(1.0, rel=0.35), DATABASE)],
    ),
    "five seconds before, at 15 s": (recorded(FOUR, later_s=-5.0), [(Severity.WARNING, 1.0, UNDECIDED)]),
}


@pytest.mark.parametrize(("world", "told"), WORLDS.values(), ids=WORLDS.keys())
def test_what_it_says_of(world, told):
    findings, outcome = judged(SLUG, redis_load(), world)
    assert [
        (found.severity, pytest.approx(said(found)["queries a miss"].value, rel=0.1), said(found)["order"])
        for found in findings
    ] == told
    assert outcome.outcome is (Outcome.FOUND if told else Outcome.CLEAR)


def live(*, slow_from_s: float | None = None, seed: int = 1):
    """A minute of one storm from second 30 on, seen each second on both servers; each miss is a query."""
    chance = random.Random(seed)
    missed = asked = active = 0.0
    hits = 5e6
    frames = []
    for second in range(61):
        frames.append(redis_load(after_s=second, keyspace_hits=int(hits), keyspace_misses=int(missed)))
        frames.append(pg_throughput(int(asked), after_s=second + 0.3, reset_at=NOW, active_s=active))
        struck = 30 <= second < 42
        lost = poisson(chance, 360 if struck else 4)
        missed, hits = missed + lost, hits + 400 - lost
        queries = poisson(chance, 200) + lost
        asked += queries
        active += queries * (0.05 if slow_from_s is not None and second >= slow_from_s else 0.004)
    return frames


def test_live_it_is_seen_second_by_second():
    (found,), _ = judged(SLUG, *live())
    assert said(found)["queries a miss"].value == pytest.approx(1.0, rel=0.1)
    assert said(found)["order"] is UNDECIDED


def test_a_database_that_was_slow_before_the_misses_is_where_to_look():
    (found,), _ = judged(SLUG, *live(slow_from_s=20.0))
    assert said(found)["order"] is DATABASE
    assert said(found)["statements slower before the misses by"].value == pytest.approx(10, abs=2)
    assert found.steps[0].command.argv == ("diag", "pg-locks")


def test_twenty_readings_are_enough_and_nineteen_are_not():
    assert judged(SLUG, *live()[:40])[1].outcome is Outcome.CLEAR
    _, outcome = judged(SLUG, *live()[:38])
    assert outcome.outcome is Outcome.SKIPPED


def test_without_the_other_side_it_is_skipped_and_says_what_would_help():
    _, outcome = judged(SLUG, redis_load(), redis_load(after_s=2.0))
    assert outcome.outcome is Outcome.SKIPPED
    assert outcome.because is not None
    assert "--dsn" in outcome.because.template


def test_a_gap_in_what_it_needs_is_unknown():
    findings, outcome = judged(SLUG, redis_load(), cache_history(gaps=(gap("misses"),)))
    assert (findings, outcome.outcome) == ([], Outcome.UNKNOWN)
