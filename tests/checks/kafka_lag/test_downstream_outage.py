"""The proof of kafka-lag/downstream-outage."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest
from kafka_worlds import frames, group, history, place, regrouped
from worlds import NOW, gap, judged

from diag.diagnosis.judge import folded
from diag.diagnosis.plan import explained
from diag.findings import Basis, Outcome, Severity
from diag.snapshots.kafka import BrokerId, Leaderless

SLUG = "kafka-lag/downstream-outage"
PAIR = group("antifraud", (0, 1), (2, 3))
SOLO = group("antifraud", (0, 1, 2, 3))
AT_ONCE = {0: 181.0, 1: 180.0, 2: 180.0, 3: 176.0}


def world(committed=(40, 40, 40, 40), *, of=PAIR, ages_s=None, more_written=10, **more):
    """Four looks, 5 s apart. A number stands still; a list is where a partition was at each look."""
    offsets = {on: one if isinstance(one, list) else [one] * 4 for on, one in enumerate(committed)}
    ends = {on: [1_000 + more_written * turn for turn in range(4)] for on in offsets}
    return frames(of, offsets, ends, ages_s=AT_ONCE if ages_s is None else ages_s, **more)


def late(*ages_s):
    return {on: age_s for on, age_s in enumerate(ages_s) if age_s is not None}


CAUGHT_UP = [1_000, 1_010, 1_020, 1_030]  # reads what is written

WORLDS = {
    "everybody stands still": (world(), [Severity.CRITICAL]),
    "just before critical": (world(ages_s=late(*[59.9] * 4)), [Severity.WARNING]),
    "at critical": (world(ages_s=late(*[60.0] * 4)), [Severity.CRITICAL]),
    "not late yet": (world(ages_s=late(*[29.9] * 4)), []),
    "at the limit of lateness": (world(ages_s=late(*[30.0] * 4)), [Severity.WARNING]),
    "one partition got its first record only lately": (
        world(ages_s=late(180.0, 180.0, 180.0, 9.0)),
        [Severity.CRITICAL],
    ),
    "nothing more is written": (world(more_written=0), [Severity.CRITICAL]),
    "how late is unknown, and there was always something to read": (world(ages_s={}), [Severity.WARNING]),
    "how late is unknown, and there was nothing to read before": (
        world([1_000] * 4, ages_s={}, more_written=10),
        [],
    ),
    "one partition of four still moves": (world([40, 40, 40, [40, 40, 40, 41]]), []),
    "one partition that is read to its end moves": (world([40, 40, 40, CAUGHT_UP], ages_s=late(180, 180, 180)), []),
    "it moved until the first look": (world([[30, 40, 40, 40]] * 4), []),  # still for 10 s only
    "a partition that is read to its end and gets nothing": (
        world([40, 40, 40, 1_000], more_written=0, ages_s=late(180, 180, 180)),
        [Severity.CRITICAL],
    ),
    "nobody is late": (world([CAUGHT_UP] * 4, ages_s={}), []),
    "a rebalance under way": (world(of=group("antifraud", (0, 1), (2, 3), state="PreparingRebalance")), []),
    "no members": (world(of=group("antifraud", state="Empty")), []),
    "a share group waits for one record where its members read on": (
        world(of=group("antifraud", (0, 1), (2, 3), protocol="share")),
        [],
    ),
    "commits of a topic that nobody reads any more": (world(of=group("antifraud", (7,), (8,))), []),
    "all of it is held up by open transactions": (world(stable=dict.fromkeys(range(4), 40)), []),
    "a transaction holds up one partition, the others stand too": (world(stable={0: 40}), [Severity.CRITICAL]),
    "a partition without leader": (
        world(leaderless=(Leaderless(on=place(1), replicas=(BrokerId(1),), in_sync=()),)),
        [],
    ),
    "a partition without leader that others read": (
        world(leaderless=(Leaderless(on=place(1, "payments"), replicas=(BrokerId(1),), in_sync=()),)),
        [Severity.CRITICAL],
    ),
}


@pytest.mark.parametrize(("window", "said"), WORLDS.values(), ids=WORLDS.keys())
def test_what_it_says_of(window, said):
    assert [found.severity for found in judged(SLUG, *window)[0]] == said


def test_too_short_a_window_is_skipped_and_not_clear():
    assert judged(SLUG, *world(step_s=4.9))[1].outcome is Outcome.SKIPPED
    assert judged(SLUG, *world(step_s=5.0))[1].outcome is Outcome.FOUND


def test_they_stopped_together():
    (found,), _ = judged(SLUG, *world())
    since = found.summary.values["since"]
    assert (since.template, since.values["at"]) == ("stopped together at about {at}", NOW - timedelta(seconds=180))
    assert found.summary.values["members"].value == 2
    assert "look at what they write to" in found.summary.template
    assert found.basis is Basis.DERIVED


def test_partitions_that_were_behind_before_tell_no_common_time():
    (found,), _ = judged(SLUG, *world(ages_s=late(600.0, 300.0, 90.0, 40.0)))
    assert found.summary.values["since"].template == "for {span} or longer"


@pytest.mark.parametrize(
    ("window", "why"),
    [
        (world(of=SOLO), "a single member"),
        (world([40, *[1_000] * 3], more_written=0, ages_s=late(180)), "a single partition"),
    ],
    ids=["a single member", "a single partition"],
)
def test_one_reader_may_hang_by_itself(window, why):
    (found,), _ = judged(SLUG, *window)
    assert "look the same" in found.summary.template, why
    assert found.basis is Basis.HYPOTHESIS
    assert not [one for one in found.ruled_out if one.template.startswith("one hung member")]


def test_an_open_transaction_is_ruled_out_only_where_it_was_looked_for():
    def excluded(window):
        (found,), _ = judged(SLUG, *window)
        return any("transaction" in one.template for one in found.ruled_out)

    blind = [
        msgspec.structs.replace(
            look,
            log_ends=tuple(msgspec.structs.replace(log, last_stable_offset=None) for log in look.log_ends),
        )
        for look in world()
    ]
    assert (excluded(world()), excluded(blind)) == (True, False)


def test_members_that_come_and_go_are_another_story():
    window, other = world(), group("antifraud", (0, 1), (), (2, 3))
    assert judged(SLUG, *regrouped(window, PAIR, PAIR, PAIR, other))[0] == []


def test_members_that_were_unseen_once_are_no_change():
    unseen = msgspec.structs.replace(PAIR, members=None)
    window = regrouped(world(), PAIR, unseen, PAIR, PAIR)
    assert [found.severity for found in judged(SLUG, *window)[0]] == []  # and no claim that they stayed


def past(*marks):
    """The commits of a partition: (seconds ago, offset), and what was written all along."""
    committed = dict.fromkeys(range(4), marks)
    return history(committed=committed, produced={on: [(-600.0, 100), (-20.0, 990)] for on in range(4)})


def test_with_a_past_the_last_commit_tells_when():
    """Two looks are enough then; the records at the offsets are older, since the group was behind before."""
    window = world(ages_s=late(*[400.0] * 4))[-2:]
    moving = [(-300.0 + 5 * turn, turn) for turn in range(40)]  # until 105 s ago
    (found,), _ = judged(SLUG, *window, past(*moving, (-100.0, 40), (-10.0, 40)))
    assert found.summary.values["since"].values["at"] == NOW - timedelta(seconds=100)
    assert next(one.value.value for one in found.evidence if one.name == "no offset moved for") == 100.0


@pytest.mark.parametrize(("last_commit_s", "said"), [(-179.0, 0), (-180.0, 1)])
def test_members_that_commit_once_a_minute_are_given_three(last_commit_s, said):
    """Kafka Connect's offset.flush.interval.ms is 60 s."""
    moving = [(last_commit_s - 60 * turn, 40 - turn) for turn in range(9, -1, -1)]
    assert len(judged(SLUG, *world()[-2:], past(*moving, (-10.0, 40)))[0]) == said


def test_it_explains_lateness_and_idle_members():
    window = world(of=group("antifraud", (0, 1), (2, 3), ()))
    shown = folded(
        [found for slug in ("time-lag", "idle-members") for found in judged(f"kafka-lag/{slug}", *window)[0]]
        + judged(SLUG, *window)[0],
        {SLUG: explained(SLUG).check.explains},
    )
    assert [(found.check, len(found.explained)) for found in shown] == [(SLUG, 2)]


@pytest.mark.parametrize("fact", ["groups", "members", "commits", "log_ends", "leaderless", "transactions"])
def test_a_gap_in_what_it_needs_is_unknown(fact):
    findings, outcome = judged(SLUG, *world([CAUGHT_UP] * 4, ages_s={}, gaps=(gap(fact),)))
    assert (findings, outcome.outcome) == ([], Outcome.UNKNOWN)
