"""The proof of kafka-lag/crash-loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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

SLUG = "kafka-lag/crash-loop"
FROZEN, IDLE = [100] * 6, [160] * 6
KEEPS_UP, WRITTEN = [100, 160, 160, 220, 220, 280], [160, 160, 220, 220, 280, 280]
BEHIND, GROWING = [100, 110, 120, 130, 140, 150], [9_000, 9_100, 9_200, 9_300, 9_400, 9_500]


def then(*ids: str, state: str = "Stable") -> ConsumerGroup:
    """The group as it is in one frame: the first of these members owns everything."""
    of = (msgspec.structs.replace(one, member_id=ServerText(id_)) for id_ in ids for one in members([0, 1, 2]))
    return ConsumerGroup(group=ServerText("ledger"), state=state, members=tuple(of))


CRASHES = [then("a"), then("a", "b", state="PreparingRebalance"), then("b"), then("c"), then("c", "d"), then("d")]
AT_REST = [then("a")] * 6


def world(  # noqa: PLR0913  a world is these
    committed: Mapping[int, Sequence[int]],
    *groups: ConsumerGroup,
    ends: Mapping[int, Sequence[int]] | None = None,
    ages_s: Mapping[int, float] | None = None,
    step_s: float = 3.0,
    stable: Mapping[int, int] | None = None,
    gaps: tuple[Gap, ...] = (),
) -> list[KafkaLag]:
    """The group is, frame by frame, like this; all partitions have the same log end unless said otherwise."""
    taken = frames(
        groups[0],
        committed,
        ends or dict.fromkeys(committed, WRITTEN),
        step_s=step_s,
        ages_s={0: 600.0} if ages_s is None else ages_s,
        stable=stable,
        gaps=gaps,
    )
    return regrouped(taken, *groups)


POISON = {0: FROZEN, 1: KEEPS_UP, 2: KEEPS_UP}
STORIES = {
    "members die at one offset, and read the rest in each life": (world(POISON, *CRASHES), [0]),
    "there is one partition only": (world({0: FROZEN}, *CRASHES), [0]),
    "the others have nothing to read": (
        world({0: FROZEN, 1: IDLE}, *CRASHES, ends={0: WRITTEN, 1: IDLE}),
        [0],
    ),
    "the group is empty just now": (world(POISON, *CRASHES[:5], then(state="Empty")), [0]),
    "the record is just not late": (world(POISON, *CRASHES, ages_s={0: 29.9}), []),
    "the record is just late": (world(POISON, *CRASHES, ages_s={0: 30.0}), [0]),
    "its age is unknown: it stands all the same": (world(POISON, *CRASHES, ages_s={}), [0]),
    "three changes": (world(POISON, then("a"), then("a"), then("a"), then("b"), then("c"), then("d")), [0]),
    "two changes": (world(POISON, then("a"), then("a"), then("a"), then("a"), then("b"), then("c")), []),
    # What must stay silent.
    "members stay: a partition that stands is another finding": (world(POISON, *AT_REST), []),
    "members come and go, and all partitions move": (world({0: KEEPS_UP, 1: KEEPS_UP}, *CRASHES), []),
    "members come and go, and none moves: no single offset": (world({0: FROZEN, 1: FROZEN}, *CRASHES), []),
    "the others are behind: a partition may have had no turn in so few lives": (
        world({0: FROZEN, 1: BEHIND, 2: BEHIND}, *CRASHES, ends=dict.fromkeys(range(3), GROWING)),
        [],
    ),
    "a rolling deployment while it stands": (
        world(POISON, then("a", "b"), then("b"), then("b", "x"), then("x"), then("x", "y"), then("x", "y")),
        [],
    ),
    "nothing is left to read there": (world(POISON, *CRASHES, ends={0: FROZEN, 1: WRITTEN, 2: WRITTEN}), []),
    "an open transaction holds it": (world(POISON, *CRASHES, stable={0: 100}), []),
}


@pytest.mark.parametrize(("taken", "at"), STORIES.values(), ids=STORIES.keys())
def test_what_it_says_of(taken, at):
    findings, outcome = judged(SLUG, *taken)
    assert [found.subject.partition for found in findings] == at
    assert {found.severity for found in findings} <= {Severity.CRITICAL}
    assert outcome.outcome is (Outcome.FOUND if at else Outcome.CLEAR)


def test_after_many_lives_it_is_told_from_partitions_that_are_behind():
    read, written = [(-900, 10), (-450, 50), (-200, 70), (-20, 99)], [(-900, 8_000), (-20, 8_990)]

    def past(changes: int) -> KafkaHistory:
        return history(
            committed={0: [(-900, 100), (-20, 100)], 1: read, 2: read},
            produced={0: written, 1: written, 2: written},
            name="ledger",
            rebalances=[(-40.0 * (changes - number), number) for number in range(changes)],
        )

    behind = world({0: FROZEN, 1: BEHIND, 2: BEHIND}, *CRASHES, ends=dict.fromkeys(range(3), GROWING))
    assert judged(SLUG, *behind, past(6))[0] == []
    assert [found.subject.partition for found in judged(SLUG, *behind, past(12))[0]] == [0]


def test_a_loop_slower_than_the_standstill_is_not_its_reason():
    slow = history(
        committed={0: [(-900, 10), (-20, 90)], 1: [(-900, 10), (-20, 90)]},
        produced={0: [(-900, 90), (-20, 99)], 1: [(-900, 90), (-20, 99)]},
        name="ledger",
        rebalances=[(-at_s, number) for number, at_s in enumerate((1_700, 1_400, 1_100, 800, 500, 200))],
    )
    taken = world({0: FROZEN, 1: KEEPS_UP}, *AT_REST)
    assert [found.check for found in judged("kafka-lag/rebalance-loop", *taken, slow)[0]]
    assert judged(SLUG, *taken, slow)[0] == []


def test_it_names_the_offset_and_how_to_look_at_it():
    ((found,), _) = judged(SLUG, *world(POISON, *CRASHES))
    assert found.summary.values["offset"] == 100
    assert found.summary.values["changes"].value == 5
    commands = [step.command.argv for step in found.steps if step.command]
    assert "--offset=100" in commands[1]
    assert commands[2][-2:] == ("--to-offset=101", "--dry-run")


def test_a_window_just_too_short_is_skipped():
    assert judged(SLUG, *world(POISON, *CRASHES, step_s=2.99))[1].outcome is Outcome.SKIPPED


def test_both_are_named_and_the_crash_comes_first():
    taken = world({0: FROZEN}, *CRASHES[:5], then(state="Empty"))
    slugs = [f"kafka-lag/{name}" for name in ("dead-group", "rebalance-loop", "time-lag")]
    others = [found for slug in slugs for found in judged(slug, *taken)[0]]
    assert {found.check for found in others} == set(slugs)
    shown = folded(
        [*others, *judged(SLUG, *taken)[0]], {slug: explained(slug).check.explains for slug in (SLUG, *slugs)}
    )
    assert [found.check for found in shown] == [SLUG]
    assert {found.check for found in shown[0].explained} == set(slugs)


@pytest.mark.parametrize("fact", ["groups", "commits", "log_ends", "members", "record_times"])
def test_a_gap_in_what_it_needs_is_unknown(fact):
    findings, outcome = judged(SLUG, *world({0: KEEPS_UP}, *AT_REST, gaps=(gap(fact),)))
    assert (findings, outcome.outcome) == ([], Outcome.UNKNOWN)
