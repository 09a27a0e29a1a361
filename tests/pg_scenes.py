"""Twelve ways in which sessions wait for each other, to be put before `pg_blocking_pids` as the oracle."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from diag.lab.sessions import Sessions, sessions

Scene = Callable[[Sessions], object]
_TABLE = "DROP TABLE IF EXISTS t CASCADE; CREATE TABLE t (id bigint PRIMARY KEY, v int)"
_ROWS = "INSERT INTO t SELECT n, 0 FROM generate_series(1, 1000) AS n"
_PARALLEL = (
    "SET max_parallel_workers_per_gather = 2",
    "SET parallel_setup_cost = 0",
    "SET parallel_tuple_cost = 0",
    "SET min_parallel_table_scan_size = 0",
    "SET parallel_leader_participation = off",
)


def thirty_queued_alters(lab: Sessions) -> None:
    lab.hold("holder", "BEGIN", "SELECT count(*) FROM t")
    lab.crowd(30, "migration", "ALTER TABLE t ADD COLUMN IF NOT EXISTS w int")


def twenty_updates_of_one_row(lab: Sessions) -> None:
    lab.hold("holder", "BEGIN", "UPDATE t SET v = 1 WHERE id = 1")
    lab.crowd(20, "writer", "UPDATE t SET v = v + 1 WHERE id = 1")


def advisory_locks(lab: Sessions) -> None:
    lab.hold("holder", "SELECT pg_advisory_lock(-5), pg_advisory_lock(3, -7)")
    lab.hold("sharer", "SELECT pg_advisory_lock_shared(77)")
    lab.wait("one", "SELECT pg_advisory_lock(-5)")
    lab.wait("shared", "SELECT pg_advisory_lock_shared(-5)")
    lab.wait("two", "SELECT pg_advisory_lock(3, -7)")
    lab.wait("exclusive", "SELECT pg_advisory_lock(77)")
    lab.wait("behind", "SELECT pg_advisory_lock_shared(77)")


def a_prepared_transaction(lab: Sessions) -> Callable[[], None]:
    lab.setup("BEGIN", "UPDATE t SET v = 1 WHERE id = 1", "PREPARE TRANSACTION 'scene'")
    lab.wait("writer", "UPDATE t SET v = 2 WHERE id = 1")
    lab.wait("migration", "ALTER TABLE t ADD COLUMN w int")
    lab.wait("reader", "SELECT count(*) FROM t")
    return lambda: lab.setup("ROLLBACK PREPARED 'scene'")


def a_concurrent_index_and_an_old_snapshot(lab: Sessions) -> None:
    lab.setup("CREATE TABLE IF NOT EXISTS elsewhere (id int)")
    lab.hold("report", "BEGIN ISOLATION LEVEL REPEATABLE READ", "SELECT count(*) FROM elsewhere")
    lab.wait("builder", "CREATE INDEX CONCURRENTLY ON t (v)")


def a_concurrent_index_a_writer_ddl_and_a_reader(lab: Sessions) -> None:
    lab.hold("writer", "BEGIN", "UPDATE t SET v = 1 WHERE id = 1")
    lab.wait("builder", "CREATE INDEX CONCURRENTLY ON t (v)")
    lab.wait("migration", "ALTER TABLE t ADD COLUMN w int")
    lab.wait("reader", "SELECT count(*) FROM t")


def a_jump_in_the_queue(lab: Sessions) -> None:
    """The second session holds what the first waiter conflicts with, so it is put before that one."""
    lab.hold("writer", "BEGIN", "UPDATE t SET v = 1 WHERE id = 1")
    lab.hold("reader", "BEGIN", "SELECT count(*) FROM t")
    jumper = lab.prepare("jumper", "BEGIN", "SELECT count(*) FROM t")
    lab.wait("migration", "ALTER TABLE t ADD COLUMN w int")
    lab.let(jumper, "LOCK TABLE t IN SHARE MODE")
    lab.wait("late", "SELECT count(*) FROM t")


def a_parallel_worker_waits(lab: Sessions) -> None:
    lab.setup(
        "CREATE OR REPLACE FUNCTION gated(bigint) RETURNS bigint LANGUAGE plpgsql PARALLEL SAFE AS"
        " $$ BEGIN PERFORM pg_advisory_xact_lock_shared(99); RETURN $1; END $$"
    )
    lab.hold("holder", "SELECT pg_advisory_lock(99)")
    lab.wait("report", "SELECT count(gated(id)) FROM t", *_PARALLEL)


def a_parallel_query_holds(lab: Sessions) -> None:
    lab.setup(
        "CREATE OR REPLACE FUNCTION slow(bigint) RETURNS bigint LANGUAGE plpgsql PARALLEL SAFE AS"
        " $$ BEGIN PERFORM pg_sleep(60); RETURN $1; END $$"
    )
    lab.call("report", "SELECT count(slow(id)) FROM t", *_PARALLEL)
    lab.until("SELECT count(*) > 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'", "no worker sleeps")
    lab.wait("migration", "ALTER TABLE t ADD COLUMN w int")
    lab.wait("reader", "SELECT count(*) FROM t")


def a_foreign_key(lab: Sessions) -> None:
    lab.setup("DROP TABLE IF EXISTS child", "CREATE TABLE child (id bigint REFERENCES t (id))")
    lab.hold("writer", "BEGIN", "INSERT INTO child VALUES (1)")
    lab.wait("migration", "ALTER TABLE t ADD COLUMN w int")
    lab.wait("drop", "DROP TABLE child")
    lab.wait("reader", "SELECT count(*) FROM t")


def two_sharers_of_a_row(lab: Sessions) -> None:
    lab.hold("one", "BEGIN", "SELECT * FROM t WHERE id = 1 FOR SHARE")
    lab.hold("two", "BEGIN", "SELECT * FROM t WHERE id = 1 FOR SHARE")
    lab.wait("writer", "UPDATE t SET v = 1 WHERE id = 1")
    lab.wait("another", "UPDATE t SET v = 2 WHERE id = 1")


def a_unique_key(lab: Sessions) -> None:
    lab.hold("first", "BEGIN", "INSERT INTO t VALUES (5000, 1)")
    lab.wait("second", "INSERT INTO t VALUES (5000, 2)")
    lab.wait("upsert", "INSERT INTO t VALUES (5000, 3) ON CONFLICT (id) DO UPDATE SET v = 3")


SCENES: tuple[Scene, ...] = (
    thirty_queued_alters,
    twenty_updates_of_one_row,
    advisory_locks,
    a_prepared_transaction,
    a_concurrent_index_and_an_old_snapshot,
    a_concurrent_index_a_writer_ddl_and_a_reader,
    a_jump_in_the_queue,
    a_parallel_worker_waits,
    a_parallel_query_holds,
    a_foreign_key,
    two_sharers_of_a_row,
    a_unique_key,
)


@contextlib.contextmanager
def played(scene: Scene, dsn: str) -> Iterator[Sessions]:
    """Put a scene into effect on a table of its own until the block ends."""
    with sessions(dsn) as lab:
        lab.setup(_TABLE, _ROWS, "ANALYZE t")
        undo = scene(lab)
        try:
            yield lab
        finally:
            if callable(undo):
                undo()
