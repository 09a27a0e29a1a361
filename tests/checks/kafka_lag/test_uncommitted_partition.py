"""The proof of kafka-lag/uncommitted-partition."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import msgspec
import pytest
from kafka_worlds import frame, group, place
from worlds import NOW, gap, judged

from diag.findings import Basis, Outcome, Severity
from diag.snapshots.kafka import KafkaLag

SLUG = "kafka-lag/uncommitted-partition"
OWNS_ALL = group("antifraud", [0, 1, 2])
OWNS_TWO = group("antifraud", [0, 1])
REBALANCING = group("antifraud", [], [], state="PreparingRebalance")


def added(of, oldest_s: Mapping[int, float | None], *, starts=None, end: int = 40, **more) -> KafkaLag:
    """Committed on 0 and 1; the others hold 40 records, the first of them that old."""
    world = frame(of, {0: 100, 1: 100}, {0: 100, 1: 100} | dict.fromkeys(oldest_s, end), starts=starts, **more)
    logs = [
        msgspec.structs.replace(log, oldest_at=NOW - timedelta(seconds=age_s))
        if (age_s := oldest_s.get(log.on.partition)) is not None
        else log
        for log in world.log_ends
    ]
    return msgspec.structs.replace(world, log_ends=tuple(logs))


HYPOTHESIS, OBSERVED = Basis.HYPOTHESIS, Basis.OBSERVED
WARNING, CRITICAL = Severity.WARNING, Severity.CRITICAL
WORLDS = {
    "committed on all": (added(OWNS_ALL, {}), []),
    "its first records are just young enough": (added(OWNS_ALL, {2: 59.9}), []),
    "owned, and nothing committed for a minute": (added(OWNS_ALL, {2: 60.0}), [(WARNING, HYPOTHESIS)]),
    "owned, and nothing committed for a day": (added(OWNS_ALL, {2: 86_400.0}), [(WARNING, HYPOTHESIS)]),
    "nobody has noticed it yet": (added(OWNS_TWO, {2: 299.9}), [(WARNING, OBSERVED)]),
    "nobody has noticed it for too long": (added(OWNS_TWO, {2: 300.0}), [(CRITICAL, OBSERVED)]),
    "nothing was ever written to it": (added(OWNS_TWO, {2: 900.0}, end=0), []),
    "everything in it has been deleted": (added(OWNS_TWO, {2: 900.0}, starts={2: 40}), []),
    "the age of its records is not known": (added(OWNS_TWO, {2: None}), []),
    "a record dated ahead is not old": (added(OWNS_TWO, {2: -900.0}), []),
    "in a rebalance who owns what is open": (added(REBALANCING, {2: 900.0}), [(WARNING, HYPOTHESIS)]),
    "an empty group assigns by hand, or is dead": (added(group("antifraud", state="Empty"), {2: 900.0}), []),
    "a share group commits otherwise": (added(group("antifraud", [0, 1], protocol="share"), {2: 900.0}), []),
    "a topic the members have left": (added(OWNS_TWO, {2: 900.0}, topic="old-events"), []),
}


@pytest.mark.parametrize(("world", "said"), WORLDS.values(), ids=WORLDS.keys())
def test_what_it_says_of(world, said):
    findings, _ = judged(SLUG, world)
    assert [(found.severity, found.basis) for found in findings] == said


def value(found, name: str):
    return next(one.value for one in found.evidence if one.name == name)


def test_it_says_how_much_and_how_old():
    (found,), _ = judged(SLUG, added(OWNS_TWO, {2: 900.0}, starts={2: 15}))
    assert (value(found, "records there").value, value(found, "age of its first record").value) == (25, 900.0)
    assert found.subject.partition == 2
    assert found.steps[-1].command.argv[-1][1].raw == "events:2"
    assert "--dry-run" in found.steps[-1].command.argv


def test_several_partitions_are_one_finding_about_the_oldest():
    (found,), _ = judged(SLUG, added(OWNS_TWO, {2: 100.0, 3: 400.0, 4: 10.0}))
    assert (found.subject.partition, value(found, "partition")) == (None, 3)
    assert found.summary.values["records"].value == 80
    assert (found.severity, value(found, "of these partitions unowned")) == (CRITICAL, 2)


def test_partitions_that_are_owned_and_that_are_not_are_told_apart():
    (found,), _ = judged(SLUG, added(group("antifraud", [0, 1, 2]), {2: 900.0, 3: 100.0}))
    assert (found.severity, value(found, "of these partitions unowned")) == (WARNING, 1)


def test_another_groups_commit_does_not_count():
    world = added(OWNS_TWO, {2: 900.0})
    other = msgspec.structs.replace(world.commits[0], group=group("billing").group, on=place(2))
    assert len(judged(SLUG, msgspec.structs.replace(world, commits=(*world.commits, other)))[0]) == 1
    own = msgspec.structs.replace(other, group=OWNS_TWO.group)
    assert judged(SLUG, msgspec.structs.replace(world, commits=(*world.commits, own)))[0] == []


@pytest.mark.parametrize("fact", ["groups", "members", "commits", "log_ends", "record_times"])
def test_a_gap_in_what_it_needs_is_unknown(fact):
    findings, outcome = judged(SLUG, added(OWNS_ALL, {}, gaps=(gap(fact),)))
    assert (findings, outcome.outcome) == ([], Outcome.UNKNOWN)
