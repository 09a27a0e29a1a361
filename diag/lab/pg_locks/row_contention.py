"""One payment keeps its account's row locked while its program does something else; 20 others want the row."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from diag.lab.servers import Servers
from diag.lab.sessions import sessions

NEEDS = ("postgres",)
WRITERS = 20


@contextlib.contextmanager
def broken(servers: Servers) -> Iterator[None]:
    """Hold the row until the block ends."""
    assert servers.postgres is not None
    with sessions(servers.postgres.dsn) as lab:
        lab.setup(
            "CREATE TABLE IF NOT EXISTS accounts (id bigint PRIMARY KEY, balance bigint)",
            "INSERT INTO accounts VALUES (1, 100) ON CONFLICT DO NOTHING",
        )
        lab.hold("payments-api-7f4", "BEGIN", "UPDATE accounts SET balance = balance - 5 WHERE id = 1")
        lab.crowd(WRITERS, "payments-api", "UPDATE accounts SET balance = balance - 1 WHERE id = 1")
        lab.until_waited()
        yield
