"""Periods of storms on generated pasts: a tenth of what the proof tries (tests/proof/test_storms.py)."""

from __future__ import annotations

import random
import time

import pytest
from cache_past import BEGIN_S, DAY_S, Habits, Struck, past
from msgspec.structs import replace
from storm_trials import event, null_trial, period_trial

from diag.analysis.increments import increments
from diag.analysis.miss_storms import storms
from diag.analysis.recurrence import Winder, cause, recurrence


@pytest.mark.parametrize("kind", ["ttl", "known", "clock", "foreign"])
def test_six_storms_tell_period_and_cause(kind):
    trials = [period_trial(kind, seed) for seed in range(25)]
    assert sum(trial["right"] for trial in trials) >= 24
    assert max(abs(trial["off_s"]) for trial in trials if trial["right"]) < 2


def test_four_storms_never_do():
    assert not any(period_trial("ttl", seed, count=4)["right"] for seed in range(25))


def test_a_hundred_days_of_unrelated_storms_have_no_rhythm():
    assert sum(null_trial(seed)["rhythm"] for seed in range(100)) == 0


def test_a_day_of_scrapes_takes_less_than_fifty_milliseconds():
    struck = [Struck(at_s=BEGIN_S + 900 + n * 3_612, length_s=12, share=0.9) for n in range(23)]
    told = past(random.Random(1), Habits(reads_per_s=300.0, miss_ratio=0.02), struck, span_s=DAY_S)
    took = []
    for _ in range(5):
        begun = time.process_time()
        assert recurrence(storms(increments(told.at_s, told.misses), increments(told.at_s, told.hits)), 15.0)
        took.append(time.process_time() - begun)
    assert min(took) < 0.050


def regular(period_s, count=8, first_s=900.0):
    return [event(BEGIN_S + first_s + n * period_s) for n in range(count)]


def test_where_the_error_is_wider_than_the_drift_nothing_is_decided():
    found = recurrence(regular(3_601.5, count=6), 15.0)
    assert found is not None
    assert cause(found, 3_600.0).winder is Winder.UNDECIDED


def test_the_next_start_comes_with_its_error():
    found = recurrence(regular(3_612), 15.0)
    assert found is not None
    now_s = BEGIN_S + 900 + 9 * 3_612
    next_s, error_s = found.next_start_s(now_s)
    assert next_s > now_s
    assert next_s == pytest.approx(now_s + 3_612 - 6, abs=10)
    assert 0 < error_s < 10


def test_storms_of_a_cold_cache_are_no_part_of_a_rhythm():
    assert recurrence([replace(one, cold=True) for one in regular(3_612)], 15.0) is None


def test_one_storm_that_was_missed_leaves_the_period():
    storms_ = regular(3_612)
    found = recurrence([*storms_[:3], *storms_[4:]], 15.0)
    assert found is not None
    assert found.period_s == pytest.approx(3_612, abs=0.1)


def test_a_week_of_two_rhythms_is_within_what_can_be_reckoned():
    """Chance is summed in logarithms: binomial coefficients of two thousand storms are no floating-point numbers."""
    chance = random.Random(2)
    moments = [turn * 600.0 + late_s for turn in range(1_008) for late_s in (0.0, chance.uniform(60, 540))]
    many = [event(at_s) for at_s in sorted(moments)]
    assert recurrence(many, 15.0) is not None
