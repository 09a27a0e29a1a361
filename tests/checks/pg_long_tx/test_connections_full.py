"""The proof of pg-long-tx/connections-full: small worlds, each a story; one just under each limit, one at it."""

from __future__ import annotations

import pytest
from worlds import backend, client, gap, judged, pg_transactions

from diag.findings import Outcome, Severity

SLUG = "pg-long-tx/connections-full"
OTHERS = (backend(1, backend_type="checkpointer"), backend(2, backend_type="walwriter"))


def taken(count: int, waiting: int = 0):
    """So many client backends beside our own; 97 of 100 are for ordinary roles."""
    waits = [client(100 + number, wait_event_type="Lock", wait_event="relation") for number in range(waiting)]
    rest = [client(500 + number, state="idle") for number in range(count - waiting)]
    return pg_transactions(*OTHERS, *waits, *rest)


WORLDS = {
    "room enough": (taken(10), []),
    "just under the limit": (taken(86), []),
    "at the limit": (taken(87), [Severity.WARNING]),
    "just under critical": (taken(93), [Severity.WARNING]),
    "critical": (taken(94), [Severity.CRITICAL]),
}


@pytest.mark.parametrize(("world", "said"), WORLDS.values(), ids=WORLDS.keys())
def test_what_it_says_of(world, said):
    findings, _ = judged(SLUG, world)
    assert [found.severity for found in findings] == said


def test_with_waiters_the_way_leads_to_their_root():
    (found,), _ = judged(SLUG, taken(96, waiting=80))
    assert found.summary.values["waiting"] == 80
    assert found.steps[0].command.argv == ("diag", "pg-locks")
    (quiet,), _ = judged(SLUG, taken(96))
    assert len(quiet.steps) == 1


def test_who_has_them_is_counted_by_client_and_state():
    (found,), _ = judged(SLUG, taken(96, waiting=80))
    assert [(row.name, row.value.values["count"]) for row in found.evidence[2:]] == [("active", 80), ("idle", 16)]


def test_a_gap_in_what_it_needs_is_unknown():
    findings, outcome = judged(SLUG, pg_transactions(gaps=(gap("backends"),)))
    assert (findings, outcome.outcome) == ([], Outcome.UNKNOWN)
