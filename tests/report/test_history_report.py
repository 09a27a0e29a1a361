"""The past on paper: charts and tables word for word, and hostile names that stay names beside and in charts."""

from __future__ import annotations

import functools
import json
import math
import os
import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from kafka_past import bursts, past, remembered, steadily
from kafka_worlds import frame, group
from msgspec.structs import replace
from report.test_sinks import ANY_NAME, HOSTILE, bars, parsed, raw_or_visible, shape
from worlds import NOW, gap

from diag import __version__
from diag.analysis.lag_history import lag_series
from diag.config import Context
from diag.diagnosis import Request, plan
from diag.diagnosis.judge import judge
from diag.findings import Chart, Footprint, Line, Report, Verdict, say
from diag.report.json import json as to_json
from diag.report.markdown import markdown
from diag.report.terminal import text
from diag.snapshots.base import Scope
from diag.snapshots.kafka import KafkaHistory, KafkaLag
from diag.text import ServerText, visible

GOLDEN = Path(__file__).parent / "golden"
MOMENTS = past(bursts(300, 30, 60, 2, since_s=1_000), steadily(10))


def diagnosed(name="antifraud", topic="events", **more):
    told = replace(remembered(MOMENTS, group=name, topic=topic, rebalanced_s=(5,)), **more)
    written = MOMENTS[-1].written
    live = frame(group(name, [0]), {0: written - 580}, {0: written}, ages_s={0: 148.0}, topic=topic)
    request = Request(
        command="kafka-lag",
        context=Context(),
        scope=Scope(history_s=3_600),
        only=("kafka-lag/time-lag", "kafka-lag/waves"),
    )
    cost = {"kafka": Footprint(requests=385, took_s=0.9, bytes_in=146_000, bytes_out=33_000)}
    return judge(plan(request), {("default", KafkaLag): [live], ("default", KafkaHistory): [told]}, [], cost)


@pytest.mark.parametrize(("ending", "sink"), [("md", markdown), ("txt", text)])
def test_the_past_reads_as_agreed(ending, sink):
    file = GOLDEN / f"kafka-lag-waves.{ending}"
    made = sink(diagnosed()).replace(f"diag {__version__}", "diag X.Y.Z")
    if os.environ.get("DIAG_WRITE_GOLDEN"):
        file.write_text(made)
    assert made == file.read_text()


def test_the_wave_comes_first_and_explains_the_time_lag():
    (found,) = diagnosed().findings
    assert found.check == "kafka-lag/waves"
    assert [one.check for one in found.explained] == ["kafka-lag/time-lag"]


def test_json_has_the_rows_of_the_past():
    made = json.loads(to_json(diagnosed()))
    rows = made["facts"]["history"]
    assert 30 <= len(rows) <= 60
    assert list(rows[0]) == [
        "target", "at", "group", "topic", "lag_records", "lag_s", "produce_per_s", "consume_per_s",
    ]  # fmt: skip
    assert [row["at"] for row in rows] == sorted(row["at"] for row in rows)
    (series,) = lag_series(remembered(MOMENTS))
    assert max(row["lag_records"] for row in rows) == max(series.lag_records)
    assert rows[-1]["at"] == NOW.isoformat().replace("+00:00", "Z")


@functools.cache
def plain():
    return markdown(diagnosed("plain", "plain"))


def check_markdown(name):
    page = markdown(diagnosed(name, name))
    tokens, ordinary = parsed(page), parsed(plain())
    assert shape(tokens) == shape(ordinary)
    assert bars(page) == bars(plain())
    charts = [token.content for token in tokens if token.type == "fence" and token.info == "mermaid"]
    assert charts == [token.content for token in ordinary if token.type == "fence" and token.info == "mermaid"]
    assert len(charts) == 2
    spans = [token.content for token in tokens if token.type == "code_inline"]
    assert visible(name).replace("|", "\\u007c") in spans


def check_terminal(name):
    report = diagnosed(name, name)
    for width in (20, 80, 4_000):
        assert all(line.isprintable() for line in text(report, width=width).split("\n"))
    assert f"lag of {visible(name)} on {visible(name)}".rstrip() in text(report, width=4_000)


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_a_hostile_name_stays_out_of_the_charts(name):
    check_markdown(name)
    check_terminal(name)
    rows = json.loads(to_json(diagnosed(name, name)))["facts"]["history"]
    assert {row["group"] for row in rows} == {raw_or_visible(name)}


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(name=ANY_NAME)
def test_any_name_stays_out_of_the_charts(name):
    check_markdown(name)
    check_terminal(name)


def charted(*lines, title=None, count=4):
    times = tuple(msgspec.convert(NOW.timestamp() + 60 * number, type(NOW), strict=False) for number in range(count))
    chart = Chart(title=title or say("lag of {g}", g=ServerText("g")), times=times, lines=lines)
    return Report(command="kafka-lag", context="default", verdict=Verdict.CLEAR, charts=(chart,))


def lines_of(page):
    return re.findall(r"    (?:y-axis (.*)|line \[(.*)\])", page)


UNEVEN = {
    "unknown at first": ((None, None, 3.0, 4.0), "3, 3, 3, 4"),
    "unknown in between": ((1.0, None, 2.0, 5.0), "1, 1, 2, 5"),
    "no number": ((1.0, math.nan, math.inf, 5.0), "1, 1, 1, 5"),
    "constant": ((7.0,) * 4, "7, 7, 7, 7"),
    "huge": ((0.0, 1e15, 0.0, 123_456_789.25), "0, 1000000000000000, 0, 123456789.25"),
    "below zero": ((-5.0, 1.0, 1.0, 1.0), "-5, 1, 1, 1"),
}


@pytest.mark.parametrize(("values", "points"), UNEVEN.values(), ids=UNEVEN)
def test_any_values_make_a_chart_that_can_be_drawn(values, points):
    report = charted(Line(name="lag", unit="records", values=values))
    (axis, _), (_, drawn) = lines_of(markdown(report))
    assert drawn == points
    low, high = map(float, re.fullmatch(r'"lag, records" (-?[\d.]+) --> (-?[\d.]+)', axis).groups())
    assert low < high
    assert all(low <= float(point) <= high for point in drawn.split(", "))
    assert all(line.isprintable() for line in text(report).split("\n"))


def test_a_line_that_is_unknown_all_along_is_not_drawn():
    report = charted(Line(name="time lag", unit="s", values=(None,) * 4), Line(name="lag", unit="", values=(1.0,) * 4))
    assert markdown(report).count("xychart-beta") == 1
    assert "unknown" in text(report)


def test_a_word_of_a_line_that_is_not_ours_is_replaced():
    report = charted(Line(name='lag" 0 --> 1\n```', unit="<b>", values=(1.0, 2.0, 3.0, 4.0)))
    assert lines_of(markdown(report))[0][0] == '"value, value" 0 --> 4'


def test_many_charts_are_counted_and_not_shown():
    report = charted(Line(name="lag", unit="records", values=(1.0, 2.0, 3.0, 4.0)))
    many = replace(report, charts=report.charts * 5)
    assert markdown(many).count("## History") == 3
    for paper in (markdown(many), text(many)):
        assert "2 more charts" in paper


def test_one_reason_that_hides_several_facts_is_said_once():
    same = tuple(replace(gap(fact), what=ServerText("the commits of the past")) for fact in ("committed", "rebalances"))
    report = diagnosed(gaps=same)
    assert text(report).count("the commits of the past") == 1
    assert len(json.loads(to_json(report))["gaps"]) == 2
