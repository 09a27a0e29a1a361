"""A coordinator has prepared a transaction and forgotten it; nobody waits for it yet."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from diag.lab.servers import Servers
from diag.lab.sessions import sessions

NEEDS = ("postgres",)
GID = "transfer-88"
PREPARED_S = 2
OPTIONS = ("--limit", f"pg-long-tx/prepared-transaction.prepared_s={PREPARED_S}")  # who practises: after a minute


@contextlib.contextmanager
def broken(servers: Servers) -> Iterator[None]:
    """Leave the prepared transaction there until the block ends."""
    assert servers.postgres is not None
    with sessions(servers.postgres.dsn) as lab:
        lab.setup("BEGIN", "CREATE TABLE transfer_88 (id bigint)", f"PREPARE TRANSACTION '{GID}'")
        try:
            age = "SELECT coalesce(max(clock_timestamp() - prepared), interval '0') FROM pg_prepared_xacts"
            lab.until(f"SELECT ({age}) > interval '{PREPARED_S} s'", "nothing is prepared")
            yield
        finally:
            lab.setup(f"ROLLBACK PREPARED '{GID}'")
