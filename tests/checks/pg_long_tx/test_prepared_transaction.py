"""The proof of pg-long-tx/prepared-transaction: small worlds, each a story; one just under each limit, one at it."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest
from worlds import NOW, gap, judged, pg_transactions, prepared

from diag.findings import Outcome, Risk, Severity

SLUG = "pg-long-tx/prepared-transaction"


def waiting(prepared_s: float):
    one = msgspec.structs.replace(prepared(777, "order-4711"), prepared_at=NOW - timedelta(seconds=prepared_s))
    return pg_transactions(prepared=(one,))


WORLDS = {
    "none": (pg_transactions(), []),
    "just under the limit": (waiting(59.9), []),
    "at the limit": (waiting(60.0), [Severity.WARNING]),
    "just under a day": (waiting(86_399.0), [Severity.WARNING]),
    "a day": (waiting(86_400.0), [Severity.CRITICAL]),
}


@pytest.mark.parametrize(("world", "said"), WORLDS.values(), ids=WORLDS.keys())
def test_what_it_says_of(world, said):
    findings, _ = judged(SLUG, world)
    assert [found.severity for found in findings] == said


def test_both_decisions_are_offered_after_a_look():
    (found,), _ = judged(SLUG, waiting(600.0))
    assert [step.risk for step in found.steps] == [Risk.READ_ONLY, Risk.DISRUPTIVE, Risk.DISRUPTIVE]


def test_a_gap_in_what_it_needs_is_unknown():
    findings, outcome = judged(SLUG, pg_transactions(gaps=(gap("prepared"),)))
    assert (findings, outcome.outcome) == ([], Outcome.UNKNOWN)
