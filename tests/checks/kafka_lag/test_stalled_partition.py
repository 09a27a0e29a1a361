"""The proof of kafka-lag/stalled-partition."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest
from kafka_worlds import frames, group, history, place, regrouped
from worlds import NOW, gap, judged

from diag.diagnosis.judge import folded
from diag.diagnosis.plan import explained
from diag.findings import Finding, Outcome, Severity
from diag.snapshots.base import Gap
from diag.snapshots.kafka import ConsumerGroup, KafkaLag, Leaderless
from diag.text import ServerText

SLUG = "kafka-lag/stalled-partition"
FROZEN, IDLE = [100, 100, 100, 100], [100, 100, 100, 100]
MOVING, WRITTEN = [100, 150, 200, 250], [110, 160, 210, 260]
SAW = [100_000, 150_000, 200_000, 250_000]  # log ends
BEHIND, GROWING = [100, 150, 200, 250], [5_000, 5_050, 5_100, 5_150]
LATE = {0: 600.0}
ONE_MEMBER = group("antifraud", [0, 1, 2])
TWO_MEMBERS = group("antifraud", [0, 1], [2, 3])
ONE_EACH = group("antifraud", [0], [1], [2])


def world(  # noqa: PLR0913  a world is these
    committed: dict[int, list[int]],
    *,
    of: ConsumerGroup = ONE_MEMBER,
    ends: dict[int, list[int]] | None = None,
    ages_s: dict[int, float] = LATE,
    step_s: float = 5.0,
    stable: dict[int, int] | None = None,
    gaps: tuple[Gap, ...] = (),
) -> list[KafkaLag]:
    """Partitions with the same log end as one another unless said otherwise."""
    return frames(
        of, committed, ends or dict.fromkeys(committed, WRITTEN), ages_s=ages_s, step_s=step_s, stable=stable, gaps=gaps
    )


POISON = {0: FROZEN, 1: MOVING, 2: MOVING}
STORIES = {
    "one partition stands, its member's others move": (world(POISON), [(Severity.CRITICAL, 0)]),
    "two of four stand": (
        world({0: FROZEN, 1: MOVING, 2: FROZEN, 3: MOVING, 4: MOVING}, of=group("antifraud", [0, 1, 2, 3, 4])),
        [(Severity.CRITICAL, 0), (Severity.WARNING, 2)],
    ),
    "its age is unknown: it stands all the same": (world(POISON, ages_s={}), [(Severity.WARNING, 0)]),
    "the record is just not late": (world(POISON, ages_s={0: 29.9}), []),
    "the record is just late": (world(POISON, ages_s={0: 30.0}), [(Severity.WARNING, 0)]),
    "just not critical": (world(POISON, ages_s={0: 299.9}), [(Severity.WARNING, 0)]),
    "critical": (world(POISON, ages_s={0: 300.0}), [(Severity.CRITICAL, 0)]),
    "its member owns nothing else, but other members move": (world(POISON, of=ONE_EACH), [(Severity.CRITICAL, 0)]),
    "its member's others have nothing to read, but other members move": (
        world(
            {0: FROZEN, 1: IDLE, 2: MOVING, 3: MOVING},
            of=TWO_MEMBERS,
            ends={0: WRITTEN, 1: IDLE, 2: WRITTEN, 3: WRITTEN},
        ),
        [(Severity.CRITICAL, 0)],
    ),
    "the others are far behind, but two of them move all along": (
        world({0: FROZEN, 1: BEHIND, 2: BEHIND}, ends=dict.fromkeys((0, 1, 2), GROWING)),
        [(Severity.CRITICAL, 0)],
    ),
    # What must stay silent.
    "everything moves": (world({0: MOVING, 1: MOVING, 2: MOVING}), []),
    "everything stands: nobody reads, or the sink is away": (world(dict.fromkeys((0, 1, 2), FROZEN)), []),
    "all of a member stands, other members move: the member hangs": (
        world({0: FROZEN, 1: FROZEN, 2: MOVING, 3: MOVING}, of=TWO_MEMBERS),
        [],
    ),
    "two of a member stand, other members move": (
        world(
            {0: FROZEN, 1: FROZEN, 2: MOVING, 3: MOVING, 4: MOVING},
            of=group("antifraud", [0, 1], [2, 3, 4]),
            ages_s={0: 600.0, 1: 600.0},
        ),
        [],
    ),
    "the others moved, and do so no more": (world({0: FROZEN, 1: [100, 210, 210, 210]}, of=ONE_MEMBER), []),
    "in a state that is new to us": (world(POISON, of=group("antifraud", [0, 1, 2], state="Resting")), []),
    "nothing is left to read on what stands": (world(POISON, ends={0: FROZEN, 1: WRITTEN, 2: WRITTEN}), []),
    "old records that were copied there just now": (
        world(POISON, ends={0: [100, 100, 100, 900], 1: WRITTEN, 2: WRITTEN}),
        [],
    ),
    "an open transaction holds it": (world(POISON, stable={0: 100}), []),
    "the group is rebalancing": (world(POISON, of=group("antifraud", [0, 1, 2], state="PreparingRebalance")), []),
    "a share group": (world(POISON, of=group("antifraud", [0, 1, 2], protocol="share")), []),
    "nobody owns it": (world(POISON, of=group("antifraud", [1, 2])), []),
    "a member far behind reads one partition after the other": (
        world(
            {0: FROZEN, 1: [100, 600, 1_100, 1_100], 2: [100, 100, 100, 600]}, ends=dict.fromkeys((0, 1, 2), GROWING)
        ),
        [],
    ),
    "two partitions far behind, one of them has its turn": (
        world({0: FROZEN, 1: BEHIND}, of=group("antifraud", [0, 1]), ends=dict.fromkeys((0, 1), GROWING)),
        [],
    ),
    "a slow commit interval: two commits in the whole window": (
        world({0: FROZEN, 1: [100, 100, 100, 260], 2: [100, 100, 100, 260]}),
        [],
    ),
    "half of a topic stands: what it is written to": (
        world({0: FROZEN, 1: FROZEN, 2: MOVING, 3: MOVING}, of=group("antifraud", [0, 1, 2, 3])),
        [],
    ),
    "commit sawtooth of 5 s at 10 000 a second": (
        world(
            {0: [50_000, 100_000, 150_000, 200_000], 1: [0, 50_000, 100_000, 150_000]},
            of=group("antifraud", [0, 1]),
            ends=dict.fromkeys((0, 1), SAW),
            ages_s={0: 5.0, 1: 10.0},
        ),
        [],
    ),
}


def said(findings: list[Finding]) -> list[tuple[Severity, int | None]]:
    return [(found.severity, found.subject.partition) for found in findings]


@pytest.mark.parametrize(("taken", "expected"), STORIES.values(), ids=STORIES.keys())
def test_what_it_says_of(taken, expected):
    findings, outcome = judged(SLUG, *taken)
    assert sorted(said(findings)) == sorted(expected)
    assert outcome.outcome is (Outcome.FOUND if expected else Outcome.CLEAR)


def test_it_says_where_since_when_and_how_to_look_at_it():
    ((found,), _) = judged(SLUG, *world(POISON, of=ONE_MEMBER))
    assert found.summary.values["offset"] == 100
    assert found.summary.values["since"] == NOW - timedelta(seconds=15)
    measured = {one.name: one.value for one in found.evidence}
    assert measured["record there written"] == NOW - timedelta(seconds=600)
    assert measured["other partitions moved"] == 2
    commands = [step.command.argv for step in found.steps if step.command]
    assert "--offset=100" in commands[1]
    assert commands[2][-2:] == ("--to-offset=101", "--dry-run")
    assert ("--topic=", ServerText("events:0")) in commands[2]
    assert not [argv for argv in commands if "--execute" in argv]


def test_where_the_log_begins_later_that_is_the_record_to_look_at():
    taken = frames(ONE_MEMBER, POISON, dict.fromkeys(POISON, WRITTEN), ages_s=LATE, starts={0: 105})
    ((found,), _) = judged(SLUG, *taken)
    assert found.summary.values["offset"] == 105


def test_a_window_just_too_short_is_skipped():
    assert judged(SLUG, *world(POISON, step_s=4.99))[1].outcome is Outcome.SKIPPED
    assert judged(SLUG, *world(POISON, step_s=5.0))[1].outcome is Outcome.FOUND


def test_a_leaderless_partition_is_not_called_stalled():
    lost = (Leaderless(on=place(0), replicas=(), in_sync=()),)
    taken = [msgspec.structs.replace(one, leaderless=lost) for one in world(POISON)]
    assert judged(SLUG, *taken)[0] == []


def test_where_nobody_knows_what_was_there_to_read_it_is_not_called_stalled():
    first, *later = world(POISON)
    first = msgspec.structs.replace(first, log_ends=tuple(log for log in first.log_ends if log.on != place(0)))
    assert judged(SLUG, first, *later)[0] == []


def test_a_member_that_joined_just_now_has_not_had_its_chance():
    before, after = group("antifraud", [0, 1]), group("antifraud", [0, 1], [2])
    taken = regrouped(world(POISON), before, after, after, after)
    assert judged(SLUG, *taken)[0] == []


def test_the_past_shows_it_where_the_window_is_short():
    past = history(
        committed={0: [(-1_800, 100), (-2, 100)], 1: [(at_s, 1_000 + at_s) for at_s in range(-900, 0, 5)]},
        produced={0: [(-1_800, 90), (-2, 300)], 1: [(-900, 100), (-2, 998)]},
    )
    now = frames(
        group("antifraud", [0, 1]),
        {0: [100, 100], 1: [1_000, 1_002]},
        {0: [300, 301], 1: [1_000, 1_003]},
        step_s=2.0,
        ages_s=LATE,
    )
    assert said(judged(SLUG, *now, past)[0]) == [(Severity.CRITICAL, 0)]
    assert judged(SLUG, *now)[1].outcome is Outcome.SKIPPED


def test_idle_for_an_hour_and_then_a_record_is_no_standstill():
    past = history(
        committed={0: [(-3_000, 100), (-2, 100)], 1: [(at_s, 1_000 + at_s) for at_s in range(-900, 0, 5)]},
        produced={0: [(-3_000, 100), (-12, 100), (-2, 300)], 1: [(-900, 100), (-2, 998)]},
    )
    now = frames(
        group("antifraud", [0, 1]), {0: [100, 100], 1: [1_000, 1_002]}, {0: [300, 301], 1: [1_000, 1_003]}, step_s=2.0
    )
    assert judged(SLUG, *now, past)[0] == []


def test_it_explains_the_time_lag_it_causes():
    taken = world(POISON)
    late = judged("kafka-lag/time-lag", *taken)[0]
    shown = folded([*late, *judged(SLUG, *taken)[0]], {SLUG: explained(SLUG).check.explains})
    assert [found.check for found in shown] == [SLUG]


@pytest.mark.parametrize("fact", ["groups", "commits", "log_ends", "members", "record_times"])
def test_a_gap_in_what_it_needs_is_unknown(fact):
    findings, outcome = judged(SLUG, *world({0: MOVING}, of=group("antifraud", [0]), gaps=(gap(fact),)))
    assert (findings, outcome.outcome) == ([], Outcome.UNKNOWN)
