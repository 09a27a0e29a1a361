"""The proof of kafka-lag/retention-loss."""

from __future__ import annotations

import pytest
from kafka_worlds import frame, frames, group
from worlds import gap, judged

from diag.findings import Basis, Outcome, Severity
from diag.snapshots.kafka import ConsumerGroup, TopicSettings
from diag.text import ServerText

SLUG = "kafka-lag/retention-loss"
READERS = group("antifraud", [0, 1])
EMPTY = group("antifraud", state="Empty")
HIDDEN = ConsumerGroup(group=ServerText("antifraud"), state="Stable", members=None)
DAY_S = 86_400.0
CRITICAL, WARNING = [Severity.CRITICAL], [Severity.WARNING]


def lost(of=READERS, *, committed: int = 100, start: int = 100, end: int = 200, age_s: float = 5.0):
    return frame(of, {0: committed}, {0: end}, starts={0: start}, ages_s={0: age_s} if end > start else None)


def late(of=READERS, *, age_s: float, retention_s: float | None = DAY_S, compacted: bool = False, records: int = 50):
    kept = TopicSettings(topic=ServerText("events"), retention_s=retention_s, compacted=compacted)
    world = {0: 100 - records}, {0: 100}
    return frame(of, *world, ages_s={0: age_s} if records else None, topics=(kept,))


LOST = {
    "nothing was deleted": (lost(start=0), []),
    "the next record is the first that is left": (lost(start=100), []),
    "one record is one message": (lost(start=101), CRITICAL),
    "a day of records": (lost(start=190), CRITICAL),
    "the log was emptied, with records unread": (lost(start=200, end=200), CRITICAL),
    "an idle topic whose last offsets were markers": (lost(start=101, end=101), []),
    "as many markers as there may be": (lost(start=116, end=116), []),
    "too many to be markers": (lost(start=117, end=117), CRITICAL),
    "an empty group may still come back to it": (lost(EMPTY, start=150), WARNING),
    "a leftover: nobody reads, and nothing is left": (lost(EMPTY, start=10**9, end=10**9), []),
    "a leftover: abandoned for a week": (lost(EMPTY, start=150, age_s=7 * DAY_S), []),
    "just not abandoned": (lost(EMPTY, start=150, age_s=7 * DAY_S - 1), WARNING),
    "who is in the group may not be seen": (lost(HIDDEN, start=150), WARNING),
}


@pytest.mark.parametrize(("world", "said"), LOST.values(), ids=LOST.keys())
def test_what_was_lost(world, said):
    findings, _ = judged(SLUG, world)
    assert [found.severity for found in findings] == said


SOON = {
    "most of the time is left": (late(age_s=0.79 * DAY_S), []),
    "at the limit": (late(age_s=0.8 * DAY_S), WARNING),
    "just above an hour left": (late(age_s=DAY_S - 3_601), WARNING),
    "an hour left": (late(age_s=DAY_S - 3_600), CRITICAL),
    "older than anything should be: the segment goes any moment": (late(age_s=2 * DAY_S), CRITICAL),
    "never deleted by age, or compacted only": (late(age_s=300 * DAY_S, retention_s=None, compacted=True), []),
    "compacted and deleted": (late(age_s=0.9 * DAY_S, compacted=True), WARNING),
    "everything is read": (late(age_s=DAY_S, records=0), []),
    "nobody there: the same records go": (late(EMPTY, age_s=0.9 * DAY_S), WARNING),
}


@pytest.mark.parametrize(("world", "said"), SOON.values(), ids=SOON.keys())
def test_what_will_be_lost(world, said):
    findings, _ = judged(SLUG, world)
    assert [(found.severity, found.basis) for found in findings] == [(one, Basis.DERIVED) for one in said]


def value(found, name: str):
    return next(one.value for one in found.evidence if one.name == name)


def test_the_loss_is_counted_and_so_is_what_is_left():
    (found,), _ = judged(SLUG, lost(start=150))
    assert value(found, "deleted unread").value == 50
    assert (value(found, "committed offset"), value(found, "log start")) == (100, 150)
    assert found.summary.values["left"].value == 50
    assert found.basis is Basis.OBSERVED
    assert found.subject.partition == 0


def test_an_emptied_topic_has_no_lag_of_millions():
    (found,), _ = judged(SLUG, lost(committed=5, start=10**7, end=10**7))
    assert found.summary.values["left"].value == 0
    assert value(found, "deleted unread").value == 10**7 - 5


def test_losses_on_several_partitions_are_one_finding():
    world = frame(READERS, {0: 10, 1: 10}, {0: 100, 1: 100}, starts={0: 20, 1: 40})
    (found,), _ = judged(SLUG, world)
    assert value(found, "deleted unread").value == 40
    assert (value(found, "worst partition"), found.subject.partition) == (1, None)


def test_markers_on_one_partition_do_not_swell_the_loss_on_another():
    world = frame(READERS, {0: 10, 1: 10}, {0: 100, 1: 11}, starts={0: 20, 1: 11})
    (found,), _ = judged(SLUG, world)
    assert value(found, "deleted unread").value == 10


def test_a_topic_that_a_live_group_has_left_is_nothing_it_loses():
    world = frame(group("antifraud", [0]), {0: 10}, {0: 100}, starts={0: 60}, topic="old-events")
    assert judged(SLUG, world)[0] == []


def test_a_group_in_the_middle_of_a_rebalance_owns_nothing_and_loses_all_the_same():
    world = frame(group("antifraud", [], state="PreparingRebalance"), {0: 10}, {0: 100}, starts={0: 60})
    assert [found.severity for found in judged(SLUG, world)[0]] == CRITICAL


def test_the_deadline_is_what_retention_leaves():
    (found,), _ = judged(SLUG, late(age_s=0.9 * DAY_S))
    assert value(found, "next deletion at the earliest in").value == pytest.approx(0.1 * DAY_S)


def test_a_group_that_will_have_caught_up_by_then_is_no_emergency():
    kept = TopicSettings(topic=ServerText("events"), retention_s=DAY_S)
    ages_s = {0: DAY_S - 600}
    drains = frames(READERS, {0: [0, 500]}, {0: [1_000, 1_000]}, ages_s=ages_s, topics=(kept,))  # 100/s: gone in 5 s
    (found,), _ = judged(SLUG, *drains)
    assert found.severity is Severity.WARNING
    grows = frames(READERS, {0: [0, 5]}, {0: [1_000, 1_500]}, ages_s=ages_s, topics=(kept,))
    (found,), _ = judged(SLUG, *grows)
    assert found.severity is Severity.CRITICAL


def test_retention_that_may_not_be_read_sets_no_deadline():
    world = frame(READERS, {0: 50}, {0: 100}, ages_s={0: 60 * DAY_S}, gaps=(gap("topics"),))
    assert judged(SLUG, world)[1].outcome is Outcome.CLEAR


@pytest.mark.parametrize("fact", ["groups", "commits", "log_ends"])
def test_a_gap_in_what_it_needs_is_unknown(fact):
    findings, outcome = judged(SLUG, frame(READERS, {0: 100}, {0: 100}, gaps=(gap(fact),)))
    assert (findings, outcome.outcome) == ([], Outcome.UNKNOWN)
