"""Lag of the past against pasts whose truth is known record by record: series, onset, period, origin."""

from __future__ import annotations

import random
from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kafka_past import BEGIN_S, SPAN_S, Truth, bursts, past, pauses, remembered, steadily
from kafka_worlds import history
from msgspec.structs import replace
from worlds import NOW

from diag.analysis.lag_history import extremes, history_rows, lag_series, stretches
from diag.analysis.waves import onset, period, waves

ODD_S = 3_596.3  # so that the instants of the history fall between the seconds of the past


def second(at):
    return at.timestamp() - BEGIN_S


def only(found):
    (one,) = found
    return one


def series_of(moments, **more):
    return only(lag_series(remembered(moments, **more)))


TO_A_STEP_S = 10.0  # a burst within one step is spread over it
PASTS = {
    "steady": past(steadily(10), steadily(20)),
    "bursts": past(bursts(300, 30, 60, 2), steadily(10)),
    "pauses": past(steadily(10), pauses(240, 90, 20)),
    "stopped": past(steadily(10), lambda at_s: 20 if at_s < 2_000 else 0),
    "idle": past(steadily(0), steadily(10)),
}


@pytest.mark.parametrize("moments", PASTS.values(), ids=PASTS)
def test_the_lag_of_every_instant_is_that_of_the_records(moments):
    series, truth = series_of(moments, since_s=ODD_S), Truth(moments)
    for place in range(12, len(series.lag_records)):
        records, late_s = truth.lag(series.at(place).timestamp())
        assert series.lag_records[place] == pytest.approx(records, abs=1.0)
        assert series.lag_s[place] == pytest.approx(late_s, abs=TO_A_STEP_S)


def test_partitions_are_added_up_and_the_latest_counts():
    both = only(lag_series(remembered(PASTS["stopped"], PASTS["steady"])))
    alone = series_of(PASTS["stopped"])
    assert both.partitions == 2
    assert both.lag_records[-1] - alone.lag_records[-1] == pytest.approx(Truth(PASTS["steady"]).lag(NOW.timestamp())[0])
    assert both.lag_s[-1] == alone.lag_s[-1]


def test_before_the_first_known_commit_lag_is_not_overstated():
    marks = {"committed": {0: [(-600, 900)]}, "produced": {0: [(-3_600, 0), (0, 1_000)]}}
    series = only(lag_series(history(**marks)))
    assert series.lag_records[:5] == (0,) * 5
    assert series.lag_records[-1] == 100


def test_where_the_log_of_commits_does_not_reach_back_nothing_is_claimed():
    told = history(committed={0: [(-600, 900)]}, produced={0: [(-3_600, 0), (0, 1_000)]})
    cut = replace(told, committed=tuple(replace(curve, whole=False) for curve in told.committed))
    assert only(lag_series(cut)).begins_at >= NOW - timedelta(seconds=600)


def test_seconds_are_unknown_where_the_next_record_is_older_than_the_curve():
    told = history(committed={0: [(-3_600, 100)]}, produced={0: [(-3_600, 500), (0, 1_000)]})
    series = only(lag_series(told))
    assert series.lag_s[-1] is None
    assert series.lag_records[-1] == 900
    assert onset(series) is None


ONSETS = {
    "the readers stop": (past(steadily(10), lambda at_s: 20 if at_s < 2_000 else 0), 2_000),
    "the readers become slower": (past(steadily(10), lambda at_s: 20 if at_s < 2_013 else 5), 2_013),
    "the readers become a little too slow": (past(steadily(10), lambda at_s: 20 if at_s < 2_013 else 8), 2_013),
    "more is written than can be read": (past(lambda at_s: 10 if at_s < 1_337 else 40, steadily(12)), 1_337),
    "in the last minutes": (past(steadily(10), lambda at_s: 20 if at_s < 3_444 else 0), 3_444),
}


@pytest.mark.parametrize(("moments", "at_s"), ONSETS.values(), ids=ONSETS)
def test_the_onset_is_found_to_five_seconds(moments, at_s):
    assert second(onset(series_of(moments, since_s=ODD_S))) == pytest.approx(at_s, abs=5.0)


def test_a_group_that_was_behind_all_along_has_no_onset():
    behind = past(steadily(10), lambda at_s: 0 if at_s < 900 else 10)
    assert onset(series_of(behind, since_s=2_000)) is None


def test_there_is_no_onset_where_lag_is_normal():
    assert onset(series_of(PASTS["steady"])) is None
    assert onset(series_of(past(steadily(100), steadily(1_000)))) is None


PERIODS = [60, 97, 117, 240, 300, 451, 600, 900]


