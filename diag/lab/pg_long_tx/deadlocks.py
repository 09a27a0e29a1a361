"""Two workers change the same two rows in opposite orders, again and again."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import psycopg

from diag.lab.servers import Servers
from diag.lab.sessions import sessions

NEEDS = ("postgres",)
OPTIONS = ("--samples", "3", "--interval", "1.5")  # a backend reports its counters once a second
_EXPECTED = (psycopg.errors.DeadlockDetected, threading.BrokenBarrierError)
_TAKE = "UPDATE pairs SET n = n + 1 WHERE id = %s"
_COUNTED = "SELECT sum(pg_stat_get_db_deadlocks(oid)) > {} FROM pg_database"


@contextlib.contextmanager
def broken(servers: Servers) -> Iterator[None]:
    """Keep the two at it until the block ends."""
    assert servers.postgres is not None
    dsn = servers.postgres.dsn
    enough = threading.Event()
    both = threading.Barrier(2)
    with sessions(dsn) as lab:
        lab.setup(
            "CREATE TABLE IF NOT EXISTS pairs (id bigint PRIMARY KEY, n bigint)",
            "INSERT INTO pairs VALUES (1, 0), (2, 0) ON CONFLICT DO NOTHING",
        )
        counted = lab.watcher.execute("SELECT sum(pg_stat_get_db_deadlocks(oid)) FROM pg_database").fetchall()[0][0]
        workers = [
            threading.Thread(target=_work, args=(dsn, order, both, enough), daemon=True) for order in ((1, 2), (2, 1))
        ]
        for worker in workers:
            worker.start()
        try:
            lab.until(_COUNTED.format(counted), "no deadlock was counted")
            yield
        finally:
            enough.set()
            both.abort()
            for worker in workers:
                worker.join()


def _work(dsn: str, order: tuple[int, int], both: threading.Barrier, enough: threading.Event) -> None:
    """Take one row, wait until the other one has taken its row, and take that; until it is enough.

    Who lost waits for the other to end: else it could take its row back first, and they would wait, not deadlock.
    """
    with psycopg.connect(dsn, application_name=f"worker-{order[0]}", autocommit=True) as session:
        session.execute("SET deadlock_timeout = '50ms'")
        while not enough.is_set():
            with contextlib.suppress(*_EXPECTED), session.transaction():
                session.execute(_TAKE, (order[0],))
                both.wait()
                session.execute(_TAKE, (order[1],))
            with contextlib.suppress(threading.BrokenBarrierError):
                both.wait()
