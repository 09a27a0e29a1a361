"""A thousand storms, weeks of quiet traffic, a thousand rhythms and a thousand that are none, and their cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cache_past import DAY_S
from proof.progress import Progress
from storm_trials import coupling_trial, null_trial, period_trial, quiet_trial, storm_trial

pytestmark = [pytest.mark.proof, pytest.mark.timeout(3600)]

STORMS, NULLS, RHYTHMS, COUPLINGS = 1_000, 1_000, 200, 100
QUIET = {15.0: (DAY_S, 140), 1.0: (DAY_S / 8, 112)}  # 20 weeks of scrapes, two weeks of seconds
KINDS = ("ttl", "known", "clock", "foreign")


@pytest.fixture(scope="module")
def progress() -> Iterator[Progress]:
    """What was tried; the figures are written when this module ends, also when it is interrupted."""
    progress = Progress("storms")
    yield progress
    progress.publish(_words(progress))


def _tried(progress: Progress, story: str, count: int, trial: Callable[[int], dict[str, Any]]) -> list[dict[str, Any]]:
    for seed in range(count):
        name = f"{story} {seed}"
        if name not in progress.trials:
            progress.add(name, story=story, **trial(seed))
    return _of(progress, story)


def _of(progress: Progress, story: str) -> list[dict[str, Any]]:
    return [one for one in progress.trials.values() if one["story"] == story]


@pytest.mark.parametrize("step_s", [1.0, 15.0])
def test_of_a_thousand_storms_ten_may_be_missed(progress: Progress, step_s: float) -> None:
    tried = _tried(progress, f"storm {step_s:g} s", STORMS, lambda seed: storm_trial(step_s, seed))
    assert sum(one["found"] for one in tried) >= 0.99 * len(tried)
    assert max(one["off_steps"] for one in tried if one["found"]) <= 1


@pytest.mark.parametrize("step_s", QUIET)
def test_a_quiet_week_has_one_false_alarm_at_most(progress: Progress, step_s: float) -> None:
    span_s, count = QUIET[step_s]
    tried = _tried(progress, f"quiet {step_s:g} s", count, lambda seed: quiet_trial(step_s, seed, span_s))
    assert sum(one["alarms"] for one in tried) <= sum(one["weeks"] for one in tried)


def test_of_a_thousand_days_without_a_rhythm_one_may_seem_to_have_one(progress: Progress) -> None:
    assert sum(one["rhythm"] for one in _tried(progress, "no rhythm", NULLS, null_trial)) <= NULLS / 1_000


@pytest.mark.parametrize("kind", KINDS)
def test_six_storms_tell_period_and_cause(progress: Progress, kind: str) -> None:
    tried = _tried(progress, f"rhythm {kind}", RHYTHMS, lambda seed: period_trial(kind, seed))
    assert sum(one["right"] for one in tried) >= 0.95 * len(tried)
    assert max(one["took_s"] for one in tried) < 0.050


def test_four_storms_are_never_a_rhythm(progress: Progress) -> None:
    tried = _tried(progress, "four storms", RHYTHMS, lambda seed: period_trial("ttl", seed, count=4))
    assert not any(one["right"] for one in tried)


@pytest.mark.parametrize("step_s", [1.0, 15.0])
@pytest.mark.parametrize("kind", ["coupled", "dips", "jobs", "apart", "before"])
def test_what_goes_together_and_what_does_not(progress: Progress, kind: str, step_s: float) -> None:
    story = f"{kind} {step_s:g} s"
    tried = _tried(progress, story, COUPLINGS, lambda seed: coupling_trial(kind, step_s, seed))
    if kind == "coupled":
        assert max(abs(one["slope_off"]) for one in tried) <= 0.1
    if kind in {"dips", "jobs", "apart"}:
        assert max(one["share"] for one in tried) <= 0.05
    if step_s > 2:
        assert {one["order"] for one in tried} == {"UNDECIDED"}
    elif kind == "before":
        assert sum(one["order"] == "DATABASE" for one in tried) >= 0.95 * len(tried)


def _words(progress: Progress) -> str:
    lines = ["## Storms of misses, their rhythm, their price", ""]
    lines += [_storm_words(progress, step) for step in ("1", "15")]
    lines += [_quiet_words(progress, step) for step in ("15", "1")]
    nulls = _of(progress, "no rhythm")
    rhythms = sum(one["rhythm"] for one in nulls)
    lines.append(f"- {len(nulls)} days of unrelated storms: a rhythm in {rhythms} (target: one in a thousand).")
    lines += [_rhythm_words(progress, kind) for kind in KINDS]
    four = _of(progress, "four storms")
    lines.append(f"- Four storms: a rhythm claimed in {sum(one['found'] for one in four)} of {len(four)} (never).")
    lines += [_coupling_words(progress, kind, step) for kind in ("coupled", "before") for step in ("1", "15")]
    alone = [one["share"] for kind in ("dips", "jobs", "apart") for step in ("1", "15")
             for one in _of(progress, f"{kind} {step} s")]  # fmt: skip
    lines.append(f"- Not coupled, {len(alone)} trials: explained share {max(alone, default=0):.3f} at most.")
    return "\n".join(line for line in lines if line is not None)


def _storm_words(progress: Progress, step: str) -> str:
    tried = _of(progress, f"storm {step} s")
    found, off = [one for one in tried if one["found"]], [one["off_steps"] for one in tried if one["found"]]
    words = (
        f"- {len(tried)} storms at {step} s: {len(found)} found (target 99 %), start off by {max(off, default=0):.2f}"
    )
    return f"{words} steps at most (target 1)."


def _quiet_words(progress: Progress, step: str) -> str:
    tried = _of(progress, f"quiet {step} s")
    weeks, alarms = sum(one["weeks"] for one in tried), sum(one["alarms"] for one in tried)
    return f"- {weeks:.1f} quiet weeks at {step} s: {alarms} false alarms (target: one a week)."


def _rhythm_words(progress: Progress, kind: str) -> str:
    tried = _of(progress, f"rhythm {kind}")
    off = [one["off_s"] for one in tried if one["right"]]
    sd = (sum(one * one for one in off) / max(1, len(off))) ** 0.5
    took = max((one["took_s"] for one in tried), default=0) * 1_000
    words = f"- Six storms and two unrelated ones, {kind}: period and cause right in {len(off)} of {len(tried)}"
    return f"{words} (target 95 %), period off by {sd:.2f} s (sd); {took:.0f} ms of CPU at most (target 50)."


def _coupling_words(progress: Progress, kind: str, step: str) -> str:
    tried = _of(progress, f"{kind} {step} s")
    told = {order: sum(one["order"] == order for one in tried) for order in ("DATABASE", "MISSES", "UNDECIDED")}
    said = ", ".join(f"{order.lower()} {count}" for order, count in told.items() if count)
    worst = max((abs(one["slope_off"]) for one in tried), default=0)
    words = f"- {kind.capitalize()}, {step} s, {len(tried)} trials: queries a miss off by {worst:.1%} at most"
    return f"{words}; first: {said}."
