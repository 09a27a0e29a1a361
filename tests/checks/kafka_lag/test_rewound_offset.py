"""The proof of kafka-lag/rewound-offset."""

from __future__ import annotations

from datetime import timedelta

import pytest
from kafka_worlds import frames, group, history
from worlds import NOW, gap, judged

from diag.diagnosis.judge import folded
from diag.diagnosis.plan import explained
from diag.findings import Outcome, Severity
from diag.snapshots.kafka import KafkaLag

SLUG = "kafka-lag/rewound-offset"
END = 20_000


def world(*committed: int, step_s: float = 2.0, end: int = END) -> list[KafkaLag]:
    """One partition's commits, frame by frame."""
    return frames(group("mailer", [0]), {0: committed}, {0: [end] * len(committed)}, step_s=step_s, ages_s={0: 900.0})


STORIES = {
    "back to the beginning between two looks": (world(9_000, 0), 9_000),
    "by as many records as a poll has": (world(9_000, 8_500), 500),
    "by one less: that may be a commit that came late": (world(9_000, 8_501), None),
    "by a few, and two commits later still below": (world(9_000, 8_990, 8_993, 8_996), 10),
    "by a few, and one commit later still below": (world(9_000, 8_990, 8_993), None),
    "by a few, and the second commit is where it was": (world(9_000, 8_990, 8_993, 9_000), None),
    "by many, and caught up with two commits later": (world(9_000, 5_000, 8_000, 9_500), None),
    "by a few, and nothing for just under three commit intervals": (world(9_000, 8_990, 8_990, step_s=14.9), None),
    "by a few, and nothing for three commit intervals": (world(9_000, 8_990, 8_990, step_s=15.0), 10),
    "caught up with later on: it is past": (world(9_000, 5_000, 6_000, 7_000, 8_000, 9_100), None),
    "twice, and caught up with twice: it goes on": (
        world(9_000, 5_000, 6_000, 7_000, 9_000, 5_000, 6_000, 7_000, 9_100),
        4_000,
    ),
    "two commits that came late, each put right by the next": (world(9_000, 5_000, 9_500, 6_000, 9_600), None),
    "the newest is told": (world(9_000, 5_000, 6_000, 7_000, 1_000), 6_000),
    "a reader that stands": (world(9_000, 9_000, 9_000), None),
    "a reader that reads": (world(9_000, 9_500, 9_900), None),
    "everything is read again": (world(20_000, 19_000, 20_000), None),
}


@pytest.mark.parametrize(("taken", "by"), STORIES.values(), ids=STORIES.keys())
def test_what_it_says_of(taken, by):
    findings, _ = judged(SLUG, *taken)
    assert [found.summary.values["records"].value for found in findings] == ([] if by is None else [by])
    assert {found.severity for found in findings} <= {Severity.WARNING}


def test_all_partitions_of_a_topic_are_one_finding():
    taken = frames(
        group("mailer", [0, 1, 2]),
        {0: [9_000, 0], 1: [8_000, 100], 2: [7_000, 7_050]},
        {number: [END, END] for number in range(3)},
        step_s=2.0,
    )
    ((found,), _) = judged(SLUG, *taken)
    said = found.summary.values
    assert (said["records"].value, said["n"].value, said["at"]) == (16_900, 2, NOW)
    assert (said["partition"], said["before"], said["after"]) == (0, 9_000, 0)


def test_the_past_tells_when_it_was():
    past = history(
        committed={0: [(-1_000, 8_000), (-605, 9_000), (-600, 0), (-595, 20), (-590, 40), (-300, 1_000)]},
        produced={0: [(-3_600, 0), (-1_100, END)]},
        name="mailer",
    )
    ((found,), outcome) = judged(SLUG, *world(1_000, 1_002), past)
    assert outcome.outcome is Outcome.FOUND
    assert found.summary.values["at"] == NOW - timedelta(seconds=600)
    measured = {one.name: one.value for one in found.evidence}
    assert measured["still to be read again"].value == 9_000 - 1_002


def test_a_log_that_was_cut_is_not_ruled_out():
    ((found,), _) = judged(SLUG, *world(9_000, 0, end=9_000))
    assert len(found.ruled_out) == 2
    ((found,), _) = judged(SLUG, *world(9_000, 0, end=8_999))
    assert len(found.ruled_out) == 1


def test_no_step_moves_an_offset():
    ((found,), _) = judged(SLUG, *world(9_000, 0))
    assert {step.risk.value for step in found.steps} == {"read-only"}


def test_one_look_is_skipped():
    assert judged(SLUG, *world(9_000))[1].outcome is Outcome.SKIPPED


def test_it_explains_the_time_lag_it_causes():
    taken = world(9_000, 0)
    late = judged("kafka-lag/time-lag", *taken)[0]
    shown = folded([*late, *judged(SLUG, *taken)[0]], {SLUG: explained(SLUG).check.explains})
    assert [found.check for found in shown] == [SLUG]
    assert shown[0].severity is Severity.CRITICAL


@pytest.mark.parametrize("fact", ["groups", "commits"])
def test_a_gap_in_what_it_needs_is_unknown(fact):
    taken = frames(group("mailer", [0]), {0: [1, 2]}, {0: [5, 5]}, gaps=(gap(fact),))
    findings, outcome = judged(SLUG, *taken)
    assert (findings, outcome.outcome) == ([], Outcome.UNKNOWN)
