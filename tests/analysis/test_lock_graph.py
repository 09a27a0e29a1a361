"""The graph against oracles: PostgreSQL's own pg_blocking_pids, and a slow, obvious one."""

from __future__ import annotations

import msgspec
import psycopg
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import backend, lock, pg_locks, prepared

from diag.analysis.lock_graph import LockGraph, conflicts, wait_rows
from diag.config import PostgresTarget
from diag.lab.pg_locks import lock_queue
from diag.snapshots.base import Scope
from diag.snapshots.postgres import LockMode, LockTag, Oid, Pid, Xid
from diag.sources import postgres
from diag.text import ServerText
from diag.wire.probe import Deadline, Probe

TAGS = [LockTag(locktype="relation", database=Oid(5), relation=Oid(oid)) for oid in (10, 11, 12)]


def test_conflicts_go_both_ways():
    assert all(conflicts(one, other) == conflicts(other, one) for one in LockMode for other in LockMode)
    assert [mode for mode in LockMode if not conflicts(mode, mode)] == [
        LockMode.ACCESS_SHARE,
        LockMode.ROW_SHARE,
        LockMode.ROW_EXCLUSIVE,
        LockMode.SHARE,
    ]


def test_it_agrees_with_the_server_on_a_real_queue(lab_servers):
    with lock_queue.broken(lab_servers), psycopg.connect(lab_servers.postgres.dsn) as oracle:
        with (
            Probe(Deadline(10)) as probe,
            postgres.connect(PostgresTarget(dsn=lab_servers.postgres.dsn), probe) as session,
        ):
            facts = postgres.pg_locks(session, Scope())
        graph = LockGraph(facts)
        for wait in graph.waits.values():
            ours = {actor for actor, _ in graph.holders(wait)} | {other.actor for other in graph.ahead(wait)}
            (theirs,) = oracle.execute("SELECT pg_blocking_pids(%s)", (wait.pid,)).fetchone()
            assert ours == set(theirs)
    assert len(graph.waits) == 1 + lock_queue.READERS


@st.composite
def piles(draw):
    """Held locks that can be held together, then requests in order of arrival."""
    held: list[tuple[int, LockTag, LockMode]] = []
    for pid in range(draw(st.integers(1, 4))):
        tag, mode = draw(st.sampled_from(TAGS)), draw(st.sampled_from(list(LockMode)))
        if not any(other == tag and conflicts(mode, theirs) for _, other, theirs in held):
            held.append((pid, tag, mode))
    wanted = [
        (100 + number, draw(st.sampled_from(TAGS)), draw(st.sampled_from(list(LockMode))))
        for number in range(draw(st.integers(1, 8)))
    ]
    return held, wanted


def world(held, wanted):
    return pg_locks(
        *[lock(mode, pid=pid, tag=tag) for pid, tag, mode in held],
        *[lock(mode, pid=pid, tag=tag, waited_s=100.0 - place) for place, (pid, tag, mode) in enumerate(wanted)],
        backends=tuple(backend(pid) for pid, _, _ in (*held, *wanted)),
    )


def obviously_freed(held, wanted, gone):
    """Let everybody who can run finish, again and again; `gone` is out from the start."""
    out = {gone}
    blocked = {pid for pid, _, _ in wanted}
    runs_anyway = {pid for pid, _, _ in held if pid not in blocked}
    while True:
        newly = set()
        for place, (pid, tag, mode) in enumerate(wanted):
            if pid in out:
                continue
            holders = any(o == tag and conflicts(mode, m) for p, o, m in held if p != pid and p not in out)
            ahead = any(o == tag and conflicts(mode, m) for p, o, m in wanted[:place] if p != pid and p not in out)
            if not holders and not ahead:
                newly.add(pid)
        if not newly:
            return out - {gone} - runs_anyway
        out |= newly


@settings(max_examples=300, deadline=None)
@given(piles())
def test_who_goes_free_is_what_the_obvious_way_says(pile):
    held, wanted = pile
    graph = LockGraph(world(held, wanted))
    for pid in {pid for pid, _, _ in (*held, *wanted)}:
        assert graph.freed_by(pid) == obviously_freed(held, wanted, pid)


@settings(max_examples=200, deadline=None)
@given(piles())
def test_a_root_waits_for_nobody_unless_there_is_a_cycle(pile):
    graph = LockGraph(world(*pile))
    for actor in graph.waits:
        root = graph.root(actor)
        blocker = graph.blocker(graph.waits[root]) if root in graph.waits else None
        assert blocker is None or graph.root(blocker[0]) is not None


def test_a_holder_that_wants_more_goes_before_those_it_keeps_waiting():
    facts = pg_locks(
        lock(LockMode.ACCESS_SHARE, pid=1),
        lock(LockMode.ACCESS_SHARE, pid=2),
        lock(LockMode.ACCESS_EXCLUSIVE, pid=3, waited_s=9.0),
        lock(LockMode.ACCESS_EXCLUSIVE, pid=2, waited_s=5.0),
    )
    (queue,) = LockGraph(facts).queues.values()
    assert [wait.pid for wait in queue] == [2, 3]


