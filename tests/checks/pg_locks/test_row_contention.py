"""The proof of pg-locks/row-contention: small worlds, each a story; one just under each limit, one at it."""

from __future__ import annotations

import pytest
from worlds import gap, judged, lock, pg_locks, prepared

from diag.findings import Outcome, Risk, Severity
from diag.snapshots.postgres import LockMode, LockTag, Oid, Xid
from diag.text import ServerText

SLUG = "pg-locks/row-contention"
XID = LockTag(locktype="transactionid", transactionid=Xid(777))
ROW = LockTag(locktype="tuple", database=Oid(5), relation=Oid(16_390), page=0, tuple_=1)
HOLDER = lock(LockMode.EXCLUSIVE, pid=100, tag=XID)


def writers(count: int, *, waited_s: float):
    """The first has the row and waits for the transaction; the others wait for the row."""
    first = [lock(LockMode.SHARE, pid=200, tag=XID, waited_s=waited_s), lock(LockMode.EXCLUSIVE, pid=200, tag=ROW)]
    later = [lock(LockMode.EXCLUSIVE, pid=300 + n, tag=ROW, waited_s=waited_s / 2) for n in range(count - 1)]
    return [*first, *later]


WORLDS = {
    "nobody waits": (pg_locks(HOLDER), []),
    "just under the limit": (pg_locks(HOLDER, *writers(2, waited_s=4.9)), []),
    "at the limit": (pg_locks(HOLDER, *writers(2, waited_s=5.0)), [(Severity.WARNING, 2, 100)]),
    "one writer short of critical": (pg_locks(HOLDER, *writers(9, waited_s=9.0)), [(Severity.WARNING, 9, 100)]),
    "a hot row": (pg_locks(HOLDER, *writers(10, waited_s=9.0)), [(Severity.CRITICAL, 10, 100)]),
    "a lock queue is no row lock": (
        pg_locks(lock(LockMode.ACCESS_SHARE, pid=100), lock(LockMode.ACCESS_EXCLUSIVE, pid=200, waited_s=60)),
        [],
    ),
}


@pytest.mark.parametrize(("world", "said"), WORLDS.values(), ids=WORLDS.keys())
def test_what_it_says_of(world, said):
    findings, _ = judged(SLUG, world)
    assert [(found.severity, found.evidence[0].value.value, found.subject.pid) for found in findings] == said


def test_the_two_kinds_of_queue_are_one_trouble_and_the_table_is_named():
    (found,), _ = judged(SLUG, pg_locks(HOLDER, *writers(20, waited_s=9.0)))
    assert found.subject.relation == ServerText("public.orders")
    assert [step.risk for step in found.steps] == [Risk.READ_ONLY, Risk.DISRUPTIVE]
    assert found.steps[-1].title.values["freed"].value == 20


def test_a_prepared_transaction_is_left_to_its_own_check():
    of_prepared = lock(LockMode.EXCLUSIVE, pid=None, transaction="-1/777", tag=XID)
    findings, _ = judged(SLUG, pg_locks(of_prepared, *writers(3, waited_s=9), prepared=(prepared(777, "order-1"),)))
    assert findings == []


def test_a_gap_in_what_it_needs_is_unknown():
    findings, outcome = judged(SLUG, pg_locks(gaps=(gap("locks"),)))
    assert (findings, outcome.outcome) == ([], Outcome.UNKNOWN)
