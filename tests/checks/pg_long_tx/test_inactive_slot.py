"""The proof of pg-long-tx/inactive-slot: small worlds, each a story; one just under each limit, one at it."""

from __future__ import annotations

import pytest
from worlds import gap, judged, pg_transactions, slot

from diag.findings import Outcome, Risk, Severity

SLUG = "pg-long-tx/inactive-slot"
GIB = 1 << 30

WORLDS = {
    "none": (pg_transactions(), []),
    "just under the limit": (pg_transactions(slots=(slot("a", retained_bytes=GIB - 1),)), []),
    "at the limit": (pg_transactions(slots=(slot("a", retained_bytes=GIB),)), [Severity.WARNING]),
    "just under critical": (pg_transactions(slots=(slot("a", retained_bytes=50 * GIB - 1),)), [Severity.WARNING]),
    "critical": (pg_transactions(slots=(slot("a", retained_bytes=50 * GIB),)), [Severity.CRITICAL]),
    "a slow consumer is a consumer": (pg_transactions(slots=(slot("a", active=True, retained_bytes=50 * GIB),)), []),
    "it was cut off": (pg_transactions(slots=(slot("a", wal_status="lost"),)), [Severity.WARNING]),
    "nothing was ever reserved": (pg_transactions(slots=(slot("a"),)), []),
}


@pytest.mark.parametrize(("world", "said"), WORLDS.values(), ids=WORLDS.keys())
def test_what_it_says_of(world, said):
    findings, _ = judged(SLUG, world)
    assert [found.severity for found in findings] == said


def test_one_looks_before_one_drops():
    (found,), _ = judged(SLUG, pg_transactions(slots=(slot("standby 2", retained_bytes=2 * GIB),)))
    assert [step.risk for step in found.steps] == [Risk.READ_ONLY, Risk.DISRUPTIVE]
    assert found.steps[1].command.parameters[0].raw == "standby 2"


def test_a_gap_in_what_it_needs_is_unknown():
    findings, outcome = judged(SLUG, pg_transactions(gaps=(gap("slots"),)))
    assert (findings, outcome.outcome) == ([], Outcome.UNKNOWN)
