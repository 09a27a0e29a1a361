"""An idle transaction has read `orders`; a migration waits for it; every reader waits behind the migration."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import psycopg

from diag.lab.process import wait_until
from diag.lab.servers import Servers

NEEDS = ("postgres",)
READERS = 12  # more than the ten backends that make a queue critical
_LONG_ENOUGH_S = 5.2  # past the limit of the check, so that it speaks as soon as the fault is in effect
_SETTLED_S = 20.0


@contextlib.contextmanager
def broken(servers: Servers) -> Iterator[None]:
    """Hold the queue until the block ends; the holder then rolls back and everybody finishes."""
    assert servers.postgres is not None
    dsn = servers.postgres.dsn
    with psycopg.connect(dsn, application_name="reporting", autocommit=True) as holder:
        holder.execute("CREATE TABLE IF NOT EXISTS orders (id bigint PRIMARY KEY, customer text)")
        holder.execute("BEGIN")
        holder.execute("SELECT count(*) FROM orders WHERE customer = 'anna@example.org'")
        waiters = [_Waiter(dsn, "migration", "ALTER TABLE orders ADD COLUMN IF NOT EXISTS status text DEFAULT 'new'")]
        try:
            with psycopg.connect(dsn, autocommit=True) as watcher:
                _until_waiting(watcher, 1)
                readers = ("payments-api", "SELECT count(*) FROM orders WHERE customer = 'bob@example.org'")
                waiters += [_Waiter(dsn, *readers) for _ in range(READERS)]
                _until_waiting(watcher, 1 + READERS)
                wait_until(lambda: _longest_wait_s(watcher) > _LONG_ENOUGH_S, _SETTLED_S)
            yield
        finally:
            holder.execute("ROLLBACK")
            for waiter in waiters:
                waiter.end()


class _Waiter:
    """One session with one statement, in a thread, since it will be kept waiting."""

    def __init__(self, dsn: str, application: str, statement: str) -> None:
        self._session = psycopg.connect(dsn, application_name=application, autocommit=True)
        self._thread = threading.Thread(target=self._run, args=(statement,), daemon=True)
        self._thread.start()

    def _run(self, statement: str) -> None:
        with contextlib.suppress(psycopg.Error):  # whoever practises may cancel or end it
            self._session.execute(statement)

    def end(self) -> None:
        self._thread.join(_SETTLED_S)
        self._session.close()


def _until_waiting(watcher: psycopg.Connection, count: int) -> None:
    query = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'relation'"
    assert wait_until(lambda: watcher.execute(query).fetchall()[0][0] >= count, _SETTLED_S)


def _longest_wait_s(watcher: psycopg.Connection) -> float:
    query = "SELECT extract(epoch FROM clock_timestamp() - min(waitstart))::float8 FROM pg_locks WHERE NOT granted"
    return float(watcher.execute(query).fetchall()[0][0] or 0.0)
