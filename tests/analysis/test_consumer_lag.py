"""Lag arithmetic: never negative, never made up, and the loss apart from the lag."""

from __future__ import annotations

import msgspec
import pytest
from worlds import NOW, consumer_group, kafka_lag

from diag.analysis.consumer_lag import partition_rows, topic_lags
from diag.snapshots.base import Window
from diag.snapshots.kafka import LogEnds, Offset

GROUP = consumer_group("fraud", members=2)
CASES = {
    "some to read": ((10, 25, 5.0), (15, 5.0)),
    "all read": ((25, 25, None), (0, 0.0)),
    "committed past the end, as after a truncation": ((30, 25, None), (0, 0.0)),
    "the record is from the future": ((10, 25, -3_600.0), (15, None)),
    "the record could not be read": ((10, 25, None), (15, None)),
}


def rows(*frames):
    return partition_rows(Window(frames=frames))


@pytest.mark.parametrize(("partition", "lag"), CASES.values(), ids=CASES.keys())
def test_lag_in_records_and_seconds(partition, lag):
    (row,) = rows(kafka_lag(GROUP, partition))
    assert (row.lag_records, row.lag_s) == lag


def test_what_retention_took_is_lost_and_not_lag():
    world = kafka_lag(GROUP, (10, 125, 5.0))
    late = LogEnds(on=world.log_ends[0].on, log_start_offset=Offset(100), log_end_offset=Offset(125))
    (row,) = rows(msgspec.structs.replace(world, log_ends=(late,)))
    assert (row.lag_records, row.lost_records) == (25, 90)


def test_without_the_ends_nothing_is_known():
    world = msgspec.structs.replace(kafka_lag(GROUP, (10, 125, 5.0)), log_ends=())
    (row,) = rows(world)
    assert (row.lag_records, row.lag_s, row.log_end_offset) == (None, None, None)


def test_rates_are_slopes_between_the_frames():
    (row,) = rows(kafka_lag(GROUP, (10, 100, 5.0)), kafka_lag(GROUP, (30, 160, 5.0), at_s=4.0))
    assert (row.produce_per_s, row.consume_per_s) == (15.0, 5.0)


def test_one_frame_has_no_rates():
    (row,) = rows(kafka_lag(GROUP, (10, 100, 5.0)))
    assert (row.produce_per_s, row.consume_per_s) == (None, None)


def test_a_topic_sums_its_partitions_and_names_the_oldest():
    (lag,) = topic_lags(Window(frames=(kafka_lag(GROUP, (0, 10, 5.0), (0, 1, 90.0)),)))
    assert (lag.lag_records, lag.lag_s, lag.worst.partition) == (11, 90.0, 1)
    assert lag.worst.record_at < NOW
