"""Sessions that hold locks, and sessions that wait, for the scenarios on PostgreSQL."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import psycopg

from diag.errors import DiagError
from diag.lab.process import wait_until

LONG_ENOUGH_S = 5.2  # past the limits of the checks, so that they speak as soon as the fault is in effect
_SETTLED_S = 20.0
_ROW = tuple[Any, ...]


class Sessions:
    """Opens sessions on one server, and ends them: the holders roll back first, so that the waiters can finish."""

    def __init__(self, dsn: str) -> None:
        """Connect a session that only watches."""
        self.dsn = dsn
        self.watcher = psycopg.connect(dsn, autocommit=True, application_name="lab")
        self._holders: list[psycopg.Connection[_ROW]] = []
        self._waiters: list[Waiter] = []

    def setup(self, *statements: str) -> None:
        """Run statements that are not part of the fault."""
        for statement in statements:
            self.watcher.execute(statement.encode())

    def hold(self, application: str, *statements: str) -> psycopg.Connection[_ROW]:
        """Open a session that runs these and then sits there."""
        session = psycopg.connect(self.dsn, application_name=application, autocommit=True)
        self._holders.append(session)
        for statement in statements:
            session.execute(statement.encode())
        return session

    def wait(self, application: str, statement: str, *before: str) -> None:
        """Open a session whose last statement will be kept waiting; return while it is."""
        self.let(self.prepare(application, *before), statement)

    def crowd(self, count: int, application: str, statement: str, *before: str) -> None:
        """Open many sessions that will be kept waiting by the same statement."""
        waiting = self._waiting
        for _ in range(count):
            self.prepare(application, *before).ask(statement)
        self._until(lambda: self._waiting >= waiting + count, f"not all wait: {application}")

    def prepare(self, application: str, *before: str) -> Waiter:
        """Open a session that will be told later what to ask."""
        self._waiters.append(Waiter(self.dsn, application, before))
        return self._waiters[-1]

    def let(self, waiter: Waiter, statement: str) -> None:
        """Let a prepared session ask, and return while it waits."""
        waiting = self._waiting
        waiter.ask(statement)
        self._until(lambda: self._waiting > waiting, f"nobody waits: {statement}")

    def call(self, application: str, statement: str, *before: str) -> None:
        """Open a session whose statement runs in the background; do not wait for anything."""
        self.prepare(application, *before).ask(statement)

    def until_waited(self, wait_s: float = LONG_ENOUGH_S) -> None:
        """Return when the longest wait has lasted for so many seconds."""
        query = "SELECT extract(epoch FROM clock_timestamp() - min(waitstart))::float8 FROM pg_locks WHERE NOT granted"
        self.until(f"SELECT coalesce(({query}) > {wait_s}, false)", "the wait did not last")

    def until(self, question: str, otherwise: str, within_s: float = _SETTLED_S) -> None:
        """Return when the server answers true. Raises DiagError when it does not in time."""
        self._until(lambda: bool(self.watcher.execute(question.encode()).fetchall()[0][0]), otherwise, within_s)

    @property
    def _waiting(self) -> int:
        return int(self.watcher.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchall()[0][0])

    def _until(self, settled: Any, otherwise: str, within_s: float = _SETTLED_S) -> None:
        if not wait_until(settled, within_s):
            raise DiagError(otherwise)

    def end(self) -> None:
        """Let everybody go; return when the server has closed their sessions, too."""
        pids = [session.info.backend_pid for session in self._holders] + [waiter.pid for waiter in self._waiters]
        for session in self._holders:
            with contextlib.suppress(psycopg.Error):  # whoever practises may have ended it
                session.execute("ROLLBACK")
            session.close()
        for waiter in self._waiters:
            waiter.end()
        gone = "SELECT count(*) FROM pg_stat_activity WHERE pid = ANY(%s)"
        wait_until(lambda: self.watcher.execute(gone, (pids,)).fetchall()[0][0] == 0, _SETTLED_S)
        self.watcher.close()


class Waiter:
    """One session with one statement, in a thread, since it will be kept waiting."""

    def __init__(self, dsn: str, application: str, before: tuple[str, ...]) -> None:
        """Connect, and run what comes before."""
        self.session = psycopg.connect(dsn, application_name=application, autocommit=True)
        self.pid = self.session.info.backend_pid
        for each in before:
            self.session.execute(each.encode())
        self._thread: threading.Thread | None = None
        self.outcome = ""

    def ask(self, statement: str) -> None:
        """Run the statement in the background."""
        self._thread = threading.Thread(target=self._run, args=(statement,), daemon=True)
        self._thread.start()

    @property
    def waits(self) -> bool:
        """Whether the statement has not ended yet."""
        return self._thread is not None and self._thread.is_alive()

    def _run(self, statement: str) -> None:
        try:
            self.session.execute(statement.encode())
            self.outcome = "done"
        except psycopg.Error as error:  # whoever practises may cancel or end it
            self.outcome = type(error).__name__

    def end(self) -> None:
        """Let it finish, or cancel it; then close the session."""
        if self._thread is not None:
            self._thread.join(_SETTLED_S / 10)
            if self._thread.is_alive():
                with contextlib.suppress(psycopg.Error):
                    self.session.cancel_safe(timeout=_SETTLED_S)
            self._thread.join(_SETTLED_S)
        self.session.close()


@contextlib.contextmanager
def sessions(dsn: str) -> Iterator[Sessions]:
    """Give a set of sessions that all end with the block."""
    opened = Sessions(dsn)
    try:
        yield opened
    finally:
        opened.end()
