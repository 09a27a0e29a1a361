"""Two code paths change the same two accounts in opposite orders; the server would look for it after a second."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from diag.lab.servers import Servers
from diag.lab.sessions import sessions

NEEDS = ("postgres",)
_PATIENT = "SET deadlock_timeout = '1h'"  # so that the cycle stays to be seen
_TAKE = "UPDATE transfers SET amount = amount + 1 WHERE id = {}"


@contextlib.contextmanager
def broken(servers: Servers) -> Iterator[None]:
    """Keep the two waiting for each other until the block ends."""
    assert servers.postgres is not None
    with sessions(servers.postgres.dsn) as lab:
        lab.setup(
            "CREATE TABLE IF NOT EXISTS transfers (id bigint PRIMARY KEY, amount bigint)",
            "INSERT INTO transfers VALUES (1, 0), (2, 0) ON CONFLICT DO NOTHING",
        )
        lab.call("checkout", "SELECT pg_sleep(0.5); " + _TAKE.format(2), _PATIENT, "BEGIN", _TAKE.format(1))
        lab.wait("refunds", _TAKE.format(1), _PATIENT, "BEGIN", _TAKE.format(2))
        lab.until("SELECT count(*) = 2 FROM pg_locks WHERE NOT granted", "the two do not wait for each other")
        yield
