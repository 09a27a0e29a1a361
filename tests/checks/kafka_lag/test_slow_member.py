"""The proof of kafka-lag/slow-member."""

from __future__ import annotations

import pytest
from kafka_worlds import frames, group
from worlds import gap, judged

from diag.diagnosis.judge import folded
from diag.diagnosis.plan import explained
from diag.findings import Outcome, Severity

SLUG = "kafka-lag/slow-member"
THREE = group("antifraud", (0, 1), (2, 3), (4, 5))
WRITTEN_PER_S = 50


def world(*partitions, of=THREE, looks=2, step_s=2.0, **more):
    """Each partition is (age of its next record, records read a second, records written a second)."""
    known_lags = more.pop("lags", {})
    ages_s = {on: age_s for on, (age_s, *_) in enumerate(partitions) if age_s is not None}
    rates = [(read, written) for _, read, written in (([*one, WRITTEN_PER_S][:3]) for one in partitions)]
    lags = [known_lags.get(on, round((age_s or 0) * rates[on][1])) for on, (age_s, *_) in enumerate(partitions)]
    spans = [turn * step_s for turn in range(looks)]
    committed = {on: [100_000 + round(read * at_s) for at_s in spans] for on, (read, _) in enumerate(rates)}
    ends = {
        on: [
            100_000 + round(rates[on][0] * spans[-1]) + lags[on] - round(written * (spans[-1] - at_s)) for at_s in spans
        ]
        for on, (_, written) in enumerate(rates)
    }
    return frames(of, committed, ends, step_s=step_s, ages_s=ages_s, **more)


FINE, SLOW = (2.0, 50), (60.0, 30)
WORLDS = {
    "one of three members is late on all it owns": (world(SLOW, SLOW, *[FINE] * 4), [Severity.WARNING]),
    "just before late": (world((29.9, 30), SLOW, *[FINE] * 4), []),
    "just late": (world((30.0, 30), (30.0, 30), *[FINE] * 4), [Severity.WARNING]),
    "just before critical": (world((299.9, 30), SLOW, *[FINE] * 4), [Severity.WARNING]),
    "at critical": (world((300.0, 30), SLOW, *[FINE] * 4), [Severity.CRITICAL]),
    "one of its partitions is not late: one stalled partition, or a burst": (world(SLOW, FINE, *[FINE] * 4), []),
    "it is read to the end where nothing is written": (world(SLOW, (None, 0, 0), *[FINE] * 4), [Severity.WARNING]),
    "the others keep up within two commit intervals": (world(SLOW, SLOW, *[(10.0, 50)] * 4), [Severity.WARNING]),
    "the others do not quite": (world(SLOW, SLOW, *[(10.1, 50)] * 4), []),
    "the others have a tenth of its lag": (world((250.0, 30), (250.0, 30), *[(25.0, 50)] * 4), [Severity.WARNING]),
    "the others have more than a tenth": (world((250.0, 30), (250.0, 30), *[(25.1, 50)] * 4), []),
    "another one is slow as well": (world(SLOW, SLOW, FINE, FINE, SLOW, SLOW), []),
    "how late another is, is unknown": (world(SLOW, SLOW, *[FINE] * 3, (None, 50), lags={5: 100}), []),
    "all are late alike": (world(*[SLOW] * 6), []),
    "a hot partition: just more than its share": (world((60.0, 76, 76), (60.0, 30, 30), *[FINE] * 4), []),
    "just not hot": (world((60.0, 75, 75), (60.0, 30, 30), *[FINE] * 4), [Severity.WARNING]),
    "a burst that is over, on its partitions": (world(SLOW, SLOW, *[FINE] * 4, lags={0: 4_600}), []),
    "no more than came to the others": (world(SLOW, SLOW, *[FINE] * 4, lags={0: 4_500}), [Severity.WARNING]),
    "it was dealt more partitions than the others": (
        world(SLOW, SLOW, FINE, FINE, of=group("antifraud", (0, 1), (2,), (3,))),
        [],
    ),
    "nothing is written now: which one has more is unknown": (
        world((60.0, 30, 0), (60.0, 30, 0), *[(0.0, 0, 0)] * 4),
        [],
    ),
    "two members, one of them late": (world(SLOW, FINE, of=group("antifraud", (0,), (1,))), [Severity.WARNING]),
    "one member only": (world(SLOW, SLOW, of=group("antifraud", (0, 1))), []),
    "one owner and a spare": (world(SLOW, SLOW, of=group("antifraud", (0, 1), ())), []),
    "a rebalance under way": (world(SLOW, FINE, of=group("antifraud", (0,), (1,), state="CompletingRebalance")), []),
    "a share group": (world(SLOW, FINE, of=group("antifraud", (0,), (1,), protocol="share")), []),
    "an open transaction holds up one of its partitions": (world(SLOW, SLOW, *[FINE] * 4, stable={0: 100_000}), []),
}


