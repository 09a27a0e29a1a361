"""The proof of kafka-lag/unusable-timestamps."""

from __future__ import annotations

import msgspec
import pytest
from kafka_worlds import frame, group, place
from worlds import gap, judged

from diag.analysis.consumer_lag import partition_rows
from diag.findings import Outcome, Severity
from diag.snapshots.base import Window
from diag.snapshots.kafka import CommittedOffset, Offset, TimestampType, TopicSettings
from diag.text import ServerText

SLUG = "kafka-lag/unusable-timestamps"
READERS = group("antifraud", [0, 1])
DAY_S = 86_400.0


def world(*, ahead_s: float | None, gaps=(), **more):
    """Partition 0 is 40 records behind, the next one dated so far ahead; partition 1 is read."""
    ages_s = None if ahead_s is None else {0: -ahead_s}
    return frame(READERS, {0: 60, 1: 50}, {0: 100, 1: 50}, ages_s=ages_s, gaps=gaps, **more)


WORLDS = {
    "an ordinary record": (world(ahead_s=-20.0), []),
    "everything is read": (frame(READERS, {0: 100}, {0: 100}), []),
    "the date could not be read": (world(ahead_s=None), []),
    "clocks differ a little": (world(ahead_s=5.0), []),
    "just too far ahead": (world(ahead_s=5.1), [Severity.WARNING]),
    "a day ahead": (world(ahead_s=DAY_S), [Severity.WARNING]),
}


@pytest.mark.parametrize(("world", "said"), WORLDS.values(), ids=WORLDS.keys())
def test_what_it_says_of(world, said):
    findings, _ = judged(SLUG, world)
    assert [found.severity for found in findings] == said


def test_no_seconds_are_claimed_there_and_the_records_are_right():
    ahead = world(ahead_s=DAY_S)
    rows = {row.partition: row for row in partition_rows(Window(frames=(ahead,)))}
    assert (rows[0].lag_s, rows[0].lag_records) == (None, 40)
    assert rows[1].lag_s == 0.0
    assert judged("kafka-lag/time-lag", ahead)[0] == []
    (found,), _ = judged(SLUG, ahead)
    assert found.summary.values["ahead"].value == DAY_S
    assert found.subject.partition == 0


def test_all_groups_on_a_topic_are_one_finding():
    both = world(ahead_s=60.0)
    (first, _) = both.commits
    other = CommittedOffset(
        group=ServerText("billing"), on=place(1), offset=Offset(10), record_at=both.commits[0].record_at
    )
    (found,), _ = judged(SLUG, msgspec.structs.replace(both, commits=(first, other)))
    assert [one.value.raw for one in found.evidence if one.name == "group"] == ["antifraud", "billing"]
    assert found.subject.partition is None


@pytest.mark.parametrize(
    ("kind", "whose"),
    [
        (TimestampType.CREATE_TIME, "its producers"),
        (TimestampType.LOG_APPEND_TIME, "the brokers"),
        (None, "producers or brokers"),
    ],
)
def test_whose_clock_it_is_is_said_where_it_is_known(kind, whose):
    topics = () if kind is None else (TopicSettings(topic=ServerText("events"), timestamp_type=kind),)
    (found,), _ = judged(SLUG, world(ahead_s=60.0, topics=topics))
    assert found.steps[-1].title.values["whose"] == whose


def test_the_gap_that_the_future_makes_does_not_hide_it():
    findings, outcome = judged(SLUG, world(ahead_s=60.0, gaps=(gap("record_times"),)))
    assert (len(findings), outcome.outcome) == (1, Outcome.FOUND)


@pytest.mark.parametrize("fact", ["commits", "log_ends", "record_times"])
def test_a_gap_in_what_it_needs_is_unknown(fact):
    findings, outcome = judged(SLUG, world(ahead_s=-20.0, gaps=(gap(fact),)))
    assert (findings, outcome.outcome) == ([], Outcome.UNKNOWN)
