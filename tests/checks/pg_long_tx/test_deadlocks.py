"""The proof of pg-long-tx/deadlocks: small worlds, each a story; one just under each limit, one at it."""

from __future__ import annotations

import pytest
from worlds import database, gap, judged, pg_transactions

from diag.findings import Outcome, Severity

SLUG = "pg-long-tx/deadlocks"


def counted(*counts: int, span_s: float = 2.0):
    step_s = span_s / max(1, len(counts) - 1)
    return [
        pg_transactions(databases=(database(deadlocks=count),), after_s=place * step_s)
        for place, count in enumerate(counts)
    ]


WORLDS = {
    "a high total that stands still": (counted(9_000, 9_000), []),
    "one": (counted(9_000, 9_001), [(Severity.WARNING, 1)]),
    "three in three looks": (counted(5, 6, 8, span_s=4.0), [(Severity.WARNING, 3)]),
    "the counter was reset": (counted(9_000, 3), []),
    "just under one a second": (counted(0, 59, span_s=60.0), [(Severity.WARNING, 59)]),
    "one a second": (counted(0, 60, span_s=60.0), [(Severity.CRITICAL, 60)]),
}


@pytest.mark.parametrize(("frames", "said"), WORLDS.values(), ids=WORLDS.keys())
def test_what_it_says_of(frames, said):
    findings, _ = judged(SLUG, *frames)
    assert [(found.severity, found.evidence[0].value.value) for found in findings] == said


def test_a_database_that_is_new_has_no_rise():
    before = pg_transactions(databases=())
    findings, _ = judged(SLUG, before, *counted(0, 7)[1:])
    assert findings == []


def test_one_look_is_not_enough():
    findings, outcome = judged(SLUG, *counted(7))
    assert (findings, outcome.outcome) == ([], Outcome.SKIPPED)


def test_a_gap_in_what_it_needs_is_unknown():
    findings, outcome = judged(SLUG, *counted(7), pg_transactions(gaps=(gap("databases"),), after_s=2.0))
    assert (findings, outcome.outcome) == ([], Outcome.UNKNOWN)
