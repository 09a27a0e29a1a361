"""The proof of kafka-lag/rebalance-loop."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest
from kafka_worlds import frames, history, members, regrouped
from worlds import gap, judged

from diag.diagnosis.judge import folded
from diag.diagnosis.plan import explained
from diag.findings import Outcome, Severity
from diag.snapshots.base import Gap
from diag.snapshots.kafka import ConsumerGroup, KafkaHistory, KafkaLag
from diag.text import ServerText

SLUG = "kafka-lag/rebalance-loop"
PROGRESS = [100, 105, 105, 110, 115, 120]
STANDING = [100] * 6


def then(*ids: str, state: str = "Stable", epoch: int | None = None) -> ConsumerGroup:
    """The group as it is in one frame; each member is known by its id only."""
    of = tuple(msgspec.structs.replace(one, member_id=ServerText(id_)) for id_ in ids for one in members([0]))
    return ConsumerGroup(group=ServerText("billing"), state=state, members=of, epoch=epoch)


def world(
    *groups: ConsumerGroup, committed: Sequence[int] = PROGRESS, step_s: float = 3.0, gaps: tuple[Gap, ...] = ()
) -> list[KafkaLag]:
    """One partition that lags, while the group is, frame by frame, like this."""
    taken = frames(
        groups[0],
        {0: committed[: len(groups)]},
        {0: [9_000] * len(groups)},
        step_s=step_s,
        ages_s={0: 600.0},
        gaps=gaps,
    )
    return regrouped(taken, *groups)


MOVING = {"state": "PreparingRebalance"}
LOOP = [then("a", "b"), then("a"), then("a", "c"), then("c"), then("c", "d"), then("d")]
AT_REST = [then("a", "b")] * 6
STORIES = {
    "members come and go": (world(*LOOP), Severity.WARNING),
    "and nothing is committed": (world(*LOOP, committed=STANDING), Severity.CRITICAL),
    "three changes": (
        world(then("a"), then("a"), then("a"), then("b"), then("c"), then("d")),
        Severity.WARNING,
    ),
    "two changes": (world(then("a"), then("a"), then("a"), then("a"), then("b"), then("c")), None),
    "one member is expelled and back, again and again": (
        world(then("a", "b"), then("a"), then("a", "b"), then("a"), then("a", "b"), then("a", "b")),
        Severity.WARNING,
    ),
    "epochs rise, and the members look the same (KIP-848)": (
        world(*[then("a", "b", epoch=number * 2) for number in range(6)]),
        Severity.WARNING,
    ),
    "each member is replaced by another, and every epoch shows it": (
        world(
            then("a", "b", "c", epoch=0),
            then("b", "c", epoch=1),
            then("b", "c", "x", epoch=2),
            then("c", "x", epoch=3),
            then("c", "x", "y", epoch=4),
            then("x", "y", epoch=5),
        ),
        None,
    ),
    "a rolling deployment under way": (
        world(
            then("a", "b", "c"),
            then("b", "c"),
            then("b", "c", "x"),
            then("c", "x"),
            then("c", "x", "y"),
            then("x", "y"),
        ),
        None,
    ),
    "members came and went, but no more in the last third": (
        world(then("a"), then("b"), then("c"), then("d"), then("d"), then("d")),
        None,
    ),
    "one rebalance that takes long": (world(*[then("a", "b", **MOVING)] * 6), None),
    "a group at rest": (world(*AT_REST), None),
}


@pytest.mark.parametrize(("taken", "severity"), STORIES.values(), ids=STORIES.keys())
def test_what_it_says_of(taken, severity):
    findings, outcome = judged(SLUG, *taken)
    assert [found.severity for found in findings] == ([] if severity is None else [severity])
    assert outcome.outcome is (Outcome.CLEAR if severity is None else Outcome.FOUND)


def past(*ago_s: float, ids: Sequence[Sequence[str]] | None = None, poll_interval_s: float = 300.0) -> KafkaHistory:
    """An hour with rebalances that many seconds ago, and the members of each where they are known."""
    found = history(
        committed={0: [(-3_600, 0), (-1_800, 50), (-20, 100)]},
        produced={0: [(-3_600, 4_000), (-20, 9_000)]},
        name="billing",
        rebalances=[(-at_s, number) for number, at_s in enumerate(ago_s)],
        poll_interval_s=poll_interval_s,
    )
    if ids is None:
        return found
    known = zip(found.rebalances, ids, strict=True)
    return msgspec.structs.replace(
        found,
        rebalances=tuple(
            msgspec.structs.replace(one, members=tuple(ServerText(id_) for id_ in of)) for one, of in known
        ),
    )


SHORT = {"step_s": 1.0}
EVERY_5_MIN = (1_700, 1_400, 1_100, 800, 500, 200)
PASTS = {
    "one change each poll interval": (past(*EVERY_5_MIN), True),
    "one less": (past(*EVERY_5_MIN[1:]), False),
    "over for ten minutes": (past(*(at_s + 420 for at_s in EVERY_5_MIN)), False),
    "a deployment a minute ago": (past(100, 90, 80, 70, 65, 60), False),
    "known members that come and go, since five minutes": (
        past(290, 240, 190, 140, 90, 40, ids=["a", "b", "c", "d", "e", "f"]),
        True,
    ),
    "known members, one change less": (past(290, 240, 190, 140, 90, ids=["a", "b", "c", "d", "e"]), False),
    "known members that came and went, and rest for ten minutes": (
        past(890, 840, 790, 740, 690, 601, ids=["a", "b", "c", "d", "e", "f"]),
        False,
    ),
    "known members, each replaced once": (
        past(290, 240, 190, 140, 90, 40, ids=["bc", "bcx", "cx", "cxy", "xy", "xyz"]),
        False,
    ),
}


@pytest.mark.parametrize(("before", "is_loop"), PASTS.values(), ids=PASTS.keys())
def test_what_it_says_of_the_past(before, is_loop):
    now = [then("a", "b")] * 2
    findings, _ = judged(SLUG, *world(*now, **SHORT), before)
    assert bool(findings) is is_loop


def test_it_says_how_often_and_how_far_apart():
    ((found,), _) = judged(SLUG, *world(*[then("a")] * 2, **SHORT), past(*EVERY_5_MIN))
    measured = {one.name: one.value for one in found.evidence}
    assert measured["changes of membership"] == 6
    assert measured["from one change to the next"].value == pytest.approx(300.0)
    assert measured["changes a minute"] == pytest.approx(0.2)


def test_the_arithmetic_of_polls():
    """Half a record a second: 500 take 1 000 s, and the members allow themselves 60 s, hence 15 records in half."""
    before = history(
        committed={0: [(-3_600, 0), (-1_800, 900), (-20, 1_790)]},
        produced={0: [(-3_600, 4_000), (-20, 9_000)]},
        name="billing",
        rebalances=[(-2_000, 1)],
        poll_interval_s=60.0,
    )
    ((found,), _) = judged(SLUG, *world(*LOOP, committed=[1_792, 1_794, 1_795, 1_797, 1_798, 1_800]), before)
    measured = {one.name: one.value for one in found.evidence}
    assert measured["it may take"].value == 60.0
    assert measured["a full poll takes"].value == pytest.approx(1_000, rel=0.02)
    assert found.steps[-1].title.values["wanted"].values["few"] in (14, 15)


def test_without_history_the_default_interval_is_said_to_be_one():
    ((found,), _) = judged(SLUG, *world(*LOOP))
    (allowed,) = (one for one in found.evidence if one.name == "it may take")
    assert (allowed.value.value, allowed.source) == (300.0, "default max.poll.interval.ms")


def test_a_group_with_nothing_to_read_is_left_alone():
    taken = regrouped(frames(LOOP[0], {0: [9] * 6}, {0: [9] * 6}, step_s=3.0), *LOOP)
    assert judged(SLUG, *taken)[0] == []


def test_a_window_just_too_short_is_skipped():
    assert judged(SLUG, *world(*LOOP, step_s=2.99))[1].outcome is Outcome.SKIPPED


def test_members_that_cannot_be_read_change_nothing():
    hidden = ConsumerGroup(group=ServerText("billing"), state="Stable", members=None)
    assert judged(SLUG, *world(*[hidden] * 6))[0] == []


def test_it_explains_the_time_lag_and_the_moment_without_members():
    taken = world(*LOOP[:5], ConsumerGroup(group=ServerText("billing"), state="Empty", members=()), committed=STANDING)
    others = [*judged("kafka-lag/dead-group", *taken)[0], *judged("kafka-lag/time-lag", *taken)[0]]
    assert len(others) == 2
    shown = folded([*others, *judged(SLUG, *taken)[0]], {SLUG: explained(SLUG).check.explains})
    assert [found.check for found in shown] == [SLUG]


@pytest.mark.parametrize("fact", ["groups", "members"])
def test_a_gap_in_what_it_needs_is_unknown(fact):
    findings, outcome = judged(SLUG, *world(*AT_REST, gaps=(gap(fact),)))
    assert (findings, outcome.outcome) == ([], Outcome.UNKNOWN)
