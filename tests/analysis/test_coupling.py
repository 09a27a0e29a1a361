"""What misses cost the database, on generated pasts: a tenth of what the proof tries (tests/proof/test_storms.py)."""

from __future__ import annotations

import pytest
from storm_trials import coupling_trial

STEPS = [1.0, 15.0]


@pytest.mark.parametrize("step_s", STEPS)
def test_queries_a_miss_are_right_to_a_tenth(step_s):
    trials = [coupling_trial("coupled", step_s, seed) for seed in range(20)]
    assert max(abs(trial["slope_off"]) for trial in trials) <= 0.1
    assert min(trial["share"] for trial in trials) >= 0.9


@pytest.mark.parametrize("step_s", STEPS)
@pytest.mark.parametrize("kind", ["dips", "jobs", "apart"])
def test_what_does_not_go_together_explains_nothing(kind, step_s):
    assert max(coupling_trial(kind, step_s, seed)["share"] for seed in range(10)) <= 0.05


def test_an_order_is_told_at_fine_steps_and_refused_at_coarse_ones():
    assert {coupling_trial("before", 1.0, seed)["order"] for seed in range(10)} == {"DATABASE"}
    assert {coupling_trial("before", 15.0, seed)["order"] for seed in range(10)} == {"UNDECIDED"}
    assert {coupling_trial("coupled", 1.0, seed)["order"] for seed in range(10)} == {"UNDECIDED"}
