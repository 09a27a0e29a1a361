"""What each protection would buy, against a simulation event by event that shares no formula with it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from stampede_simulator import mean
from what_ifs import bearable, drawn, held, one_key, tried

from diag.analysis.protections import (
    MeasuredStorm,
    Protection,
    forecast,
    forecasts,
    from_duplicates,
    from_fill,
    jitter_gain,
    misses_per_s,
    protection_rows,
    ranked,
)
from diag.analysis.storm_growth import recomputations

HOT = one_key(3.0, 8)
JOINT = MeasuredStorm(
    reads_per_s=5_000, recompute_s=0.02, database_workers=8, ttl_s=3_600, keys=20_000, width_s=5, poll_s=0.02
)
SOME_OF_ONE_KEY = ((0.3, 2), (1.0, 8), (3.0, 4))
SOME_DRAWN = (3, 15, 28, 32)


@pytest.mark.parametrize("protection", Protection)
@pytest.mark.parametrize(("load", "workers"), SOME_OF_ONE_KEY)
def test_each_figure_is_within_a_fifth_of_the_simulated_mean(protection, load, workers):
    assert held(tried(one_key(load, workers), protection, runs=2_000))


@pytest.mark.parametrize("protection", Protection)
@pytest.mark.parametrize("number", SOME_DRAWN)
def test_what_is_said_of_many_keys_is_within_a_fifth_of_the_simulated_mean(protection, number):
    storm = drawn(number)
    if forecast(storm, protection) and bearable(storm, protection):
        assert held(tried(storm, protection, runs=max(3, min(60, 20_000 // storm.keys))))


def test_where_chance_decides_a_bound_or_nothing_is_said():
    near = replace(JOINT, reads_per_s=20_000 * 5, keys=20_000, width_s=50)  # 0.997 of what the database can do
    today, behind_lock = forecast(near, Protection.TODAY), forecast(near, Protection.LOCK)
    assert (today.at_least, today.database_peak_queries, today.added_wait_s) == (True, None, None)
    assert (behind_lock.recomputations, behind_lock.database_peak_queries, behind_lock.added_wait_s) == (
        20_000,
        None,
        None,
    )
    rows = {one.protection: one for one in protection_rows(near)}
    assert (rows["nothing"].bound, rows["lock"].bound, rows["lock"].gain) == ("at least", "", "unknown")


def test_of_a_full_database_the_duplicates_have_a_lower_bound_only():
    today = forecast(JOINT, Protection.TODAY)
    assert today.at_least
    assert 20_000 * (1 + 0.25 * 0.02) < today.recomputations < 200_000
    assert forecast(JOINT, Protection.POOL).database_peak_queries == 8
    assert forecast(JOINT, Protection.STALE).database_peak_queries > 10_000
    assert not any(one.gain for one in forecasts(JOINT) if one.protection is Protection.EARLY_UNGATED)


def test_fewer_keys_than_were_tried_have_no_peak_and_no_wait():
    few = replace(JOINT, keys=99, reads_per_s=99)
    assert forecast(few, Protection.LOCK).database_peak_queries is None
    assert forecast(replace(few, keys=100), Protection.LOCK).database_peak_queries is not None


@pytest.mark.parametrize(("storm", "bound_s"), [(one_key(8.1, 8), 0.1 * 8 / 8.1), (one_key(1.0, 65), 0.1)])
def test_beyond_what_was_tried_one_key_has_a_bound_and_what_is_exact(storm, bound_s):
    today = forecast(storm, Protection.TODAY)
    assert (today.at_least, today.database_peak_queries, today.added_wait_s) == (True, None, None)
    assert today.recomputations == pytest.approx(recomputations(storm.reads_per_s, bound_s, storm.database_workers))
    asked = {one.protection for one in forecasts(storm)}
    assert asked.isdisjoint({Protection.XFETCH, Protection.PER_PROCESS, Protection.EARLY_PROBABILITY})
    assert forecast(storm, Protection.LOCK).gain


def test_a_lock_shorter_than_the_recompute_lets_in_as_many_as_it_runs_out():
    storm = one_key(1.0, 8, lock_ttl_s=0.04, poll_s=0.001)
    said, found = forecast(storm, Protection.LOCK), mean(storm, Protection.LOCK, runs=100)
    assert said.recomputations == 3
    assert found.figures[0] == pytest.approx(3, rel=0.05)


@pytest.mark.parametrize("load", [0.3, 1.0, 3.0, 8.0])
@pytest.mark.parametrize("workers", [2, 4, 8, 16])
def test_jitter_for_one_key_and_an_early_refresh_by_anybody_are_no_gain(load, workers):
    storm = one_key(load, workers)
    assert not forecast(storm, Protection.JITTER).gain
    assert not forecast(storm, Protection.EARLY_UNGATED).gain
    assert not forecast(storm, Protection.TODAY).gain
    none = {one.protection for one in protection_rows(storm) if one.gain == "no gain"}
    assert none >= {"jitter", "early refresh by anybody"}


def test_under_load_all_others_are_a_gain():
    gains = {one.protection for one in forecasts(HOT) if one.gain}
    assert gains == set(Protection) - {Protection.TODAY, Protection.JITTER, Protection.EARLY_UNGATED}


def test_one_hot_key_is_served_stale_first_and_many_keys_are_spread_first():
    assert ranked(HOT)[0].protection is Protection.STALE
    assert ranked(JOINT)[0].protection is Protection.JITTER
    assert Protection.JITTER not in {one.protection for one in ranked(HOT)}


def test_what_is_not_known_is_left_out():
    asked = {one.protection for one in forecasts(replace(HOT, ttl_s=None, processes=None))}
    assert set(Protection) - asked == {Protection.EARLY_LOCK, Protection.EARLY_PROBABILITY, Protection.PER_PROCESS}
    assert Protection.JITTER not in {one.protection for one in forecasts(replace(JOINT, ttl_s=None))}


def test_a_storm_of_a_second_tells_how_loaded_the_database_is():
    # from a run on a real Redis with a simulated database: 300 reads/s, 0.12 s, 8 workers; 285 recomputations
    found = from_duplicates(300, 285, 8)
    assert found.recompute_s == pytest.approx(0.12, rel=0.05)
    assert found.load == pytest.approx(4.5, rel=0.05)
    assert from_fill(300, 284 / 300, 8) == found
    assert from_duplicates(300, 1, 8) is None


@given(load=st.floats(0.3, 12), workers=st.integers(1, 64), rate=st.floats(1, 10_000))
@settings(deadline=None, max_examples=20)
def test_what_was_made_of_a_load_gives_the_load_back(load, workers, rate):
    made = recomputations(rate, load * workers / rate, workers)
    found = from_duplicates(rate, made, workers)
    assert found is None if made < 2 else found.load == pytest.approx(load, rel=1e-6)


AT_THE_EDGES = (
    MeasuredStorm(reads_per_s=0, recompute_s=1, database_workers=1, ttl_s=60, processes=4),
    MeasuredStorm(reads_per_s=1e-300, recompute_s=100, database_workers=200, ttl_s=1, processes=4),
    MeasuredStorm(reads_per_s=1e5, recompute_s=100, database_workers=48, ttl_s=1e6, lock_ttl_s=0.01),
    MeasuredStorm(reads_per_s=1e5, recompute_s=1e-4, database_workers=200, ttl_s=1, processes=500),
    MeasuredStorm(reads_per_s=0, recompute_s=1, database_workers=1, ttl_s=60, keys=100, width_s=5),
    MeasuredStorm(reads_per_s=1e5, recompute_s=1e-4, database_workers=2, ttl_s=60, keys=900, width_s=60, lock_ttl_s=1),
)


@pytest.mark.parametrize("storm", AT_THE_EDGES)
def test_nothing_that_can_be_measured_makes_it_stumble(storm):
    for one in forecasts(storm):
        assert one.recomputations >= (0.99 if storm.keys == 1 else 0)
        assert one.added_wait_s is None or one.added_wait_s >= 0
        assert one.database_peak_queries is None or one.database_peak_queries >= 0.99 * (storm.reads_per_s > 0)
    assert len(ranked(storm)) < len(protection_rows(storm))


def test_misses_a_second_and_what_jitter_takes_off_them():
    assert misses_per_s(108_000, 2.0) == 54_000
    assert misses_per_s(500, 0.0) == 500
    assert jitter_gain(3_600, 5) == pytest.approx(288)
    assert jitter_gain(1, 5) == 1
