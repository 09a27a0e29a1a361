"""The proof of pg-locks/standby-conflict: small worlds, each a story; one just under each limit, one at it."""

from __future__ import annotations

import pytest
from worlds import backend, gap, judged, lock, pg_locks

from diag.findings import NoCommand, Outcome, Severity
from diag.snapshots.postgres import LockMode

SLUG = "pg-locks/standby-conflict"
STARTUP = backend(10, state=None, query="", backend_type="startup")
READER = lock(LockMode.ACCESS_SHARE, pid=100)


def world(behind: int, waited_s: float | None, *locks, replay=STARTUP):
    replays = lock(LockMode.ACCESS_EXCLUSIVE, pid=10, waited_s=waited_s)
    queue = [lock(LockMode.ACCESS_SHARE, pid=300 + number, waited_s=1.0) for number in range(behind)]
    backends = (replay, backend(100, state="idle in transaction"))
    return pg_locks(READER, replays, *queue, *locks, backends=backends)


WORLDS = {
    "just under the limit": (world(0, 4.9), []),
    "at the limit": (world(0, 5.0), [(Severity.WARNING, 0, 100)]),
    "one reader short of critical": (world(9, 9.0), [(Severity.WARNING, 9, 100)]),
    "readers pile up behind replay": (world(10, 9.0), [(Severity.CRITICAL, 10, 100)]),
    "on a primary": (world(10, 9.0, replay=backend(10)), []),
}


@pytest.mark.parametrize(("world", "said"), WORLDS.values(), ids=WORLDS.keys())
def test_what_it_says_of(world, said):
    findings, _ = judged(SLUG, world)
    assert [(one.severity, one.summary.values["behind"].value, one.subject.pid) for one in findings] == said


@pytest.mark.parametrize("slug", [SLUG, "pg-locks/lock-queue"])
def test_no_step_touches_the_startup_process(slug):
    (found,), _ = judged(slug, world(5, 9.0))
    signalled = [getattr(step.command, "parameters", (0,))[0] for step in found.steps]
    assert 10 not in signalled
    assert 100 in signalled


def test_a_lock_that_was_replayed_is_ended_on_the_primary():
    held = lock(LockMode.ACCESS_EXCLUSIVE, pid=10)
    waits = lock(LockMode.ACCESS_SHARE, pid=300, waited_s=9.0)
    (found,), _ = judged("pg-locks/lock-queue", pg_locks(held, waits, backends=(STARTUP, backend(300))))
    assert isinstance(found.steps[-1].command, NoCommand)
    assert "primary" in found.steps[-1].title.template


@pytest.mark.parametrize("fact", ["locks", "backends"])
def test_a_gap_in_what_it_needs_is_unknown(fact):
    findings, outcome = judged(SLUG, pg_locks(gaps=(gap(fact),)))
    assert (findings, outcome.outcome) == ([], Outcome.UNKNOWN)
