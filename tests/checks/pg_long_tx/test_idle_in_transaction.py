"""The proof of pg-long-tx/idle-in-transaction: small worlds, each a story; one just under each limit, one at it."""

from __future__ import annotations

import pytest
from worlds import client, gap, judged, pg_transactions

from diag.findings import Outcome, Severity, ShellCommand
from diag.snapshots.postgres import Pid
from diag.text import ServerText

SLUG = "pg-long-tx/idle-in-transaction"
POOLER = ServerText("10.0.0.9")


def idle(silent_s: float, *, state: str = "idle in transaction", locks: int = 2, **more):
    one = client(100, state=state, open_s=silent_s + 5, silent_s=silent_s, **more)
    return pg_transactions(one, locks_held={Pid(100): locks})


WORLDS = {
    "nobody": (pg_transactions(), []),
    "just under the limit": (idle(59.9), []),
    "at the limit": (idle(60.0), [(Severity.WARNING, 100)]),
    "an aborted one": (idle(60.0, state="idle in transaction (aborted)"), [(Severity.WARNING, 100)]),
    "just under an hour": (idle(3599.0), [(Severity.WARNING, 100)]),
    "an hour with locks": (idle(3600.0), [(Severity.CRITICAL, 100)]),
    "an hour with a snapshot only": (idle(3600.0, locks=0, xmin_age_transactions=5), [(Severity.CRITICAL, 100)]),
    "an hour with nothing": (idle(3600.0, locks=0), [(Severity.WARNING, 100)]),
    "at work": (idle(3600.0, state="active"), []),
    "idle without a transaction": (pg_transactions(client(100, state="idle", silent_s=9_000)), []),
}


@pytest.mark.parametrize(("world", "said"), WORLDS.values(), ids=WORLDS.keys())
def test_what_it_says_of(world, said):
    findings, _ = judged(SLUG, world)
    assert [(found.severity, found.subject.pid) for found in findings] == said


def test_a_reader_without_a_snapshot_is_not_accused_of_bloat():
    (innocent,), _ = judged(SLUG, idle(90.0))
    (holder,), _ = judged(SLUG, idle(90.0, xmin_age_transactions=70))
    assert "VACUUM" in innocent.ruled_out[0].template
    assert holder.ruled_out == ()


def test_it_is_ended_and_not_cancelled():
    (found,), _ = judged(SLUG, idle(90.0))
    assert "pg_terminate_backend" in found.steps[1].command.statement


@pytest.mark.parametrize(("sessions", "led"), [(2, False), (3, True)])
def test_where_many_come_from_one_address_the_way_through_a_pooler_is_told(sessions, led):
    pool = [
        client(100 + n, state="idle in transaction", open_s=65, silent_s=60, client_address=POOLER)
        for n in range(sessions)
    ]
    found, *_ = judged(SLUG, pg_transactions(*pool))[0]
    assert [step.command.argv[1] for step in found.steps if isinstance(step.command, ShellCommand)] == (
        [("--host=", POOLER)] if led else []
    )


def test_a_gap_in_what_it_needs_is_unknown():
    findings, outcome = judged(SLUG, pg_transactions(gaps=(gap("backends"),)))
    assert (findings, outcome.outcome) == ([], Outcome.UNKNOWN)
