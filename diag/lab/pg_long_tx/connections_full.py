"""A pool has taken nearly all connections, and most of them wait for one row."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from diag.lab.servers import Servers
from diag.lab.sessions import sessions

NEEDS = ("postgres",)
_LEFT = 2  # connections: our own look needs one
_ALLOWED = (
    "SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int"
    " - (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')"
)


@contextlib.contextmanager
def broken(servers: Servers) -> Iterator[None]:
    """Keep the connections until the block ends."""
    assert servers.postgres is not None
    with sessions(servers.postgres.dsn) as lab:
        lab.setup(
            "CREATE TABLE IF NOT EXISTS counters (id bigint PRIMARY KEY, n bigint)",
            "INSERT INTO counters VALUES (1, 0) ON CONFLICT DO NOTHING",
        )
        free = int(lab.watcher.execute(_ALLOWED).fetchall()[0][0])
        lab.hold("counter-api", "BEGIN", "UPDATE counters SET n = n + 1 WHERE id = 1")
        lab.crowd(free - 1 - _LEFT, "counter-api", "UPDATE counters SET n = n + 1 WHERE id = 1")
        yield
