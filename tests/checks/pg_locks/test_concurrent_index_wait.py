"""The proof of pg-locks/concurrent-index-wait: small worlds, each a story; one just under the limit, one at it."""

from __future__ import annotations

import pytest
from worlds import backend, gap, judged, lock, pg_locks

from diag.findings import NoCommand, Outcome, Severity
from diag.snapshots.postgres import LockMode, LockTag

SLUG = "pg-locks/concurrent-index-wait"
SNAPSHOT = LockTag(locktype="virtualxid", virtualxid="3/7")
REPORT = lock(LockMode.EXCLUSIVE, pid=100, tag=SNAPSHOT)


def build(waited_s: float):
    return lock(LockMode.SHARE, pid=200, tag=SNAPSHOT, waited_s=waited_s)


WORLDS = {
    "nobody waits": (pg_locks(REPORT), []),
    "just under the limit": (pg_locks(REPORT, build(4.9)), []),
    "at the limit": (pg_locks(REPORT, build(5.0)), [(Severity.WARNING, 100)]),
    "an hour": (pg_locks(REPORT, build(3600.0)), [(Severity.WARNING, 100)]),
}


@pytest.mark.parametrize(("world", "said"), WORLDS.values(), ids=WORLDS.keys())
def test_what_it_says_of(world, said):
    findings, _ = judged(SLUG, world)
    assert [(found.severity, found.subject.pid) for found in findings] == said


def test_the_statement_is_named_and_so_is_what_a_cancel_leaves():
    statement = "CREATE INDEX CONCURRENTLY i ON t (c)"
    world = pg_locks(REPORT, build(9.0), backends=(backend(100, state="idle in transaction"), backend(200)))
    (found,), _ = judged(SLUG, world)
    assert isinstance(found.steps[-1].command, NoCommand)
    assert "INVALID" in found.steps[-1].title.template
    backends = (backend(100), backend(200, query=statement))
    (found,), _ = judged(SLUG, pg_locks(REPORT, build(9.0), backends=backends))
    assert found.summary.values["statement"].raw == statement


def test_a_gap_in_what_it_needs_is_unknown():
    findings, outcome = judged(SLUG, pg_locks(gaps=(gap("locks"),)))
    assert (findings, outcome.outcome) == ([], Outcome.UNKNOWN)
