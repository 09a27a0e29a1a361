"""The proof of pg-locks/autovacuum-wraparound: small worlds, each a story; one just under each limit, one at it."""

from __future__ import annotations

import pytest
from worlds import backend, gap, judged, lock, pg_locks

from diag.findings import Outcome, Risk, Severity
from diag.snapshots.postgres import LockMode

SLUG = "pg-locks/autovacuum-wraparound"
VACUUM = lock(LockMode.SHARE_UPDATE_EXCLUSIVE, pid=100)
STUBBORN = "autovacuum: VACUUM public.orders (to prevent wraparound)"


def world(count: int, waited_s: float, *, query: str = STUBBORN, kind: str = "autovacuum worker"):
    ddl = lock(LockMode.ACCESS_EXCLUSIVE, pid=200, waited_s=waited_s)
    readers = [lock(LockMode.ACCESS_SHARE, pid=300 + number, waited_s=1.0) for number in range(count - 1)]
    backends = (backend(100, query=query, backend_type=kind), backend(200))
    return pg_locks(VACUUM, ddl, *readers, backends=backends)


WORLDS = {
    "just under the limit": (world(1, 4.9), []),
    "at the limit": (world(1, 5.0), [(Severity.WARNING, 1, 100)]),
    "one reader short of critical": (world(9, 9.0), [(Severity.WARNING, 9, 100)]),
    "readers pile up": (world(10, 9.0), [(Severity.CRITICAL, 10, 100)]),
    "an ordinary autovacuum will yield": (world(10, 9.0, query="autovacuum: VACUUM public.orders"), []),
    "somebody who writes the same words": (world(10, 9.0, kind="client backend"), []),
}


@pytest.mark.parametrize(("world", "said"), WORLDS.values(), ids=WORLDS.keys())
def test_what_it_says_of(world, said):
    findings, _ = judged(SLUG, world)
    assert [(found.severity, found.evidence[0].value.value, found.subject.pid) for found in findings] == said


def test_the_vacuum_is_never_ended():
    (found,), _ = judged(SLUG, world(5, 9.0))
    assert [step.risk for step in found.steps] == [Risk.READ_ONLY, Risk.REVERSIBLE, Risk.READ_ONLY]
    assert found.steps[1].command.parameters[0] == 200


@pytest.mark.parametrize("fact", ["locks", "backends"])
def test_a_gap_in_what_it_needs_is_unknown(fact):
    findings, outcome = judged(SLUG, pg_locks(gaps=(gap(fact),)))
    assert (findings, outcome.outcome) == ([], Outcome.UNKNOWN)
