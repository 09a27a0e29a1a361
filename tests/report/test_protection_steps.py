"""The steps against a miss storm as a person reads and pastes them."""

from __future__ import annotations

import shlex

import pytest

from diag.analysis.protections import MeasuredStorm
from diag.checks.cache_stampede._protection_words import against_many_keys, against_one_key
from diag.report.pasting import Pasted, Withheld, pasted
from diag.report.phrasing import in_sight, phrased
from diag.text import KeyText

HOT = MeasuredStorm(reads_per_s=300, recompute_s=0.12, database_workers=8, ttl_s=3_600, poll_s=0.05)
JOINT = MeasuredStorm(reads_per_s=5_000, recompute_s=0.02, database_workers=8, ttl_s=3_600, keys=20_000, width_s=5)


def said(phrase):
    return phrased(phrase, in_sight)


def commands(steps):
    return [pasted(step.command) for step in steps if step.command]


def test_one_hot_key_is_bounded_first_and_its_lock_can_be_pasted():
    steps = against_one_key(HOT, KeyText("limits:config"))
    assert said(steps[0].title).startswith("Cap the service's database pool")
    lines = [one.line for one in commands(steps)]
    assert "diag runbook pattern" in lines
    assert "redis-cli SET limits:config:lock TOKEN NX PX 5000" in lines


def test_a_lock_outlives_a_slow_recompute_under_load():
    slow = MeasuredStorm(reads_per_s=20, recompute_s=1.5, database_workers=8)
    assert any(one.line.endswith("PX 15000") for one in commands(against_one_key(slow)))


@pytest.mark.parametrize("name", ["a b; reboot", "$(reboot)", "it's", "-x", "`id`", "ключ"])
def test_a_hostile_key_stays_one_argument(name):
    lines = [one.line for one in commands(against_one_key(HOT, KeyText(name))) if "SET" in one.line]
    assert lines
    assert all(shlex.split(line)[2] == f"{name}:lock" for line in lines)


def test_a_key_that_cannot_be_pasted_gets_no_command():
    withheld = [one for one in commands(against_one_key(HOT, KeyText("a\x1b[2J"))) if isinstance(one, Withheld)]
    assert len(withheld) == 2


def test_many_keys_are_said_with_a_bound_where_there_is_no_figure():
    steps = {said(step.title)[:20]: said(step.expect) for step in against_many_keys(JOINT)}
    assert list(steps)[:2] == ["Cap the service's da", "Write each time to l"]
    spread = steps["Write each time to l"]
    assert "instead of at least" in spread
    assert "at once" in spread
    assert "None" not in " ".join(steps.values())
    assert all(isinstance(one, Pasted) for one in commands(against_many_keys(JOINT)))
