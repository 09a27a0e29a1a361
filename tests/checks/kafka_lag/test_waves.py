"""The proof of kafka-lag/waves."""

from __future__ import annotations

import pytest
from kafka_past import bursts, past, pauses, remembered, steadily
from kafka_worlds import frame, group
from msgspec.structs import replace
from worlds import gap, judged

from diag.analysis.waves import waves
from diag.diagnosis.plan import explained
from diag.findings import Outcome, Severity

SLUG = "kafka-lag/waves"
LIMITS = explained(SLUG).limits
SLOW = past(bursts(300, 30, 60, 2), steadily(10))
SPELLS = past(steadily(10), lambda at_s: 4 if at_s % 400 < 120 else 16)

BY_PRODUCERS, BY_PAUSES, BY_SPELLS = "bursts of its", "pauses of its", "slow spells"
WORLDS = {
    "a job writes a burst every five minutes": (SLOW, [BY_PRODUCERS]),
    "the readers pause for a minute every five": (past(steadily(10), pauses(300, 60, 15)), [BY_PAUSES]),
    "the readers are slow for two minutes every seven": (SPELLS, [BY_SPELLS]),
    "waves on top of growth": (past(bursts(300, 30, 60, 6), steadily(10)), [BY_PRODUCERS]),
    "a burst that is read within the limit is healthy": (past(bursts(300, 30, 18, 2), steadily(10)), []),
    "a commit sawtooth of five seconds": (past(steadily(100), steadily(1_000)), []),
    "a commit sawtooth of a minute": (past(steadily(10), steadily(100), commit_s=60), []),
    "a batch job that reads all there is every five minutes": (past(steadily(10), steadily(9_999), commit_s=300), []),
    "one slow commit": (past(steadily(10), lambda at_s: 0 if 2_000 <= at_s < 2_040 else 20), []),
    "two waves can be chance": (past(bursts(1_500, 100, 40, 2, since_s=600), steadily(10)), []),
    "waves that ended half an hour ago": (
        past(lambda at_s: 60 if at_s < 1_800 and at_s % 300 < 30 else 2, steadily(10)),
        [],
    ),
    "a group that stopped is not a wave": (past(steadily(10), lambda at_s: 20 if at_s < 2_000 else 0), []),
    "a healthy group": (past(steadily(10), steadily(50)), []),
}


@pytest.mark.parametrize(("moments", "said"), WORLDS.values(), ids=WORLDS.keys())
def test_what_it_says_of(moments, said):
    findings, outcome = judged(SLUG, remembered(moments))
    causes = [found.summary.values["cause"].template for found in findings]
    assert len(causes) == len(said)
    assert all(cause.startswith(words) for cause, words in zip(causes, said, strict=True))
    assert all(found.severity is Severity.WARNING for found in findings)
    assert outcome.outcome is (Outcome.FOUND if said else Outcome.CLEAR)


def test_its_figures_are_those_of_the_wave():
    (found,), _ = judged(SLUG, remembered(SLOW))
    figures = {one.name: getattr(one.value, "value", one.value) for one in found.evidence}
    assert figures["period"] == pytest.approx(300, rel=0.05)
    assert figures["amplitude"] == pytest.approx(700, rel=0.1)
    assert figures["waves"] == 12
    assert figures["at most, in a burst"] == pytest.approx(60, rel=0.1)
    assert figures["read at most, each second"] == pytest.approx(10, rel=0.1)
    assert found.summary.values["late"].value == pytest.approx(150, rel=0.1)


@pytest.mark.parametrize(("name", "sign"), [("late_s", 1), ("waves", 1), ("regularity", 1), ("over_periods", -1)])
def test_just_under_and_at_each_limit(name, sign):
    told = remembered(past(bursts(300, 30, 60, 2, since_s=100), steadily(10)))
    (wave,) = waves(told, 10.0)
    at = {
        "late_s": wave.peak_s,
        "waves": len(wave.rises),
        "regularity": wave.regularity,
        "over_periods": wave.ended_s / wave.period_s,
    }[name]
    least = 1 if name == "waves" else 1e-6
    judge = explained(SLUG).check.judge
    assert bool(list(judge(told, replace(LIMITS, **{name: at})))) is (sign > 0)
    assert bool(list(judge(told, replace(LIMITS, **{name: at + least})))) is (sign < 0)


def test_without_a_history_it_is_skipped():
    findings, outcome = judged(SLUG, frame(group("antifraud", [0]), {0: 10}, {0: 500}))
    assert (findings, outcome.outcome) == ([], Outcome.SKIPPED)
    assert "--history" in outcome.because.template


def test_a_short_history_is_skipped():
    _, outcome = judged(SLUG, remembered(past(steadily(10), steadily(20), span_s=599)))
    assert outcome.outcome is Outcome.SKIPPED
    _, outcome = judged(SLUG, remembered(past(steadily(10), steadily(20), span_s=600)))
    assert outcome.outcome is Outcome.CLEAR


@pytest.mark.parametrize("fact", ["produced", "committed"])
def test_a_gap_in_what_it_needs_is_unknown(fact):
    healthy = remembered(past(steadily(10), steadily(50)))
    findings, outcome = judged(SLUG, replace(healthy, gaps=(gap(fact),)))
    assert (findings, outcome.outcome) == ([], Outcome.UNKNOWN)


def test_rebalances_are_ruled_out_only_where_they_were_read():
    (found,), _ = judged(SLUG, remembered(SLOW))
    assert any(phrase.template.startswith("rebalances") for phrase in found.ruled_out)
    (found,), _ = judged(SLUG, replace(remembered(SLOW), gaps=(gap("rebalances"),)))
    assert not any(phrase.template.startswith("rebalances") for phrase in found.ruled_out)
    assert not any("rebalance" in one.name for one in found.evidence)


def test_waves_that_go_with_rebalances_say_so():
    moments = past(steadily(10), pauses(300, 60, 15))
    (found,), _ = judged(SLUG, remembered(moments, rebalanced_s=range(2, 3_600, 300)))
    assert {one.name: one.value for one in found.evidence}["waves with a rebalance"] == 12
    assert not any(phrase.template.startswith("rebalances") for phrase in found.ruled_out)
