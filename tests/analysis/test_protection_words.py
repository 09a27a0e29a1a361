"""The steps against a storm: safest first, each with what it buys, and none that buys nothing."""

from __future__ import annotations

from msgspec.structs import replace

from diag.analysis.protections import MeasuredStorm
from diag.checks.cache_stampede._protection_words import against_many_keys, against_one_key
from diag.report.phrasing import in_sight, phrased

HOT = MeasuredStorm(reads_per_s=240, recompute_s=0.1, database_workers=8, ttl_s=20)
JOINT = MeasuredStorm(reads_per_s=5_000, recompute_s=0.02, database_workers=8, ttl_s=3_600, keys=20_000, width_s=5)


def titles(steps):
    return [phrased(step.title, in_sight) for step in steps]


def said(step):
    return phrased(step.expect, in_sight)


def test_one_hot_key_is_told_to_cap_first_and_never_to_jitter():
    steps = against_one_key(HOT)
    assert "Cap" in titles(steps)[0]
    assert not [title for title in titles(steps) if "0.8 + 0.4" in title]
    assert "costs 25 recomputations" in said(steps[0])
    assert "costs 1 recomputation " in said(steps[1])
    assert "too long" in said(steps[1])


def test_many_keys_are_told_to_spread():
    assert "0.8 + 0.4" in titles(against_many_keys(JOINT))[1]


def test_a_database_that_is_not_loaded_is_told_only_what_helps():
    idle = replace(HOT, reads_per_s=1.0)
    assert against_one_key(idle) == ()
