"""The proof of pg-long-tx/long-transaction: small worlds, each a story; one just under the limit, one at it."""

from __future__ import annotations

import pytest
from worlds import client, gap, judged, pg_transactions

from diag.findings import Outcome

SLUG = "pg-long-tx/long-transaction"

WORLDS = {
    "just under the limit": (pg_transactions(client(100, open_s=899.0)), []),
    "at the limit": (pg_transactions(client(100, open_s=900.0)), [100]),
    "the oldest first": (pg_transactions(client(100, open_s=900.0), client(101, open_s=5_000.0)), [101, 100]),
    "an idle one has a check of its own": (pg_transactions(client(100, state="idle in transaction", open_s=5_000)), []),
    "an autovacuum": (pg_transactions(client(100, open_s=5_000, backend_type="autovacuum worker")), []),
    "a walsender": (pg_transactions(client(100, open_s=5_000, backend_type="walsender")), []),
    "no transaction": (pg_transactions(client(100)), []),
}


@pytest.mark.parametrize(("world", "said"), WORLDS.values(), ids=WORLDS.keys())
def test_what_it_says_of(world, said):
    findings, _ = judged(SLUG, world)
    assert [found.subject.pid for found in findings] == said


def test_it_is_cancelled_and_not_ended():
    (found,), _ = judged(SLUG, pg_transactions(client(100, open_s=5_000.0)))
    assert "pg_cancel_backend" in found.steps[-1].command.statement


def test_a_gap_in_what_it_needs_is_unknown():
    findings, outcome = judged(SLUG, pg_transactions(gaps=(gap("backends"),)))
    assert (findings, outcome.outcome) == ([], Outcome.UNKNOWN)
