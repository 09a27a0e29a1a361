"""The proof of kafka-lag/dead-group."""

from __future__ import annotations

import msgspec
import pytest
from worlds import consumer_group, gap, judged, kafka_lag

from diag.diagnosis.judge import folded
from diag.diagnosis.plan import explained
from diag.findings import Outcome, Severity

SLUG = "kafka-lag/dead-group"
EMPTY = consumer_group("notifications", state="Empty", members=0)
ALIVE = consumer_group("notifications")
WEEK_S = 604_800.0

WORLDS = {
    "a live group far behind is not dead": (kafka_lag(ALIVE, (0, 1_000, 900.0)), []),
    "an empty group with nothing to read": (kafka_lag(EMPTY, (10, 10, None)), []),
    "one unread record is one message nobody handles": (kafka_lag(EMPTY, (9, 10, 5.0)), [(Severity.WARNING, 1)]),
    "just under critical": (kafka_lag(EMPTY, (0, 10, 59.9)), [(Severity.WARNING, 10)]),
    "at critical": (kafka_lag(EMPTY, (0, 10, 60.0)), [(Severity.CRITICAL, 10)]),
    "just not abandoned": (kafka_lag(EMPTY, (0, 10, WEEK_S - 1)), [(Severity.CRITICAL, 10)]),
    "abandoned for a week is a leftover": (kafka_lag(EMPTY, (0, 10, WEEK_S)), []),
    "age unknown: still nobody there": (kafka_lag(EMPTY, (0, 10, None)), [(Severity.WARNING, 10)]),
}


@pytest.mark.parametrize(("world", "said"), WORLDS.values(), ids=WORLDS.keys())
def test_what_it_says_of(world, said):
    findings, _ = judged(SLUG, world)
    assert [
        (found.severity, next(one.value.value for one in found.evidence if one.name == "lag")) for found in findings
    ] == said


def test_a_reader_that_commits_without_joining_is_not_dead():
    before, after = kafka_lag(EMPTY, (0, 100, 90.0)), kafka_lag(EMPTY, (40, 120, 80.0), at_s=2.0)
    findings, outcome = judged(SLUG, before, after)
    assert (findings, outcome.outcome) == ([], Outcome.CLEAR)


def merged(*worlds):
    """One group on the topics of several worlds."""
    return msgspec.structs.replace(
        worlds[0],
        commits=tuple(one for world in worlds for one in world.commits),
        log_ends=tuple(one for world in worlds for one in world.log_ends),
    )


def test_a_group_is_one_finding_whatever_its_topics_and_explains_them_all():
    orders, events = kafka_lag(EMPTY, (0, 10, 900.0), topic="orders"), kafka_lag(EMPTY, (0, 30, 90.0), topic="events")
    old = kafka_lag(EMPTY, (0, 50, WEEK_S), topic="archive")
    world = merged(orders, events, old)
    (dead,) = judged(SLUG, world)[0]
    assert (dead.subject.topic, dead.summary.values["topics"].value) == (None, 2)
    assert [one.value.value for one in dead.evidence if one.name == "lag"] == [40]
    late = judged("kafka-lag/time-lag", world)[0]
    (shown,) = folded([*late, dead], {SLUG: explained(SLUG).check.explains})
    assert {found.subject.topic.raw for found in shown.explained} == {"orders", "events"}


def test_it_explains_the_time_lag_of_the_same_group():
    world = kafka_lag(EMPTY, (0, 10, 900.0))
    dead, late = judged(SLUG, world)[0], judged("kafka-lag/time-lag", world)[0]
    shown = folded([*late, *dead], {SLUG: explained(SLUG).check.explains})
    assert [found.check for found in shown] == [SLUG]
    assert [found.check for found in shown[0].explained] == ["kafka-lag/time-lag"]


def test_it_does_not_explain_another_groups_lag():
    dead = judged(SLUG, kafka_lag(EMPTY, (0, 10, 900.0)))[0]
    late = judged("kafka-lag/time-lag", kafka_lag(consumer_group("antifraud"), (0, 10, 900.0)))[0]
    assert len(folded([*late, *dead], {SLUG: explained(SLUG).check.explains})) == 2


@pytest.mark.parametrize("fact", ["groups", "commits", "log_ends"])
def test_a_gap_in_what_it_needs_is_unknown(fact):
    findings, outcome = judged(SLUG, kafka_lag(ALIVE, (5, 10, None), gaps=(gap(fact),)))
    assert (findings, outcome.outcome) == ([], Outcome.UNKNOWN)