@pytest.mark.parametrize(("window", "said"), WORLDS.values(), ids=WORLDS.keys())
def test_what_it_says_of(window, said):
    assert [found.severity for found in judged(SLUG, *window)[0]] == said


def test_it_names_the_member_and_its_host():
    (found,), _ = judged(SLUG, *world(*[FINE] * 2, SLOW, SLOW, *[FINE] * 2))
    assert {name: getattr(value, "raw", value) for name, value in found.subject.named().items()} == {
        "group": "antifraud",
        "topic": "events",
        "member": "worker-1",
        "host": "10.0.0.2",
    }
    assert found.summary.values["near"].value == pytest.approx(2.0)


def test_two_slow_members_of_five_are_named_each():
    five = group("antifraud", *[(on,) for on in range(5)])
    findings, _ = judged(SLUG, *world(SLOW, SLOW, *[FINE] * 3, of=five))
    assert [found.subject.member.raw for found in findings] == ["worker-0", "worker-1"]


def test_one_look_knows_no_rates():
    assert judged(SLUG, *world(SLOW, SLOW, *[FINE] * 4)[-1:])[1].outcome is Outcome.SKIPPED


@pytest.mark.parametrize(
    ("looks", "read", "said"),
    [
        (4, 55.1, 0),  # 3 000 records at 5.1 a second: 588 s
        (4, 54.9, 1),  # 612 s
        (4, 50, 1),
        (2, 150, 1),  # 5 s: one commit interval tells no rate
    ],
)
def test_who_was_away_and_catches_up_is_not_slow(looks, read, said):
    mine = (60.0, read)
    window = world(mine, FINE, FINE, of=group("antifraud", (0,), (1,), (2,)), looks=looks, step_s=5.0, lags={0: 3_000})
    assert len(judged(SLUG, *window)[0]) == said


@pytest.mark.parametrize(
    ("owned", "how"),
    [
        ([(0, 1), (2, 3)], "it has committed nothing for {span} or longer: it hangs"),
        ([(0,), (1, 2, 3)], "it has committed nothing for {span} or longer: it hangs, or cannot handle one record"),
    ],
)
def test_a_member_that_commits_nothing_hangs(owned, how):
    hung = (60.0, 0, 20)
    partitions = [hung if on in owned[0] else (2.0, 20, 20) for on in range(4)]
    (found,), _ = judged(SLUG, *world(*partitions, of=group("antifraud", *owned), looks=4, step_s=5.0))
    assert found.summary.values["how"].template == how


def test_it_explains_lateness_and_idle_members():
    window = world(SLOW, SLOW, FINE, FINE, of=group("antifraud", (0, 1), (2, 3), ()))
    shown = folded(
        [found for slug in ("time-lag", "idle-members") for found in judged(f"kafka-lag/{slug}", *window)[0]]
        + judged(SLUG, *window)[0],
        {SLUG: explained(SLUG).check.explains},
    )
    assert [(found.check, len(found.explained)) for found in shown] == [(SLUG, 2)]


@pytest.mark.parametrize("fact", ["groups", "members", "commits", "log_ends", "record_times"])
def test_a_gap_in_what_it_needs_is_unknown(fact):
    findings, outcome = judged(SLUG, *world(*[FINE] * 6, gaps=(gap(fact),)))
    assert (findings, outcome.outcome) == ([], Outcome.UNKNOWN)
