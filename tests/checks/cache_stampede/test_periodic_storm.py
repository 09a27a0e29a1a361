"""The proof of cache-stampede/periodic-storm: a rhythm is told with its error and its clock, and chance is not."""

from __future__ import annotations

import random
from datetime import UTC, datetime

import pytest
from cache_past import BEGIN_S, HOUR_S, Habits, Struck, past
from worlds import cache_history, gap, judged, redis_load

from diag.analysis.recurrence import Winder
from diag.findings import Outcome, Severity

SLUG = "cache-stampede/periodic-storm"
USUAL = Habits(reads_per_s=300.0, miss_ratio=0.02, wobble=0.1, daily=0.2)


def every(period_s: float, count: int, *, first_s: float = 900.0, length_s: float = 12.0, share: float = 0.9):
    return [Struck(at_s=BEGIN_S + first_s + n * period_s, length_s=length_s, share=share) for n in range(count)]


def recorded(*storms: Struck, span_s: float, step_s: float = 15.0, usual: Habits = USUAL, seed: int = 1):
    """Prometheus' account of a past that goes on to `span_s`."""
    told = past(random.Random(seed), usual, storms, step_s=step_s, span_s=span_s)
    return cache_history(at_s=told.at_s, hits=told.hits, misses=told.misses)


def at_random(count: int, span_s: float, seed: int):
    chance = random.Random(seed)
    return [Struck(at_s=BEGIN_S + chance.uniform(60, span_s - 60), length_s=12, share=0.9) for _ in range(count)]


def said(found):
    return {one.name: one.value for one in found.evidence}


TTL, CLOCK, NEITHER = Winder.TTL, Winder.CLOCK, Winder.UNDECIDED
BUSY = Habits(reads_per_s=1_200.0, miss_ratio=0.02)
WORLDS = {
    "a quiet day": (recorded(span_s=24 * HOUR_S), []),
    "five storms are no rhythm yet": (recorded(*every(3_612, 5), span_s=6 * HOUR_S), []),
    "six storms of one key with a time to live of an hour": (
        recorded(*every(3_612, 6), span_s=7 * HOUR_S),
        [(Severity.WARNING, 3_612, TTL)],
    ),
    "six storms of a job on the hour": (
        recorded(*every(3_600, 6, first_s=HOUR_S), span_s=8 * HOUR_S),
        [(Severity.WARNING, 3_600, CLOCK)],
    ),
    "a rhythm without drift that keeps to no round time": (
        recorded(*every(3_600, 6, first_s=1_500, length_s=2.0), span_s=7 * HOUR_S),
        [(Severity.WARNING, 3_600, NEITHER)],
    ),
    "a drift that is not the length of the storm is no time to live": (
        recorded(*every(3_612, 6, length_s=60), span_s=7 * HOUR_S),
        [(Severity.WARNING, 3_612, NEITHER)],
    ),
    "two storms beside the rhythm": (
        recorded(*every(3_612, 6), *at_random(2, 7 * HOUR_S, seed=4), span_s=7 * HOUR_S),
        [(Severity.WARNING, 3_612, TTL)],
    ),
    "ten storms that know nothing of each other": (recorded(*at_random(10, 8 * HOUR_S, seed=2), span_s=8 * HOUR_S), []),
    "a rhythm that has ended": (recorded(*every(3_612, 6), span_s=9 * HOUR_S), []),
    "just under a thousand misses a second": (
        recorded(*every(3_630, 6, length_s=30, share=0.8), span_s=7 * HOUR_S, usual=BUSY),
        [(Severity.WARNING, 3_630, TTL)],
    ),
    "a thousand misses a second and more": (
        recorded(*every(3_630, 6, length_s=30), span_s=7 * HOUR_S, usual=BUSY),
        [(Severity.CRITICAL, 3_630, TTL)],
    ),
}


@pytest.mark.parametrize(("world", "told"), WORLDS.values(), ids=WORLDS.keys())
def test_what_it_says_of(world, told):
    findings, outcome = judged(SLUG, redis_load(), world)
    assert [(found.severity, round(said(found)["period"].value), said(found)["wound by"]) for found in findings] == told
    assert outcome.outcome is (Outcome.FOUND if told else Outcome.CLEAR)


def test_the_next_storm_is_foreseen_to_a_scrape():
    (found,), _ = judged(SLUG, redis_load(), recorded(*every(3_612, 6), span_s=6 * HOUR_S))
    begins = BEGIN_S + 900 + 6 * 3_612
    assert abs(found.summary.values["next"].timestamp() - begins) <= 15
    assert found.summary.values["next"] > datetime.fromtimestamp(begins - HOUR_S, UTC)


def test_for_a_clock_one_looks_for_the_job_and_for_a_time_to_live_one_locks():
    (clock,), _ = judged(SLUG, redis_load(), WORLDS["six storms of a job on the hour"][0])
    (ttl,), _ = judged(SLUG, redis_load(), WORLDS["six storms of one key with a time to live of an hour"][0])
    assert "job" in clock.steps[0].title.template
    assert not [step for step in clock.steps if "SET NX" in step.title.template]
    assert [step for step in ttl.steps if "SET NX" in step.title.template]
    assert abs(said(ttl)["period less time to live"].value - 12) < 3


def test_a_long_look_of_its_own_will_do():
    told = past(random.Random(3), USUAL, every(312, 8, first_s=100), step_s=5.0, span_s=2_600)
    frames = [
        redis_load(after_s=at_s - told.at_s[0], keyspace_hits=int(hits), keyspace_misses=int(misses))
        for at_s, hits, misses in zip(told.at_s, told.hits, told.misses, strict=True)
    ]
    (found,), _ = judged(SLUG, *frames)
    assert said(found)["period"].value == pytest.approx(312, abs=1)
    assert said(found)["wound by"] is TTL
    findings, outcome = judged(SLUG, *frames[:100])
    assert (findings, outcome.outcome) == ([], Outcome.SKIPPED)


@pytest.mark.parametrize(("span_s", "outcome"), [(585.0, Outcome.SKIPPED), (600.0, Outcome.CLEAR)])
def test_too_short_a_past_is_said_to_be_so(span_s, outcome):
    _, ended = judged(SLUG, redis_load(), recorded(span_s=span_s))
    assert ended.outcome is outcome


def test_without_prometheus_it_is_skipped_and_says_what_would_help():
    findings, outcome = judged(SLUG, redis_load(), redis_load(after_s=2.0))
    assert (findings, outcome.outcome) == ([], Outcome.SKIPPED)
    assert outcome.because is not None
    assert "--prometheus-url" in outcome.because.template


def test_a_gap_in_what_it_needs_is_unknown():
    findings, outcome = judged(SLUG, redis_load(), cache_history(gaps=(gap("misses"),)))
    assert (findings, outcome.outcome) == ([], Outcome.UNKNOWN)
