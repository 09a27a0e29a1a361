"""The ranked table, and the arithmetic of rates, capacity, drains and deadlines behind it."""

from __future__ import annotations

import math

import msgspec
import pytest
from kafka_worlds import frames, group, history
from worlds import NOW, Window

from diag.analysis.capacity import capacity, loss_in_s, poll_takes_s
from diag.analysis.group_lags import Trend, group_rows
from diag.analysis.progress import group_courses, slope
from diag.snapshots.kafka import TopicSettings
from diag.text import ServerText

READERS = group("antifraud", [0], [1])


def window(committed, ends, **more):
    return Window(frames=tuple(frames(READERS, committed, ends, **more)))


def test_a_growing_backlog_shows_what_a_member_can_read():
    # two partitions, 100/s written to each, 60/s read from each, six samples 5 s apart
    seen = window(
        {number: [10_000 + 300 * turn for turn in range(6)] for number in (0, 1)},
        {number: [40_000 + 500 * turn for turn in range(6)] for number in (0, 1)},
        ages_s={0: 500.0, 1: 480.0},
    )
    (row,) = group_rows(seen)
    assert (row.trend, row.lag_records, row.lag_s) == (Trend.GROWING, 2 * 31_000, 500.0)
    assert (row.produce_per_s, row.consume_per_s, row.member_per_s) == pytest.approx((200.0, 120.0, 60.0))
    assert row.drain_s is None, "it never drains at these rates"
    known = capacity(group_courses(seen)[0].courses)
    assert math.isinf(known.drain_s)
    assert known.members_for(600.0) == math.ceil((200 + 62_000 / 600) / 60)
    assert known.one_reader_is_enough is False, "100/s into one partition, 60/s read by one member"


def test_skew_makes_the_drain_as_long_as_the_worst_member_takes():
    seen = window(
        {0: [0, 1_000, 2_000, 3_000, 4_000], 1: [9_000, 9_500, 10_000, 10_500, 11_000]},
        {0: [20_000] * 5, 1: [12_000] * 5},
    )
    known = capacity(group_courses(seen)[0].courses)
    assert known.drain_s == pytest.approx(17_000 / 300)
    assert known.drain_assigned_s == pytest.approx(16_000 / 200)


def test_who_is_caught_up_hides_what_it_could_read():
    # the commit sawtooth: 10,000/s, committed every 5 s, sampled in between: always something left, never a backlog
    ends = [10_000 * turn for turn in range(8)]
    committed = [max(0, 50_000 * (turn // 5)) for turn in range(8)]
    seen = Window(frames=tuple(frames(group("antifraud", [0]), {0: committed}, {0: ends}, step_s=1.0)))
    (row,) = group_rows(seen)
    assert (row.member_per_s, row.trend) == (None, Trend.STEADY)


def test_one_sample_knows_no_rates():
    (row,) = group_rows(window({0: [5]}, {0: [10]}))
    assert (row.trend, row.produce_per_s, row.drain_s) == (Trend.UNKNOWN, None, None)


def test_the_deadline_of_loss_is_retention_minus_age():
    seen = window(
        {0: [5, 6]},
        {0: [10, 10]},
        ages_s={0: 3_000.0},
        topics=(TopicSettings(topic=ServerText("events"), retention_s=3_600.0),),
    )
    assert group_rows(seen)[0].loss_in_s == pytest.approx(600.0)
    assert loss_in_s(None, 5.0) is None
    assert loss_in_s(60.0, 90.0) == 0.0


def test_five_hundred_records_at_a_second_each_outlast_the_poll_interval():
    assert poll_takes_s(1.0, 500) == 500.0
    assert poll_takes_s(None, 500) is None


@pytest.mark.parametrize("bent", [-40.0, 0.0, 400.0])
def test_one_strange_commit_does_not_bend_a_rate(bent):
    points = tuple((float(turn), 100 * turn) for turn in range(9))
    bent_points = (*points[:4], (4.0, round(400 + bent)), *points[5:])
    assert slope(bent_points) == pytest.approx(100.0, rel=0.05)


def test_a_history_tells_since_when_an_offset_stands_still():
    live = frames(group("antifraud", [0]), {0: [700, 700]}, {0: [900, 910]}, step_s=2.0, ages_s={0: 300.0})
    past = history(
        committed={0: [(-900.0, 100), (-310.0, 700), (-60.0, 700)]}, produced={0: [(-900.0, 300), (-10.0, 880)]}
    )
    (course,) = group_courses(Window(frames=tuple(live)), past)[0].courses
    assert course.still_s == pytest.approx(310.0)
    alone = group_courses(Window(frames=tuple(live)))[0].courses[0]
    assert alone.still_s == pytest.approx(2.0)


def test_groups_that_have_read_everything_are_not_in_it():
    assert group_rows(window({0: [10, 20]}, {0: [10, 20]})) == ()


def test_a_group_in_another_window_is_not_taken_from_the_cache():
    first = window({0: [1, 1]}, {0: [10, 10]})
    again = Window(frames=tuple(msgspec.structs.replace(one, observed_at=NOW) for one in first.frames))
    assert group_rows(first)[0].lag_records == group_rows(again)[0].lag_records == 9
