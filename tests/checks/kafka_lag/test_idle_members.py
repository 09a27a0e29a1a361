"""The proof of kafka-lag/idle-members."""

from __future__ import annotations

import msgspec
import pytest
from kafka_worlds import frame, frames, group, members, place, regrouped
from worlds import gap, judged

from diag.diagnosis.judge import folded
from diag.diagnosis.plan import explained
from diag.findings import Outcome, Severity
from diag.text import ServerText

SLUG = "kafka-lag/idle-members"
ALONE = [(on,) for on in range(6)]
SIX, EIGHT = group("antifraud", *ALONE), group("antifraud", *ALONE, (), ())


def world(of=EIGHT, *, late_s=60.0, late=(0,), **more):
    """Six partitions with 100 records left on each, of this age on the late ones."""
    ages_s = {on: late_s if on in late else 1.0 for on in range(6)}
    return frame(of, dict.fromkeys(range(6), 0), dict.fromkeys(range(6), 100), ages_s=ages_s, **more)


def count(found, name):
    return next(one.value for one in found.evidence if one.name == name)


WORLDS = {
    "8 members for 6 partitions": (world(), [(8, 2, 6)]),
    "just not late: spares are fine": (world(late_s=29.9), []),
    "just late": (world(late_s=30.0), [(8, 2, 6)]),
    "every member owns a partition": (world(SIX), []),
    "one spare": (world(group("antifraud", *ALONE, ())), [(7, 1, 6)]),
    "only a topic that nobody reads any more is late": (world(group("antifraud", (1,), (2,), ()), late=(0,)), []),
    "nobody owns anything": (world(group("antifraud", (), ())), []),
    "nobody is there": (world(group("antifraud", state="Empty")), []),
    "members could not be read": (world(msgspec.structs.replace(EIGHT, members=None)), []),
    "a rebalance under way": (world(msgspec.structs.replace(EIGHT, state="PreparingRebalance")), []),
    "a share group": (world(msgspec.structs.replace(EIGHT, protocol="share")), []),
}


@pytest.mark.parametrize(("look", "said"), WORLDS.values(), ids=WORLDS.keys())
def test_what_it_says_of(look, said):
    findings, _ = judged(SLUG, look)
    assert [
        tuple(count(found, name) for name in ("members", "idle members", "partitions")) for found in findings
    ] == said
    assert {found.severity for found in findings} <= {Severity.WARNING}


def test_members_beyond_the_partitions_have_nothing_to_read():
    (found,), _ = judged(SLUG, world())
    assert found.summary.values["why"].template == "more members do not help, a partition has one reader"
    assert found.subject.topic == ServerText("events")


def three_topics(*owned, assignor="range", protocol="classic"):
    """Three topics of one partition each; `owned` says which of them each member owns."""
    topics = ("orders", "payments", "refunds")
    of = msgspec.structs.replace(
        group("antifraud", assignor=ServerText(assignor), protocol=protocol),
        members=tuple(
            msgspec.structs.replace(member, assigned=tuple(place(0, topics[number]) for number in numbers))
            for member, numbers in zip(members(*owned), owned, strict=True)
        ),
    )
    look = frame(of, {0: 0}, {0: 100}, ages_s={0: 60.0})
    commit, ends = look.commits[0], look.log_ends[0]
    return msgspec.structs.replace(
        look,
        commits=tuple(msgspec.structs.replace(commit, on=place(0, topic)) for topic in topics),
        log_ends=tuple(msgspec.structs.replace(ends, on=place(0, topic)) for topic in topics),
    )


@pytest.mark.parametrize(
    ("look", "spread"),
    [
        (three_topics((0, 1, 2), (), ()), 2),
        (three_topics((0, 1), (2,), ()), 1),
        (three_topics((0, 1, 2), (), (), (), ()), 2),  # five members: two are too many anyway
        (three_topics((0, 1, 2), (), (), protocol="consumer"), 2),
    ],
)
def test_range_deals_out_each_topic_for_itself(look, spread):
    (found,), _ = judged(SLUG, look)
    why = found.summary.values["why"]
    assert (why.template, why.values["n"]) == ("another assignor than {own} would give {n} of them some", spread)
    assert found.subject.named().keys() == {"group"}
    setting = "group.remote.assignor" if look.groups[0].protocol == "consumer" else "partition.assignment.strategy"
    assert setting in found.steps[-1].command.because.template


def test_as_many_idle_as_must_be_is_no_fault_of_the_assignor():
    (found,), _ = judged(SLUG, three_topics((0,), (1,), (2,), ()))
    assert "do not help" in found.summary.values["why"].template


def test_an_assignor_that_is_not_told_is_not_named():
    (found,), _ = judged(SLUG, three_topics((0, 1, 2), (), (), assignor=""))
    assert found.summary.values["why"].template == "another assignor would give {n} of them some"


def test_a_member_that_owned_something_a_moment_ago_is_not_idle():
    before, after = group("antifraud", (0, 1), (2, 3), (4, 5)), group("antifraud", (0, 1, 2), (3, 4, 5), ())
    offsets = {on: [0, 0] for on in range(6)}
    window = frames(after, offsets, {on: [100, 100] for on in range(6)}, ages_s=dict.fromkeys(range(6), 60.0))
    assert judged(SLUG, *regrouped(window, before, after))[0] == []
    assert len(judged(SLUG, *regrouped(window, after, after))[0]) == 1


def test_it_explains_the_time_lag():
    look = world()
    shown = folded(
        [*judged("kafka-lag/time-lag", look)[0], *judged(SLUG, look)[0]], {SLUG: explained(SLUG).check.explains}
    )
    assert [(found.check, [one.check for one in found.explained]) for found in shown] == [
        (SLUG, ["kafka-lag/time-lag"])
    ]


@pytest.mark.parametrize("fact", ["groups", "members", "commits", "log_ends", "record_times"])
def test_a_gap_in_what_it_needs_is_unknown(fact):
    findings, outcome = judged(SLUG, world(SIX, gaps=(gap(fact),)))
    assert (findings, outcome.outcome) == ([], Outcome.UNKNOWN)
