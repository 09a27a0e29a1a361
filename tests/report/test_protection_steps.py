"""The steps against a miss storm as a person reads and pastes them."""

from __future__ import annotations

from diag.analysis.protections import MeasuredStorm
from diag.checks.cache_stampede._protection_words import against_many_keys, against_one_key
from diag.findings import NoCommand
from diag.report.pasting import Pasted, pasted
from diag.report.phrasing import in_sight, phrased
from diag.text import KeyText

HOT = MeasuredStorm(reads_per_s=300, recompute_s=0.12, database_workers=8, ttl_s=3_600, poll_s=0.05)
JOINT = MeasuredStorm(reads_per_s=5_000, recompute_s=0.02, database_workers=8, ttl_s=3_600, keys=20_000, width_s=5)


def said(phrase):
    return phrased(phrase, in_sight)


def commands(steps):
    return [pasted(step.command) for step in steps if step.command]


def locks(steps):
    """What is said of the lock in place of a command."""
    return [said(step.command.because) for step in steps if isinstance(step.command, NoCommand)]


def test_one_hot_key_is_bounded_first_and_its_lock_is_for_the_service_alone():
    steps = against_one_key(HOT, KeyText("limits:config"))
    assert said(steps[0].title).startswith("Cap the service's database pool")
    assert [one.line for one in commands(steps) if isinstance(one, Pasted)] == ["diag runbook pattern"]
    assert set(locks(steps)) == {
        "the service sends SET limits:config:lock TOKEN NX PX 5000; from a shell it would take the lock"
    }


def test_a_lock_outlives_a_slow_recompute_under_load():
    slow = MeasuredStorm(reads_per_s=20, recompute_s=1.5, database_workers=8)
    assert all("PX 15000;" in one for one in locks(against_one_key(slow)))


def test_a_hostile_key_is_shown_escaped():
    (first, *_) = locks(against_one_key(HOT, KeyText("a\x1b[2J")))
    assert "a\\e[2J:lock" in first


def test_many_keys_are_said_with_a_bound_where_there_is_no_figure():
    steps = {said(step.title)[:20]: said(step.expect) for step in against_many_keys(JOINT)}
    assert list(steps)[:2] == ["Cap the service's da", "Write each time to l"]
    spread = steps["Write each time to l"]
    assert "instead of at least" in spread
    assert "at once" in spread
    assert "None" not in " ".join(steps.values())
