"""The proof of kafka-lag/time-lag."""

from __future__ import annotations

import pytest
from worlds import consumer_group, gap, judged, kafka_lag

from diag.findings import Outcome, Severity

SLUG = "kafka-lag/time-lag"
READERS = consumer_group("antifraud", members=3)

WORLDS = {
    "everything is read": (kafka_lag(READERS, (100, 100, None)), []),
    "many records but all of them fresh": (kafka_lag(READERS, (0, 1_000_000, 2.0)), []),
    "just under the limit": (kafka_lag(READERS, (10, 20, 29.9)), []),
    "at the limit": (kafka_lag(READERS, (10, 20, 30.0)), [(Severity.WARNING, 10)]),
    "just under critical": (kafka_lag(READERS, (10, 20, 299.9)), [(Severity.WARNING, 10)]),
    "at critical": (kafka_lag(READERS, (10, 20, 300.0)), [(Severity.CRITICAL, 10)]),
    "one old partition among fresh ones": (
        kafka_lag(READERS, (10, 20, 1.0), (5, 50, 400.0), (10, 20, 1.0)),
        [(Severity.CRITICAL, 65)],
    ),
    "a record from the future is no lag and no zero either": (kafka_lag(READERS, (10, 20, -86_400.0)), []),
    "a commit beyond the end is never a negative lag": (kafka_lag(READERS, (30, 20, None)), []),
}


@pytest.mark.parametrize(("world", "said"), WORLDS.values(), ids=WORLDS.keys())
def test_what_it_says_of(world, said):
    findings, _ = judged(SLUG, world)
    assert [(found.severity, found.evidence[0].value.value) for found in findings] == said


def test_a_group_that_catches_up_is_told_when_it_will_be_done():
    before = kafka_lag(READERS, (0, 1_000, 60.0))
    after = kafka_lag(READERS, (300, 1_100, 60.0), at_s=2.0)  # +50/s written, 150/s read: 100/s less, 800 left
    (found,), _ = judged(SLUG, before, after)
    assert found.summary.values["trend"].template.startswith("shrinking")
    assert found.summary.values["trend"].values["drain"].value == pytest.approx(8.0)


def test_a_group_that_falls_behind_is_said_to_grow():
    before = kafka_lag(READERS, (0, 1_000, 60.0))
    after = kafka_lag(READERS, (0, 1_100, 62.0), at_s=2.0)
    (found,), _ = judged(SLUG, before, after)
    assert found.summary.values["trend"].values["growth"].value == pytest.approx(50.0)


def test_one_sample_knows_no_trend():
    (found,), _ = judged(SLUG, kafka_lag(READERS, (0, 10, 60.0)))
    assert "unknown" in found.summary.values["trend"].template


@pytest.mark.parametrize("fact", ["commits", "record_times"])
def test_a_gap_in_what_it_needs_is_unknown(fact):
    findings, outcome = judged(SLUG, kafka_lag(READERS, (5, 10, None), gaps=(gap(fact),)))
    assert (findings, outcome.outcome) == ([], Outcome.UNKNOWN)
