"""A small load: sessions that ask the same question over and over until the scenario ends."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import psycopg

_SETTLED_S = 20.0


@contextlib.contextmanager
def load(dsn: str, application: str, statement: str, *, sessions: int = 2) -> Iterator[None]:
    """Keep asking; return when each session has had an answer. Counters are reported about once a second."""
    enough = threading.Event()
    begun = threading.Barrier(sessions + 1)
    askers = [
        threading.Thread(target=_ask, args=(dsn, application, statement, begun, enough), daemon=True)
        for _ in range(sessions)
    ]
    for asker in askers:
        asker.start()
    begun.wait(_SETTLED_S)
    try:
        yield
    finally:
        enough.set()
        for asker in askers:
            asker.join(_SETTLED_S)


def _ask(dsn: str, application: str, statement: str, begun: threading.Barrier, enough: threading.Event) -> None:
    with psycopg.connect(dsn, application_name=application, autocommit=True) as session:
        session.execute(statement.encode())
        begun.wait(_SETTLED_S)
        while not enough.is_set():
            session.execute(statement.encode())
