"""The proof of pg-locks/lock-queue: small worlds, each a story; one just under each limit, one at it."""

from __future__ import annotations

import pytest
from worlds import backend, gap, judged, lock, pg_locks, prepared

from diag.findings import Outcome, Risk, Severity, SqlCommand
from diag.snapshots.postgres import LockMode, LockTag, Oid, Xid
from diag.text import ServerText

SLUG = "pg-locks/lock-queue"
HOLDER = lock(LockMode.ACCESS_SHARE, pid=100)
XID_OF_PREPARED = LockTag(locktype="transactionid", transactionid=Xid(777))


def alter(waited_s: float):
    return lock(LockMode.ACCESS_EXCLUSIVE, pid=200, waited_s=waited_s)


def readers(count: int, *, waited_s: float = 4.0):
    return [lock(LockMode.ACCESS_SHARE, pid=300 + number, waited_s=waited_s) for number in range(count)]


WORLDS = {
    "nobody waits": (pg_locks(), []),
    "a lock is held and nobody minds": (pg_locks(HOLDER), []),
    "just under the limit": (pg_locks(HOLDER, alter(4.9)), []),
    "at the limit": (pg_locks(HOLDER, alter(5.0)), [(Severity.WARNING, 1, 100)]),
    "one reader short of critical": (pg_locks(HOLDER, alter(9.0), *readers(8)), [(Severity.WARNING, 9, 100)]),
    "readers pile up behind ALTER TABLE": (pg_locks(HOLDER, alter(9.0), *readers(9)), [(Severity.CRITICAL, 10, 100)]),
    "a row lock is no lock queue": (
        pg_locks(
            lock(LockMode.EXCLUSIVE, pid=100, tag=LockTag(locktype="transactionid", transactionid=Xid(5))),
            lock(LockMode.SHARE, pid=200, waited_s=60, tag=LockTag(locktype="transactionid", transactionid=Xid(5))),
        ),
        [],
    ),
}


@pytest.mark.parametrize(("world", "said"), WORLDS.values(), ids=WORLDS.keys())
def test_what_it_says_of(world, said):
    findings, _ = judged(SLUG, world)
    assert [(found.severity, found.evidence[0].value.value, found.subject.pid) for found in findings] == said


def test_cancelling_the_migration_is_offered_before_ending_the_holder():
    (found,), _ = judged(SLUG, pg_locks(HOLDER, alter(9.0), *readers(12)))
    assert [step.risk for step in found.steps] == [Risk.READ_ONLY, Risk.REVERSIBLE, Risk.DISRUPTIVE]
    cancel, end = found.steps[1], found.steps[2]
    assert (cancel.title.values["pid"], cancel.title.values["freed"].value) == (200, 12)
    assert end.title.values["freed"].value == 13
    assert isinstance(cancel.command, SqlCommand)
    assert cancel.command.parameters[0] == 200
    assert "backend_start" in cancel.command.statement


def test_three_holders_are_all_named_and_no_step_promises_what_one_alone_cannot_do():
    holders = [lock(LockMode.ACCESS_SHARE, pid=pid) for pid in (100, 101, 102)]
    (found,), _ = judged(SLUG, pg_locks(*holders, alter(9.0), *readers(3)))
    assert found.summary.values["more"].values["more"] == 2
    endings = [step for step in found.steps if step.risk is Risk.DISRUPTIVE]
    assert [step.title.values["freed"].value for step in endings] == [4, 4, 4]
    assert all("all of them needed" in step.title.values["which"].template for step in endings)


def test_a_retried_migration_is_two_to_cancel():
    again = lock(LockMode.ACCESS_EXCLUSIVE, pid=201, waited_s=8.0)
    (found,), _ = judged(SLUG, pg_locks(HOLDER, alter(9.0), again, *readers(5)))
    cancels = [step for step in found.steps if step.risk is Risk.REVERSIBLE]
    assert [(step.title.values["pid"], step.title.values["freed"].value) for step in cancels] == [(200, 5), (201, 5)]


def test_the_partitions_of_one_table_are_one_trouble():
    partitions = [LockTag(locktype="relation", database=Oid(5), relation=Oid(20_000 + n)) for n in range(12)]
    held = [lock(LockMode.ACCESS_EXCLUSIVE, pid=100, tag=tag) for tag in partitions]
    waits = [lock(LockMode.ACCESS_SHARE, pid=300 + n, tag=tag, waited_s=6.0) for n, tag in enumerate(partitions)]
    (found,), _ = judged(SLUG, pg_locks(*held, *waits))
    assert (found.severity, found.evidence[0].value.value) == (Severity.CRITICAL, 12)


def test_a_narrowed_look_still_follows_the_chain_to_its_end():
    other = LockTag(locktype="relation", database=Oid(5), relation=Oid(20_000))
    world = pg_locks(
        lock(LockMode.ACCESS_SHARE, pid=100, tag=other),
        lock(LockMode.ACCESS_EXCLUSIVE, pid=200, tag=other, waited_s=9.0),
        lock(LockMode.ROW_EXCLUSIVE, pid=200),
        lock(LockMode.SHARE, pid=300, waited_s=8.0),
        narrowed_to=(Oid(16_390),),
    )
    (found,), _ = judged(SLUG, world)
    assert (found.subject.relation, found.subject.pid) == (ServerText("public.orders"), 100)


def test_a_running_holder_is_cancelled_and_not_terminated():
    locks = [HOLDER, alter(9.0)]
    world = pg_locks(*locks, backends=(backend(100, state="active"), backend(200)))
    (found,), _ = judged(SLUG, world)
    assert "pg_cancel_backend" in found.steps[-1].command.statement


def test_without_the_start_of_the_backend_there_is_no_command_but_a_reason():
    (found,), _ = judged(SLUG, pg_locks(HOLDER, alter(9.0), backends=()))
    assert "pg_monitor" in found.steps[-1].command.because.template


def test_a_prepared_transaction_at_the_root_is_named_by_its_gid():
    held = lock(LockMode.ROW_EXCLUSIVE, pid=None, transaction="-1/777")
    of_prepared = lock(LockMode.EXCLUSIVE, pid=None, transaction="-1/777", tag=XID_OF_PREPARED)
    (found,), _ = judged(SLUG, pg_locks(held, of_prepared, alter(9.0), prepared=(prepared(777, "order-4711"),)))
    assert found.subject.gid == ServerText("order-4711")
    assert found.steps[-1].command.statement.startswith("ROLLBACK PREPARED")


def test_a_relation_of_another_database_is_never_given_a_name_of_this_one():
    elsewhere = LockTag(locktype="relation", database=Oid(6), relation=Oid(16_390))
    world = pg_locks(
        lock(LockMode.ACCESS_SHARE, pid=100, tag=elsewhere),
        lock(LockMode.ACCESS_EXCLUSIVE, pid=200, waited_s=9.0, tag=elsewhere),
    )
    (found,), _ = judged(SLUG, world)
    assert found.subject.relation == ServerText("relation 16390 in database 6")


def test_a_gap_in_what_it_needs_is_unknown():
    findings, outcome = judged(SLUG, pg_locks(gaps=(gap("locks"),)))
    assert (findings, outcome.outcome) == ([], Outcome.UNKNOWN)


def test_a_gap_in_something_else_is_not():
    _, outcome = judged(SLUG, pg_locks(gaps=(gap("backends"),)))
    assert outcome.outcome is Outcome.CLEAR
