"""An idle transaction has read `orders`; a migration waits for it; every reader waits behind the migration."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from diag.lab.servers import Servers
from diag.lab.sessions import sessions

NEEDS = ("postgres",)
READERS = 12  # more than the ten backends that make a queue critical


@contextlib.contextmanager
def broken(servers: Servers) -> Iterator[None]:
    """Hold the queue until the block ends; the holder then rolls back and everybody finishes."""
    assert servers.postgres is not None
    with sessions(servers.postgres.dsn) as lab:
        lab.setup("CREATE TABLE IF NOT EXISTS orders (id bigint PRIMARY KEY, customer text)")
        lab.hold("reporting", "BEGIN", "SELECT count(*) FROM orders WHERE customer = 'anna@example.org'")
        lab.wait("migration", "ALTER TABLE orders ADD COLUMN IF NOT EXISTS status text DEFAULT 'new'")
        lab.crowd(READERS, "payments-api", "SELECT count(*) FROM orders WHERE customer = 'bob@example.org'")
        lab.until_waited()
        yield
