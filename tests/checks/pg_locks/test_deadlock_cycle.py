"""The proof of pg-locks/deadlock-cycle: small worlds, each a story; one just under the limit, one at it."""

from __future__ import annotations

import pytest
from worlds import gap, judged, lock, pg_locks

from diag.findings import Outcome, Severity
from diag.snapshots.postgres import LockMode, LockTag, Xid

SLUG = "pg-locks/deadlock-cycle"


def xid(number: int) -> LockTag:
    return LockTag(locktype="transactionid", transactionid=Xid(number))


def ring(*pids: int, waited_s: float = 0.2):
    """Each waits for the next one's transaction, the last for the first one's."""
    held = [lock(LockMode.EXCLUSIVE, pid=pid, tag=xid(pid)) for pid in pids]
    pairs = zip(pids, (*pids[1:], pids[0]), strict=True)
    waits = [lock(LockMode.SHARE, pid=pid, tag=xid(next_), waited_s=waited_s + pid / 1e6) for pid, next_ in pairs]
    return [*held, *waits]


def behind(count: int, pid: int):
    return [lock(LockMode.SHARE, pid=300 + number, tag=xid(pid), waited_s=0.1) for number in range(count)]


WORLDS = {
    "a chain is no cycle": (
        pg_locks(lock(LockMode.EXCLUSIVE, pid=100, tag=xid(100)), *behind(3, 100)),
        [],
    ),
    "two in opposite orders": (pg_locks(*ring(100, 101)), [(Severity.WARNING, 2, 0)]),
    "three in a ring": (pg_locks(*ring(100, 101, 102)), [(Severity.WARNING, 3, 0)]),
    "one short of critical": (pg_locks(*ring(100, 101), *behind(7, 100)), [(Severity.WARNING, 2, 7)]),
    "a pool behind it": (pg_locks(*ring(100, 101), *behind(8, 100)), [(Severity.CRITICAL, 2, 8)]),
    "two cycles are two": (
        pg_locks(*ring(100, 101), *ring(110, 111)),
        [(Severity.WARNING, 2, 0), (Severity.WARNING, 2, 0)],
    ),
}


@pytest.mark.parametrize(("world", "said"), WORLDS.values(), ids=WORLDS.keys())
def test_what_it_says_of(world, said):
    findings, _ = judged(SLUG, world)
    assert [
        (one.severity, one.summary.values["size"].value, one.summary.values["behind"].value) for one in findings
    ] == said


def test_the_youngest_wait_is_the_one_to_cancel_and_no_other_check_speaks():
    world = pg_locks(*ring(100, 101, waited_s=60.0))
    (found,), _ = judged(SLUG, world)
    assert found.subject.pid == 100
    assert judged("pg-locks/lock-queue", world)[0] == []
    assert judged("pg-locks/row-contention", world)[0] == []


def test_a_cycle_through_the_queue_of_a_relation():
    """100 holds the row 101 wants; 101 queues for the table before 100's own request: nobody goes on."""
    world = pg_locks(
        lock(LockMode.EXCLUSIVE, pid=100, tag=xid(100)),
        lock(LockMode.ACCESS_SHARE, pid=101),
        lock(LockMode.SHARE, pid=101, tag=xid(100), waited_s=0.5),
        lock(LockMode.ACCESS_EXCLUSIVE, pid=100, waited_s=0.3),
    )
    (found,), _ = judged(SLUG, world)
    assert found.summary.values["size"].value == 2


def test_a_gap_in_what_it_needs_is_unknown():
    findings, outcome = judged(SLUG, pg_locks(gaps=(gap("locks"),)))
    assert (findings, outcome.outcome) == ([], Outcome.UNKNOWN)
