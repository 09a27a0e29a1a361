"""Numbers as a tired person reads them: the same everywhere, and never wrong at a boundary."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diag import figures

ANY_NUMBER = st.floats() | st.integers(-(10**30), 10**30)
_IN_S = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (-0.0, "0"),
        (999, "999"),
        (1_000, "1 000"),
        (1_203_411, "1 203 411"),
        (-1_203_411, "-1 203 411"),
        (3.0, "3"),
        (0.25, "0.25"),
        (0.12345, "0.123"),
        (1.26, "1.3"),
        (12_345.67, "12 345.7"),
        (math.inf, "inf"),
        (math.nan, "nan"),
    ],
)
def test_a_number_is_parted_by_plain_spaces(value, text):
    assert figures.number(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.04, "40 ms"),
        (0.999, "999 ms"),
        (0.9996, "1.0 s"),  # not "1000 ms"
        (1, "1.0 s"),
        (4.94, "4.9 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),  # not "10.0 s"
        (10, "10 s"),
        (119.4, "119 s"),
        (119.6, "2 min"),
        (120, "2 min"),
        (1_140, "19 min"),
        (3_569, "59 min"),
        (3_599, "1 h 00 min"),  # not "60 min"
        (3_600, "1 h 00 min"),
        (7_500, "2 h 05 min"),
        (86_399, "1 d 00 h"),  # not "24 h 00 min"
        (86_400, "1 d 00 h"),
        (273_600, "3 d 04 h"),
        (-7_500, "-2 h 05 min"),
        (-0.5, "-500 ms"),
        (math.inf, "unknown"),
        (-math.inf, "unknown"),
        (math.nan, "unknown"),
    ],
)
def test_a_duration_changes_its_unit_where_it_should(seconds, text):
    assert figures.duration(seconds) == text


@given(st.floats(min_value=0.02, max_value=1e9))
def test_a_duration_read_back_is_within_a_few_per_cent(seconds):
    parts = re.findall(r"([\d.]+) (ms|s|min|h|d)", figures.duration(seconds))
    assert sum(float(value) * _IN_S[unit] for value, unit in parts) == pytest.approx(seconds, rel=0.051)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (812, "812 B"),
        (1_023, "1023 B"),
        (1_023.6, "1.0 KiB"),
        (1_024, "1.0 KiB"),
        (81_234, "79.3 KiB"),
        (1_048_575, "1.0 MiB"),  # not "1024.0 KiB"
        (2**30, "1.0 GiB"),
        (5 * 2**40, "5.0 TiB"),
        (-2_048, "-2.0 KiB"),
    ],
)
def test_bytes_are_binary_and_never_a_thousand_and_twenty_four(count, text):
    assert figures.bytes_(count) == text


@given(ANY_NUMBER, st.sampled_from(["s", "bytes", "ratio", "", "records"]))
def test_no_number_a_server_may_send_stops_a_report(value, unit):
    assert figures.quantity(value, unit).isprintable()


@given(st.integers())
def test_grep_finds_the_digits_once_the_spaces_are_gone(value):
    assert figures.number(value).replace(" ", "") == str(value)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (41.3, "s", "41 s"),
        (2_048, "bytes", "2.0 KiB"),
        (0.691, "ratio", "69.1 %"),
        (1, "ratio", "100.0 %"),
        (12_000, "", "12 000"),
        (12_000, "records", "12 000 records"),
        (1, "records", "1 record"),
        (1, "queries", "1 query"),
        (1, "misses/s", "1 miss/s"),
        (2, "misses/s", "2 misses/s"),
        (1, "indexes", "1 index"),
        (1, "series", "1 series"),
    ],
)
def test_a_unit_chooses_the_form(value, unit, text):
    assert figures.quantity(value, unit) == text


def test_a_moment_is_said_in_utc_whatever_its_zone():
    in_kolkata = datetime(2026, 1, 1, 8, 30, 2, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    assert figures.instant(in_kolkata) == figures.instant(datetime(2026, 1, 1, 3, 0, 2, tzinfo=UTC))
    assert figures.instant(in_kolkata) == "2026-01-01 03:00:02Z"


@pytest.mark.parametrize(
    ("values", "drawn"), [((), ""), ((5.0,), "▁"), ((1.0, 1.0), "▁▁"), ((0.0, 7.0), "▁█"), ((0.0, 1.0, 2.0), "▁▅█")]
)
def test_a_sparkline_shows_lowest_and_highest(values, drawn):
    assert figures.sparkline(values) == drawn