def test_a_reader_waits_for_the_migration_and_not_for_the_other_reader():
    facts = pg_locks(
        lock(LockMode.ACCESS_SHARE, pid=1),
        lock(LockMode.ACCESS_EXCLUSIVE, pid=2, waited_s=9.0),
        lock(LockMode.ACCESS_SHARE, pid=3, waited_s=5.0),
    )
    graph = LockGraph(facts)
    assert graph.blocker(graph.waits[2]) == (1, "hard", LockMode.ACCESS_SHARE)
    assert graph.blocker(graph.waits[3]) == (2, "soft", LockMode.ACCESS_EXCLUSIVE)
    assert [(row.pid, row.kind, row.blocked_by, row.blocking_mode) for row in wait_rows(facts)] == [
        (2, "hard", (1,), LockMode.ACCESS_SHARE),
        (3, "soft", (2,), LockMode.ACCESS_EXCLUSIVE),
    ]


def test_parallel_workers_are_their_leader():
    facts = pg_locks(
        lock(LockMode.ACCESS_EXCLUSIVE, pid=1),
        lock(LockMode.ACCESS_SHARE, pid=20, waited_s=3.0),
        backends=(backend(1), backend(2), backend(20, leader=2)),
    )
    assert set(LockGraph(facts).waits) == {2}


def test_eight_hundred_waiters_are_no_work():
    import time

    facts = pg_locks(
        lock(LockMode.ACCESS_SHARE, pid=1),
        *[lock(LockMode.ACCESS_EXCLUSIVE, pid=10 + number, waited_s=900.0 - number) for number in range(800)],
    )
    started = time.process_time()
    assert len(wait_rows(facts)) == 800
    assert time.process_time() - started < 2.0, "it grows with the square of the waiters"


def test_a_long_chain_of_waits_is_no_work():
    import time

    tags = [LockTag(locktype="relation", database=Oid(5), relation=Oid(100 + number)) for number in range(501)]
    strongest = LockMode.ACCESS_EXCLUSIVE
    held = [msgspec.structs.replace(lock(strongest, pid=number), tag=tags[number]) for number in range(500)]
    wanted = [
        msgspec.structs.replace(lock(strongest, pid=number + 1, waited_s=10.0), tag=tags[number])
        for number in range(500)
    ]
    started = time.process_time()
    graph = LockGraph(pg_locks(*held, *wanted))
    assert len(graph.freed_by(0)) == 500
    assert {graph.root(number) for number in range(500)} == {0}
    assert time.process_time() - started < 0.5, "every queue is looked at again for everyone who leaves"


def test_up_to_13_the_servers_own_word_orders_the_queue():
    """Their statements began in another order than their waits; 201 was first in line, as the server says."""
    holder = lock(LockMode.ACCESS_SHARE, pid=100)
    waits = [lock(LockMode.ACCESS_EXCLUSIVE, pid=200 + number, waited_s=9.0 - number) for number in range(3)]
    told = {Pid(201): (100,), Pid(200): (100, 201), Pid(202): (100, 200, 201)}
    (queue,) = LockGraph(pg_locks(holder, *waits, blocked_by=told)).queues.values()
    assert [wait.pid for wait in queue] == [201, 200, 202]
    (queue,) = LockGraph(pg_locks(holder, *waits)).queues.values()
    assert [wait.pid for wait in queue] == [200, 201, 202]


def test_words_that_contradict_each_other_lose_nobody():
    waits = [lock(LockMode.ACCESS_EXCLUSIVE, pid=200 + number, waited_s=9.0 - number) for number in range(3)]
    told = {Pid(200): (201,), Pid(201): (200,), Pid(202): (200,)}
    (queue,) = LockGraph(pg_locks(*waits, blocked_by=told)).queues.values()
    assert {wait.pid for wait in queue} == {200, 201, 202}


@settings(max_examples=300, deadline=None)
@given(piles())
def test_a_cycle_is_what_nobody_outside_it_can_free(pile):
    held, wanted = pile
    graph = LockGraph(world(held, wanted))
    running = {pid for pid, _, _ in held} - set(graph.waits)
    freed = graph.freed_by(*running)
    for cycle in graph.cycles():
        assert not freed & set(cycle)
        assert set(cycle) <= set(graph.waits)
    assert bool(graph.cycles()) == bool(set(graph.waits) - freed)


def test_a_prepared_transaction_at_the_root_is_in_the_rows_by_its_gid():
    mark = LockTag(locktype="transactionid", transactionid=Xid(777))
    facts = pg_locks(
        lock(LockMode.ROW_EXCLUSIVE, pid=None, transaction="-1/777"),
        lock(LockMode.EXCLUSIVE, pid=None, transaction="-1/777", tag=mark),
        lock(LockMode.ACCESS_EXCLUSIVE, pid=2, waited_s=9.0),
        prepared=(prepared(777, "order-4711"),),
    )
    assert [(row.root_pid, row.root_gid) for row in wait_rows(facts)] == [(None, ServerText("order-4711"))]
