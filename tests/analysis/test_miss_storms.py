"""Storms of misses on generated pasts: a tenth of what the proof tries (tests/proof/test_storms.py)."""

from __future__ import annotations

import random

import pytest
from cache_past import BEGIN_S, DAY_S, Habits, Struck, past
from storm_trials import both, quiet_trial, storm_trial

from diag.analysis.increments import increments
from diag.analysis.miss_storms import storms


@pytest.mark.parametrize("step_s", [1.0, 15.0])
def test_of_a_hundred_storms_one_may_be_missed_and_each_start_is_within_a_step(step_s):
    trials = [storm_trial(step_s, seed) for seed in range(100)]
    assert sum(trial["found"] for trial in trials) >= 99
    assert max(trial["off_steps"] for trial in trials if trial["found"]) <= 1
    assert sum(trial["stray"] for trial in trials) == 0


@pytest.mark.parametrize(("step_s", "span_s", "count"), [(15.0, DAY_S, 14), (1.0, DAY_S / 8, 6)])
def test_quiet_traffic_raises_no_alarm(step_s, span_s, count):
    assert sum(quiet_trial(step_s, seed, span_s)["alarms"] for seed in range(count)) == 0


def found(struck, *, usual=Habits(), span_s=900.0, step_s=1.0):  # noqa: B008  frozen
    return storms(*both(past(random.Random(5), usual, struck, step_s=step_s, span_s=span_s)))


def test_depth_length_and_misses_are_those_of_the_storm():
    (one,) = found([Struck(at_s=BEGIN_S + 400, length_s=12, share=0.8)])
    assert one.extra_misses == pytest.approx(2_000 * 0.99 * 0.8 * 12, rel=0.03)
    assert one.depth_ratio == pytest.approx(0.79, abs=0.03)
    assert one.ends_s - one.starts_s == pytest.approx(12, abs=0.5)
    assert one.centre_s == pytest.approx(BEGIN_S + 406, abs=0.5)


def test_a_few_misses_are_silent_however_rare_they_are():
    few = Habits(reads_per_s=5.0, miss_ratio=0.001)
    assert found([Struck(at_s=BEGIN_S + 400, length_s=9, share=1.0)], usual=few) == ()
    assert len(found([Struck(at_s=BEGIN_S + 400, length_s=30, share=1.0)], usual=few)) == 1


def test_a_single_odd_second_is_one_slow_reading():
    at_s = list(range(300))
    misses = [10 * at + (500 if at > 150 else 0) for at in at_s]
    assert storms(increments(at_s, misses), None) == ()


def test_a_scrape_that_was_missed_makes_no_storm():
    told = past(random.Random(1), Habits(), [], span_s=7_200)
    kept = [place for place in range(len(told.at_s)) if not 200 <= place < 203]
    sides = ([values[place] for place in kept] for values in (told.at_s, told.misses, told.hits))
    at_s, misses, hits = sides
    assert storms(increments(at_s, misses), increments(at_s, hits)) == ()


def test_misses_after_a_restart_are_known_to_be_those_of_a_cold_cache():
    told = past(random.Random(1), Habits(), [Struck(at_s=BEGIN_S + 3_000, length_s=60, share=0.9, fades=True)])
    restart = next(place for place, at in enumerate(told.at_s) if at > BEGIN_S + 3_000)
    lost = told.misses[restart - 1]
    misses = [total if place < restart else total - lost for place, total in enumerate(told.misses)]
    (one,) = storms(increments(told.at_s, misses), increments(told.at_s, told.hits))
    assert one.cold


def test_without_hits_a_storm_shows_by_the_misses_alone():
    misses, _ = both(past(random.Random(2), Habits(), [Struck(at_s=BEGIN_S + 1_800, length_s=12, share=0.9)]))
    (one,) = storms(misses, None)
    assert (one.depth_ratio, one.reads_per_s) == (None, None)
