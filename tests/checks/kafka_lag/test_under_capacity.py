"""The proof of kafka-lag/under-capacity."""

from __future__ import annotations

import msgspec
import pytest
from kafka_worlds import frames, group, history, place, regrouped
from worlds import gap, judged

from diag.diagnosis.judge import folded
from diag.diagnosis.plan import explained
from diag.findings import Outcome, Severity
from diag.snapshots.kafka import TopicSettings
from diag.text import ServerText

SLUG = "kafka-lag/under-capacity"
PAIR = group("antifraud", (0, 1), (2, 3))
SOLO = group("antifraud", (0,))
WRITTEN = 500  # records a partition gets between two looks, 5 s apart: 100 a second
BACKLOG = 6_000


def world(reads, *, of=PAIR, samples=6, late_s=60.0, backlog=BACKLOG, **more):
    """Looks at a topic, by what is read of each partition from one look to the next."""
    committed = {on: [each * turn for turn in range(samples)] for on, each in enumerate(reads)}
    ends = {on: [backlog + WRITTEN * turn for turn in range(samples)] for on in committed}
    ages_s = more.pop("ages_s", dict.fromkeys(committed, late_s))
    return frames(of, committed, ends, ages_s=ages_s, **more)


def in_turns(samples):
    """One member that drains one of its partitions after the other, as fetched: 300 in 5 s, now here, now there."""
    first = [600 * (turn // 2) + 300 * (turn % 2) for turn in range(samples)]
    return {0: [min(offset, 600) for offset in first], 1: [max(0, offset - 600) for offset in first]}


WORLDS = {
    "every member reads less than is written for it": (world([300] * 4), [Severity.WARNING]),
    "just before critical": (world([300] * 4, late_s=299.9), [Severity.WARNING]),
    "at critical": (world([300] * 4, late_s=300.0), [Severity.CRITICAL]),
    "not late yet: a burst may drain": (world([300] * 4, late_s=29.9), []),
    "at the limit of lateness": (world([300] * 4, late_s=30.0), [Severity.WARNING]),
    "it reads just as much as is written": (world([500] * 4), []),
    "it drains": (world([700] * 4), []),
    "nobody reads anything: an outage, not a lack of members": (world([0] * 4), []),
    "four samples are too few for a rate": (world([300] * 4, samples=4), []),
    "five are enough": (world([300] * 4, samples=5), [Severity.WARNING]),
    "the lag grew by one commit: a sawtooth": (world([400] * 4, samples=5), []),  # 4 x 100 on each, commits of 400
    "by just more than one commit": (world([399] * 4, samples=5), [Severity.WARNING]),
    "hardly a backlog: caught up says nothing of capacity": (world([300] * 4, backlog=300), []),
    "one slow member of two": (world([300, 300, 500, 500]), []),
    "one partition behind, the others fine": (
        world([300, 500, 500, 500], ages_s={0: 60.0, 1: 1.0, 2: 1.0, 3: 1.0}),
        [],
    ),
    "half of the partitions late are not most": (world([300] * 4, ages_s={0: 60.0, 1: 60.0, 2: 1.0, 3: 1.0}), []),
    "three of four are": (world([300] * 4, ages_s={0: 60.0, 1: 60.0, 2: 60.0, 3: 1.0}), [Severity.WARNING]),
    "how late is unknown": (world([300] * 4, ages_s={}), []),
    "one partition and one member": (world([300], of=SOLO), [Severity.WARNING]),
    "a rebalance under way": (world([300] * 4, of=group("antifraud", (0, 1), (2, 3), state="PreparingRebalance")), []),
    "a share group has no owners": (world([300] * 4, of=group("antifraud", (0, 1), (2, 3), protocol="share")), []),
    "a group nobody is in": (world([0] * 4, of=group("antifraud", state="Empty")), []),
    "commits of a topic that nobody reads any more": (world([300] * 4, of=group("antifraud", (7,))), []),
}


@pytest.mark.parametrize(("window", "said"), WORLDS.values(), ids=WORLDS.keys())
def test_what_it_says_of(window, said):
    assert [found.severity for found in judged(SLUG, *window)[0]] == said


def test_too_short_a_window_is_skipped_and_not_clear():
    _, outcome = judged(SLUG, *world([300] * 4, step_s=2.9))
    assert outcome.outcome is Outcome.SKIPPED
    assert judged(SLUG, *world([300] * 4, step_s=3.0))[1].outcome is Outcome.FOUND


def test_a_member_that_drains_its_partitions_in_turns_is_seen_as_what_it_reads():
    ends = {on: [BACKLOG + WRITTEN * turn for turn in range(5)] for on in (0, 1)}
    (found,), _ = judged(SLUG, *frames(group("antifraud", (0, 1)), in_turns(5), ends, ages_s={0: 60.0, 1: 60.0}))
    assert number(found, "read each second") == pytest.approx(60.0)
    assert number(found, "written each second") == pytest.approx(200.0)


def number(found, name):
    value = next((one.value for one in found.evidence if one.name == name), None)
    return getattr(value, "value", value)


@pytest.mark.parametrize(
    ("reads", "of", "backlog", "needed", "helps"),
    [
        # 2 members read 120/s each of 400/s; lag 27 800 records: (400 + 27 800 / 600) / 120 = 3.7
        ([300] * 4, PAIR, BACKLOG, 4, "{wanted} would, within {limit}, and its {there} suffice"),
        # 244 000 records: 6.7, and there are four partitions
        ([300] * 4, PAIR, 60_000, 7, "{wanted} would, within {limit}, but its {there} feed no more than as many"),
        # one partition gets 100/s and its only reader takes 60
        (
            [300],
            SOLO,
            BACKLOG,
            2,
            "no number of members helps: one partition gets {written} a second, one member reads {read}",
        ),
    ],
)
def test_it_computes_how_many_members_it_takes(reads, of, backlog, needed, helps):
    (found,), _ = judged(SLUG, *world(reads, of=of, backlog=backlog))
    assert number(found, "members needed") == needed
    assert found.summary.values["help"].template == helps


@pytest.mark.parametrize(
    ("kept", "lost_in_s", "severity"),
    [
        (TopicSettings(topic=ServerText("events"), retention_s=3_660.0), 3_600.0, Severity.WARNING),
        (TopicSettings(topic=ServerText("events"), retention_s=3_659.0), 3_599.0, Severity.CRITICAL),
        (TopicSettings(topic=ServerText("events"), retention_s=None), None, Severity.WARNING),
        (TopicSettings(topic=ServerText("events"), retention_s=600.0, compacted=True), None, Severity.WARNING),
        (TopicSettings(topic=ServerText("payments"), retention_s=600.0), None, Severity.WARNING),
    ],
)
def test_it_says_when_unread_records_are_deleted(kept, lost_in_s, severity):
    (found,), _ = judged(SLUG, *world([300] * 4, topics=(kept,)))
    assert (number(found, "deleted unread at the earliest in"), found.severity) == (lost_in_s, severity)


def test_members_that_changed_meanwhile_make_no_rate():
    window = world([300] * 4)
    grown = group("antifraud", (0, 1), (2,), (3,))
    assert judged(SLUG, *regrouped(window, PAIR, PAIR, PAIR, *[grown] * 3))[0] == []


@pytest.mark.parametrize(("busy_from_s", "said"), [(-600, 1), (-340, 0)])
def test_with_a_past_a_burst_that_will_drain_is_no_lack_of_members(busy_from_s, said):
    """100/s are written and 60/s read now; over ten minutes it is the average that has to be more than is read."""
    ends = {on: [50_000 - 500 * (5 - turn) for turn in range(6)] for on in range(4)}
    committed = {on: [30_000 - 300 * (5 - turn) for turn in range(6)] for on in range(4)}
    window = frames(PAIR, committed, ends, ages_s=dict.fromkeys(range(4), 60.0))
    curve = [(at_s, 50_000 + 100 * max(at_s, busy_from_s)) for at_s in range(-900, -25, 10)]
    before = [(at_s, 30_000 + 60 * at_s) for at_s in range(-60, -25, 5)]
    past = history(committed=dict.fromkeys(range(4), before), produced=dict.fromkeys(range(4), curve))
    assert len(judged(SLUG, *window, past)[0]) == said


def test_with_a_past_two_looks_are_enough():
    committed, ends = dict.fromkeys(range(4), (29_880, 30_000)), dict.fromkeys(range(4), (49_800, 50_000))
    window = frames(PAIR, committed, ends, step_s=2.0, ages_s=dict.fromkeys(range(4), 60.0))
    curve = [(at_s, 50_000 + 100 * at_s) for at_s in range(-900, -5, 10)]
    before = [(at_s, 30_000 + 60 * at_s) for at_s in range(-900, -2, 5)]
    past = history(committed=dict.fromkeys(range(4), before), produced=dict.fromkeys(range(4), curve))
    (found,), _ = judged(SLUG, *window, past)
    assert number(found, "read each second") == pytest.approx(240.0, rel=0.02)
    assert number(found, "members needed") == 5  # (400 + 80 000 / 600) / 120 = 4.4


def test_a_commit_sawtooth_is_none():
    """10,000 a second, committed every 5 s: the lag runs from 0 to 50,000 and back."""
    at = [turn * 3.1 for turn in range(6)]
    ends = {0: [round(10_000 * at_s) for at_s in at]}
    committed = {0: [50_000 * int(at_s // 5) for at_s in at]}
    for ages_s in ({0: 5.0}, {0: 60.0}):
        assert judged(SLUG, *frames(SOLO, committed, ends, step_s=3.1, ages_s=ages_s))[0] == []


def test_it_explains_the_time_lag():
    window = world([300] * 4)
    shown = folded(
        [*judged("kafka-lag/time-lag", *window)[0], *judged(SLUG, *window)[0]], {SLUG: explained(SLUG).check.explains}
    )
    assert [(found.check, [one.check for one in found.explained]) for found in shown] == [
        (SLUG, ["kafka-lag/time-lag"])
    ]


@pytest.mark.parametrize("fact", ["groups", "members", "commits", "log_ends", "record_times"])
def test_a_gap_in_what_it_needs_is_unknown(fact):
    findings, outcome = judged(SLUG, *world([700] * 4, gaps=(gap(fact),)))
    assert (findings, outcome.outcome) == ([], Outcome.UNKNOWN)


def test_a_member_divides_its_time_among_its_topics():
    """One member of three topics reads 3 x 40 a second of 3 x 60: on its own, each of them would find time enough."""
    topics = ("orders", "payments", "refunds")
    whole = msgspec.structs.replace(SOLO.members[0], assigned=tuple(place(0, topic) for topic in topics))
    of = msgspec.structs.replace(SOLO, members=(whole,))
    one = [
        world([200], of=of, topic=topic, ages_s={0: age_s})
        for topic, age_s in zip(topics, (60.0, 90.0, 1.0), strict=True)
    ]
    window = [
        msgspec.structs.replace(
            looks[0],
            commits=tuple(commit for look in looks for commit in look.commits),
            log_ends=tuple(ends for look in looks for ends in look.log_ends),
        )
        for looks in zip(*one, strict=True)
    ]
    (found,), _ = judged(SLUG, *window)
    assert number(found, "read each second by one member") == pytest.approx(120.0)
    assert number(found, "members needed") == 3  # (300 + 22 500 / 600) / 120 = 2.8
    assert number(found, "time lag") == pytest.approx(90.0)
    assert found.subject.named().keys() == {"group"}
    assert "{there} suffice" in found.summary.values["help"].template
