"""A job scheduler takes a session-level advisory lock through a pool, and gives the session back with the lock."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from diag.lab.servers import Servers
from diag.lab.sessions import sessions

NEEDS = ("postgres",)
JOBS = 6
KEY = 20_260_101


@contextlib.contextmanager
def broken(servers: Servers) -> Iterator[None]:
    """Hold the lock until the block ends."""
    assert servers.postgres is not None
    with sessions(servers.postgres.dsn) as lab:
        lab.hold("scheduler", f"SELECT pg_advisory_lock({KEY})", "SELECT 1")
        lab.crowd(JOBS, "scheduler", f"SELECT pg_advisory_lock({KEY})")
        lab.until_waited()
        yield
