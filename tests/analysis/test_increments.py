"""What a counter grew by: restarts, odd clocks, other steps."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import NOW, pg_throughput, redis_load

from diag.analysis.increments import increments, load_increments, series_increments, throughput_increments
from diag.snapshots.base import Window
from diag.snapshots.prometheus import CounterSeries
from diag.text import ServerText


def test_each_step_has_what_came_in_it():
    grown = increments([0, 15, 30], [100, 160, 160])
    assert (grown.amounts, grown.sums, grown.step_s, grown.span_s) == ((60, 0), (0.0, 60.0, 60.0), 15, 30)


def test_a_counter_that_began_anew_has_grown_by_what_it_shows_at_least():
    grown = increments([0, 1, 2], [100, 7, 9])
    assert (grown.amounts, grown.began_anew) == ((7, 2), {0})


def test_another_run_began_anew_even_where_the_total_is_higher():
    frames = tuple(redis_load(after_s=at, run_id=run, keyspace_misses=n) for at, run, n in [(0, "a", 5), (1, "b", 50)])
    grown = load_increments(Window(frames=frames), lambda load: load.keyspace_misses)
    assert (grown.amounts, grown.began_anew) == ((50,), {0})


def test_a_reset_of_the_statistics_began_anew():
    frames = (pg_throughput(90), pg_throughput(100, after_s=1, reset_at=NOW))
    grown = throughput_increments(Window(frames=frames), lambda frame: frame.transactions)
    assert (grown.amounts, grown.began_anew) == ((100,), {0})


@pytest.mark.parametrize("odd", [1.0, 0.5, math.nan, math.inf])
def test_readings_out_of_order_or_without_a_moment_are_left_out(odd):
    assert increments([0, 1, odd, 2], [0, 10, 15, 30]).amounts == (10, 20)


def test_a_series_of_one_sample_has_not_grown():
    assert series_increments(None) is None
    assert series_increments(CounterSeries(metric=ServerText("m"), at_s=(1.0,), totals=(5.0,))) is None


@given(st.lists(st.tuples(st.floats(0.1, 60), st.integers(0, 10**6)), min_size=2, max_size=30), st.integers(2, 40))
def test_other_steps_hold_the_same_growth(steps, count):
    at_s, totals = [0.0], [0.0]
    for length, amount in steps:
        at_s.append(at_s[-1] + length)
        totals.append(totals[-1] + amount)
    grown = increments(at_s, totals)
    edges = [at_s[-1] * place / count for place in range(count)] + [at_s[-1]]
    assert sum(grown.on(edges).amounts) == pytest.approx(totals[-1])
    assert grown.between(at_s[0], at_s[1]) == pytest.approx(steps[0][1])
