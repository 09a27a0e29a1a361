"""The proof of kafka-lag/leaderless-partition."""

from __future__ import annotations

import msgspec
import pytest
from kafka_worlds import frame, group, place
from worlds import gap, judged

from diag.diagnosis.judge import folded
from diag.diagnosis.plan import explained
from diag.findings import NoCommand, Outcome, Severity
from diag.snapshots.kafka import BrokerId, Leaderless

SLUG = "kafka-lag/leaderless-partition"
READERS = group("antifraud", [0, 1])


def without_leader(partition: int, *, replicas=(1, 2), in_sync=(2,), topic: str = "events") -> Leaderless:
    return Leaderless(
        on=place(partition, topic), replicas=tuple(map(BrokerId, replicas)), in_sync=tuple(map(BrokerId, in_sync))
    )


def world(*leaderless: Leaderless, at_s: float = 0.0, gaps=(), ages_s=None):
    """Partition 0 is led and read to the end unless it is `ages_s` behind, partition 1 may be without a leader."""
    left = 10 if ages_s else 0
    commits = {0: 100 - left, 1: 100}
    ends = {0: 100} if leaderless else {0: 100, 1: 100}
    return frame(READERS, commits, ends, at_s=at_s, gaps=gaps, ages_s=ages_s, leaderless=leaderless)


def evidence(found) -> dict[str, object]:
    return {one.name: one.value for one in found.evidence}


def test_every_partition_led_is_silent():
    findings, outcome = judged(SLUG, world())
    assert (findings, outcome.outcome) == ([], Outcome.CLEAR)


def test_one_partition_without_a_leader_is_critical_and_its_brokers_are_named():
    (found,), _ = judged(SLUG, world(without_leader(1)))
    assert (found.severity, found.subject.topic.raw, found.subject.partition) == (Severity.CRITICAL, "events", 1)
    shown = evidence(found)
    assert (shown["on brokers"], shown["in sync"]) == ("1, 2", "2")
    assert shown["group"].raw == "antifraud"


def test_no_step_elects_an_unclean_leader():
    (found,), _ = judged(SLUG, world(without_leader(1)))
    assert [step.risk.value for step in found.steps] == ["read-only", "reversible", "disruptive"]
    assert isinstance(found.steps[-1].command, NoCommand)
    assert found.steps[1].title.values["brokers"] == "2"


def test_with_no_replica_in_sync_the_holders_of_replicas_are_named():
    """So it is from Kafka 4.1 on: who was in sync last is an eligible leader replica (KIP-966), not in sync."""
    (found,), _ = judged(SLUG, world(without_leader(1, in_sync=())))
    assert evidence(found)["in sync"] == "none"
    assert found.steps[1].title.values["brokers"] == "1, 2"


def test_each_topic_is_one_finding_however_many_partitions():
    many = [without_leader(number) for number in range(1, 40)]
    findings, _ = judged(SLUG, world(*many, without_leader(3, topic="audit")))
    assert [(found.subject.topic.raw, found.subject.partition) for found in findings] == [
        ("audit", 3),
        ("events", None),
    ]
    assert evidence(findings[1])["partitions without a leader"] == "1, 2, 3, 4, 5, 6, 7, 8, 9, 10"
    assert findings[1].summary.values["partitions"].value == 39


def test_an_election_that_is_over_between_two_looks_is_silent():
    assert judged(SLUG, world(without_leader(1), at_s=-2.0), world())[0] == []
    assert judged(SLUG, world(at_s=-2.0), world(without_leader(1)))[0] == []
    assert len(judged(SLUG, world(without_leader(1), at_s=-2.0), world(without_leader(1)))[0]) == 1


def test_it_explains_what_the_topic_suffers():
    behind = world(without_leader(1), ages_s={0: 90.0})
    late, lost = judged("kafka-lag/time-lag", behind)[0], judged(SLUG, behind)[0]
    (shown,) = folded([*late, *lost], {SLUG: explained(SLUG).check.explains})[:1]
    assert shown.check == SLUG


@pytest.mark.parametrize("fact", ["commits", "log_ends"])
def test_a_gap_in_what_it_needs_is_unknown(fact):
    findings, outcome = judged(SLUG, world(gaps=(gap(fact),)))
    assert (findings, outcome.outcome) == ([], Outcome.UNKNOWN)


def test_a_topic_nobody_committed_on_has_no_readers_to_name():
    (found,), _ = judged(SLUG, msgspec.structs.replace(world(without_leader(1)), commits=()))
    assert found.summary.values["groups"].value == 0
