"""Pieces of a long span, sums of several counters, and PromQL: pure, so proved on anything."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diag.sources.prometheus.connection import Samples
from diag.sources.prometheus.promql import quoted, selector
from diag.sources.prometheus.ranges import Series, merged, spans
from diag.sources.prometheus.sums import summed

START_S, END_S = 1_000, 1_600
HALF_SECONDS = st.integers(2 * START_S - 20, 2 * END_S + 20).map(lambda halves: halves / 2)
MOMENTS = HALF_SECONDS | st.sampled_from([float(START_S), float(END_S), START_S + 100.0, START_S + 200.0])  # edges
WORLDS = st.dictionaries(
    st.sampled_from(["a", "b", "c"]),
    st.dictionaries(MOMENTS, st.integers(0, 10**15).map(float) | st.sampled_from([math.nan, math.inf]), max_size=40),
    max_size=3,
)


def asked(world, start_s, end_s, *, closed):
    """Answer `x[span] @ end` as Prometheus 2 does (closed), or as Prometheus 3 (open on the left)."""
    answer = []
    for instance, points in world.items():
        inside = [at_s for at_s in sorted(points) if start_s < at_s <= end_s or (closed and at_s == start_s)]
        if inside:
            values = tuple((at_s, str(points[at_s]).replace("inf", "+Inf").replace("nan", "NaN")) for at_s in inside)
            answer.append(Samples({"instance": instance}, values))
    return answer


@given(WORLDS, st.just(100) | st.integers(1, 700), st.booleans())
def test_pieces_put_together_are_what_one_answer_would_have_been(world, longest_s, closed):
    pieces = [asked(world, *piece, closed=closed) for piece in spans(START_S, END_S, longest_s)]
    whole = merged([asked(world, START_S, END_S, closed=False)], START_S, END_S)
    assert merged(pieces, START_S, END_S) == whole
    kept = {one.labels[0][1]: list(zip(one.at_s, one.totals, strict=True)) for one in whole}
    true = {
        name: [
            (at_s, points[at_s]) for at_s in sorted(points) if START_S < at_s <= END_S and math.isfinite(points[at_s])
        ]
        for name, points in world.items()
    }
    assert kept == {name: points for name, points in true.items() if points}


@given(st.integers(0, 10**6), st.integers(1, 10**6), st.integers(1, 10**6))
def test_pieces_lie_edge_to_edge_and_none_is_too_long(start_s, span_s, longest_s):
    if span_s > 1_000 * longest_s:
        return
    pieces = list(spans(start_s, start_s + span_s, longest_s))
    assert (pieces[0][0], pieces[-1][1]) == (start_s, start_s + span_s)
    assert all(before[1] == after[0] for before, after in itertools.pairwise(pieces))
    assert all(0 < end_s - begin_s <= longest_s for begin_s, end_s in pieces)


def one(*points, name="a"):
    return Series(labels=(("instance", name),), at_s=tuple(p[0] for p in points), totals=tuple(p[1] for p in points))


def increase(totals):
    return sum(after - before if after >= before else after for before, after in itertools.pairwise(totals))


def test_one_series_stays_as_it_was_scraped():
    assert summed([one((0, 5.0), (15, 7.0), (30, 1.0))]) == ((0, 15, 30), (5.0, 7.0, 1.0))


def test_scraped_together_they_are_plainly_added():
    assert summed([one((0, 5.0), (15, 7.0)), one((0, 1.0), (15, 4.0), name="b")]) == ((0, 15), (6.0, 11.0))


def test_scraped_at_other_times_they_are_read_off_between():
    a, b = one((0, 0.0), (10, 10.0), (20, 20.0)), one((5, 100.0), (15, 120.0), name="b")
    assert summed([a, b]) == ((0, 10, 20), (100.0, 120.0, 140.0))


def test_a_restart_of_one_is_no_fall_of_the_sum():
    a = one(*((15.0 * number, 1_000_000.0 + number) for number in range(4)))
    b = one((0, 900.0), (15, 905.0), (30, 3.0), (45, 6.0), name="b")
    times, totals = summed([a, b])
    assert times == (0, 15, 30, 45)
    assert [after - before for before, after in itertools.pairwise(totals)] == [6.0, 4.0, 4.0]


def test_a_server_that_comes_and_one_that_goes_make_no_jump():
    old = one(*((15.0 * number, 5_000.0 + 10 * number) for number in range(10)))
    new = one(*((15.0 * number, 70_000.0 + 10 * number) for number in range(10, 20)), name="b")
    times, totals = summed([old, new])
    assert times == tuple(15.0 * number for number in range(20))
    assert {after - before for before, after in itertools.pairwise(totals)} == {0.0, 10.0}


def test_a_hole_in_one_is_a_hole_in_the_sum():
    whole = one(*((15.0 * number, 10.0 * number) for number in range(20)))
    holed = one(*((15.0 * number + 1, 10.0 * number) for number in range(20) if not 5 < number < 12), name="b")
    times, totals = summed([whole, holed])
    assert {at_s for at_s in whole.at_s if at_s not in times} == {15.0 * number for number in range(6, 13)}
    assert increase(totals) == pytest.approx(380, abs=20)


@st.composite
def fleets(draw):
    """Some servers, scraped every 15 s at times of their own, each with its load and its restarts."""
    series = []
    for number in range(draw(st.integers(1, 5))):
        offset_s = draw(st.floats(0, 14.9))
        grown = draw(st.lists(st.none() | st.integers(0, 1_000), min_size=2, max_size=30))
        total, points = float(draw(st.integers(0, 10**9))), []
        for turn, more in enumerate(grown):
            total = 0.0 if more is None else total + more
            points.append((offset_s + 15 * turn, total))
        series.append(one(*points, name=str(number)))
    return series


@given(fleets())
def test_the_sum_rises_by_what_all_counted_and_never_falls(fleet):
    times, totals = summed(fleet)
    assert all(before < after for before, after in itertools.pairwise(times))
    true = sum(increase(each.totals) for each in fleet)
    assert increase(totals) <= true + 1e-3
    if len(fleet) > 1:
        assert all(before <= after for before, after in itertools.pairwise(totals))
    at_the_ends = sum(2 * max(increase(pair) for pair in itertools.pairwise(each.totals)) for each in fleet)
    assert increase(totals) >= true - at_the_ends - 1e-3


def test_a_selector_names_any_metric():
    assert selector("up") == "up"
    assert selector("up", {"job": 'a"b'}) == 'up{job="a\\"b"}'
    assert selector("with.dots", {"a": "1"}) == '{__name__="with.dots",a="1"}'


@given(st.text())
def test_a_quoted_value_stays_inside_its_quotes(value):
    inner = quoted(value)[1:-1]
    assert "\n" not in inner
    assert inner.replace("\\\\", "").replace('\\"', "").count('"') == 0
    assert not inner.replace("\\\\", "").endswith("\\")