@pytest.mark.parametrize("period_s", PERIODS)
def test_the_period_of_bursts_is_found_to_five_percent(period_s):
    moments = past(bursts(period_s, period_s // 10, 60, 2), steadily(10))
    wave = only(waves(remembered(moments, since_s=ODD_S), 10.0))
    assert wave.period_s == pytest.approx(period_s, rel=0.05)
    assert wave.written_share > 0.6
    assert len(wave.rises) == pytest.approx(SPAN_S / period_s, abs=1.5)


@pytest.mark.parametrize("period_s", PERIODS)
def test_pauses_of_readers_are_told_from_bursts(period_s):
    lasts_s = max(30, period_s // 4)
    wave = only(waves(remembered(past(steadily(10), pauses(period_s, lasts_s, 30)), since_s=ODD_S), 10.0))
    assert wave.period_s == pytest.approx(period_s, rel=0.05)
    assert wave.written_share < 0.3
    if period_s >= 240:  # cells of a tenth of a period are then shorter than the pause
        assert wave.standstill_s == pytest.approx(lasts_s, abs=0.3 * lasts_s)


@pytest.mark.parametrize("seed", range(8))
def test_noise_changes_neither_period_nor_onset_nor_origin(seed):
    chance = random.Random(seed)
    period_s, begins_s = chance.randint(200, 500), chance.randint(700, 1_500)
    noise = [chance.uniform(0.5, 1.5) for _ in range(SPAN_S)]
    rate = bursts(period_s, 30, 60, 3, since_s=begins_s)
    moments = past(lambda at_s: rate(at_s) * noise[at_s], lambda at_s: 10 * noise[-at_s])
    wave = only(waves(remembered(moments, since_s=ODD_S), 30.0))
    assert wave.period_s == pytest.approx(period_s, rel=0.05)
    assert second(wave.onset) == pytest.approx(begins_s, abs=5.0)
    assert wave.written_share > 0.7


def test_a_smaller_burst_in_between_does_not_halve_the_period():
    large, small = bursts(600, 60, 60, 2), bursts(600, 40, 60, 0)
    moments = past(lambda at_s: large(at_s) + small(at_s + 290), steadily(20))
    assert only(waves(remembered(moments), 30.0)).period_s == pytest.approx(600, rel=0.05)


def test_a_train_that_began_before_the_history_has_no_onset():
    assert only(waves(remembered(PASTS["bursts"]), 30.0)).onset is None


def test_the_amplitude_is_half_of_the_way_from_trough_to_peak():
    wave = only(waves(remembered(past(bursts(600, 300, 20, 0), steadily(10))), 30.0))
    assert wave.peak_records == pytest.approx(3_000, abs=60)
    assert wave.amplitude_records == pytest.approx(0.9 * 1_500, rel=0.05)


NO_WAVES = {
    "a commit sawtooth of five seconds": past(steadily(100), steadily(1_000)),
    "a commit sawtooth of a minute": past(steadily(10), steadily(100), commit_s=60),
    "a batch that reads everything every five minutes": past(steadily(10), steadily(10_000), commit_s=300),
    "one burst": past(lambda at_s: 60 if 1_000 <= at_s < 1_030 else 2, steadily(10)),
    "growth": past(steadily(10), steadily(8)),
    "readers that stopped": PASTS["stopped"],
    "nothing written": PASTS["idle"],
}


@pytest.mark.parametrize("moments", NO_WAVES.values(), ids=NO_WAVES)
def test_what_is_no_wave(moments):
    assert waves(remembered(moments), 10.0) == ()


def test_rebalances_that_go_with_the_waves_are_counted():
    moments = past(steadily(10), pauses(300, 60, 15))
    assert only(waves(remembered(moments, rebalanced_s=range(2, 3_600, 300)), 30.0)).rebalances == 12
    assert only(waves(remembered(moments, rebalanced_s=range(200, 3_600, 300)), 30.0)).rebalances == 0


@pytest.mark.parametrize("count", [5, 12, 40, 361])
def test_a_line_and_a_constant_have_no_period(count):
    assert period([3.0] * count) is None
    assert period(list(range(count))) is None


@settings(max_examples=60)
@given(st.lists(st.integers(0, 10**15), max_size=80))
def test_any_series_has_a_period_within_reach_or_none(values):
    found = period(values)
    assert found is None or (1.5 <= found[0] <= len(values) and 0 < found[1] <= 1.000001)


@given(st.lists(st.integers(0, 100), min_size=1, max_size=400), st.integers(4, 60))
def test_thinning_keeps_the_ends_the_peak_and_the_trough(values, most):
    places = extremes(values, most)
    assert len(places) <= most
    assert places[0] == 0
    assert places[-1] == len(values) - 1
    assert {max(values), min(values)} <= {values[place] for place in places}


def test_rows_add_up_to_what_was_written_and_committed():
    told = remembered(PASTS["bursts"])
    rows = history_rows(told)
    assert len(rows) <= 60
    spans_s = [(late.at - early.at).total_seconds() for early, late in pairwise(rows)]
    written = sum(row.produce_per_s * span_s for row, span_s in zip(rows[1:], spans_s, strict=True))
    assert written == pytest.approx(PASTS["bursts"][-1].written)
    assert max(row.lag_records for row in rows) == max(only(lag_series(told)).lag_records)


def test_a_chart_has_the_highest_of_each_minute():
    series = series_of(PASTS["bursts"])
    points = stretches(series, 60)
    assert len(points) == 60
    assert points[-1].lag_records == max(series.lag_records[-6:])
    assert points[-1].at == NOW


POINTS = st.lists(st.tuples(st.floats(-(10**5), 10**4), st.integers(-1, 10**13)), max_size=25)


@settings(max_examples=300, deadline=None)
@given(
    committed=st.dictionaries(st.integers(0, 3), POINTS, max_size=3),
    produced=st.dictionaries(st.integers(0, 3), POINTS, max_size=3),
    span_s=st.sampled_from([0.0, 0.5, 60.0, 3_600.0, 86_400.0]),
    step_s=st.floats(allow_nan=True, allow_infinity=True),
    whole=st.booleans(),
)
def test_any_history_is_read_without_an_error(committed, produced, span_s, step_s, whole):
    told = history(committed=committed, produced=produced, span_s=span_s, rebalances=[(-30.0, 1)])
    told = replace(told, step_s=step_s, committed=tuple(replace(curve, whole=whole) for curve in told.committed))
    for series in lag_series(told):
        onset(series)
        assert min(series.lag_records) >= 0
        assert len(series.lag_records) == len(series.lag_s) == len(series.written) == len(series.committed)
        assert len(stretches(series, 60)) <= 60
    assert all(one.period_s > 0 for one in waves(told, 0.0))
    history_rows(told)
