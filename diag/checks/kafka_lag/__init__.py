"""Which consumer groups are behind, by how many records and seconds, growing or draining."""

from collections.abc import Iterator

from diag.analysis.consumer_lag import partition_rows
from diag.analysis.group_lags import group_rows
from diag.analysis.lag_history import LagSeries, history_rows, lag_series, stretches
from diag.analysis.waves import onset
from diag.findings import Chart, Line, Phrase, say
from diag.snapshots.base import Window
from diag.snapshots.kafka import KafkaHistory, KafkaLag

_POINTS = 60  # of a chart: one for each minute of an hour, and a line of them fits a terminal


def _partitions(window: Window[KafkaLag]) -> dict[str, object]:
    return {"groups": group_rows(window), "partitions": partition_rows(window)}


def _history(window: Window[KafkaHistory]) -> dict[str, object]:
    return {"history": history_rows(window.last)}


def _charts(window: Window[KafkaHistory]) -> Iterator[Chart]:
    """Draw the past of every group and topic, the highest lag first."""
    for series in lag_series(window.last):
        rows = stretches(series, _POINTS)
        yield Chart(
            title=say("lag of {group} on {topic}", group=series.group, topic=series.topic),
            times=tuple(row.at for row in rows),
            lines=(
                Line(name="lag", unit="records", values=tuple(row.lag_records for row in rows)),
                Line(name="time lag", unit="s", values=tuple(row.lag_s for row in rows)),
                Line(name="written per s", unit="", values=tuple(row.produce_per_s for row in rows), drawn=False),
                Line(name="read per s", unit="", values=tuple(row.consume_per_s for row in rows), drawn=False),
            ),
            note=_note(series),
        )


def _note(series: LagSeries) -> Phrase | None:
    left = onset(series)
    return None if left is None else say("it last left its normal at {onset}", onset=left)


TABLES = {KafkaLag: _partitions, KafkaHistory: _history}
COLUMNS = {
    "groups": ("group", "topic", "members", "lag_records", "lag_s", "trend", "consume_per_s", "drain_s", "loss_in_s"),
    "partitions": ("group", "topic", "partition", "lag_records", "lag_s", "produce_per_s", "consume_per_s", "state"),
}
CHARTS = {KafkaHistory: _charts}
