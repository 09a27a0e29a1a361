"""The proof of pg-locks/prepared-transaction: small worlds, each a story; one just under each limit, one at it."""

from __future__ import annotations

import pytest
from worlds import gap, judged, lock, pg_locks, prepared

from diag.findings import Outcome, Risk, Severity
from diag.snapshots.postgres import LockMode, LockTag, Xid
from diag.text import ServerText

SLUG = "pg-locks/prepared-transaction"
XID = LockTag(locktype="transactionid", transactionid=Xid(777))
HELD = (
    lock(LockMode.ROW_EXCLUSIVE, pid=None, transaction="-1/777"),
    lock(LockMode.EXCLUSIVE, pid=None, transaction="-1/777", tag=XID),
)
KNOWN = (prepared(777, "order-4711"),)


def world(count: int, waited_s: float, **more):
    waits = [lock(LockMode.SHARE, pid=200 + number, waited_s=waited_s) for number in range(count)]
    return pg_locks(*HELD, *waits, **{"prepared": KNOWN, **more})


WORLDS = {
    "it holds locks and nobody minds": (pg_locks(*HELD, prepared=KNOWN), []),
    "just under the limit": (world(1, 4.9), []),
    "at the limit": (world(1, 5.0), [(Severity.WARNING, 1)]),
    "one backend short of critical": (world(9, 9.0), [(Severity.WARNING, 9)]),
    "a pool stands still": (world(10, 9.0), [(Severity.CRITICAL, 10)]),
    "a backend at the root": (
        pg_locks(lock(LockMode.ROW_EXCLUSIVE, pid=100), lock(LockMode.SHARE, pid=200, waited_s=60)),
        [],
    ),
}


@pytest.mark.parametrize(("world", "said"), WORLDS.values(), ids=WORLDS.keys())
def test_what_it_says_of(world, said):
    findings, _ = judged(SLUG, world)
    assert [(found.severity, found.evidence[0].value.value) for found in findings] == said
    assert all(found.subject.gid == ServerText("order-4711") for found in findings)


def test_no_step_ends_a_backend():
    (found,), _ = judged(SLUG, world(3, 9.0))
    assert [step.risk for step in found.steps] == [Risk.READ_ONLY, Risk.DISRUPTIVE, Risk.DISRUPTIVE]
    words = " ".join(step.command.statement for step in found.steps)
    assert "COMMIT PREPARED" in words
    assert "ROLLBACK PREPARED" in words
    assert "pg_terminate" not in words


def test_one_whose_name_was_not_read_is_still_found():
    (found,), _ = judged(SLUG, world(3, 9.0, prepared=()))
    assert found.subject.gid == ServerText("-1/777")


def test_a_gap_in_what_it_needs_is_unknown():
    findings, outcome = judged(SLUG, pg_locks(gaps=(gap("locks"),)))
    assert (findings, outcome.outcome) == ([], Outcome.UNKNOWN)
