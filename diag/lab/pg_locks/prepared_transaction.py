"""A coordinator has prepared a transaction and forgotten it; a writer of the same row and a migration wait for it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from diag.lab.servers import Servers
from diag.lab.sessions import sessions

NEEDS = ("postgres",)
GID = "order-4711"


@contextlib.contextmanager
def broken(servers: Servers) -> Iterator[None]:
    """Leave the prepared transaction there until the block ends."""
    assert servers.postgres is not None
    with sessions(servers.postgres.dsn) as lab:
        lab.setup(
            "CREATE TABLE IF NOT EXISTS stock (id bigint PRIMARY KEY, pieces bigint)",
            "INSERT INTO stock VALUES (1, 100) ON CONFLICT DO NOTHING",
            "BEGIN",
            "UPDATE stock SET pieces = pieces - 1 WHERE id = 1",
            f"PREPARE TRANSACTION '{GID}'",
        )
        try:
            lab.wait("warehouse", "UPDATE stock SET pieces = pieces + 10 WHERE id = 1")
            lab.wait("migration", "ALTER TABLE stock ADD COLUMN IF NOT EXISTS place text")
            lab.until_waited()
            yield
        finally:
            lab.setup(f"ROLLBACK PREPARED '{GID}'")
