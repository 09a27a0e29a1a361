"""A program holds a row on one connection and waits for it on another: PostgreSQL sees no cycle."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from diag.lab.servers import Servers
from diag.lab.sessions import sessions

NEEDS = ("postgres",)


@contextlib.contextmanager
def broken(servers: Servers) -> Iterator[None]:
    """Keep the program waiting for itself until the block ends."""
    assert servers.postgres is not None
    with sessions(servers.postgres.dsn) as lab:
        lab.setup(
            "CREATE TABLE IF NOT EXISTS bookings (id bigint PRIMARY KEY, seats int)",
            "INSERT INTO bookings VALUES (7, 40) ON CONFLICT DO NOTHING",
        )
        lab.hold("booking-worker-3", "BEGIN", "UPDATE bookings SET seats = seats - 1 WHERE id = 7")
        lab.wait("booking-worker-3", "UPDATE bookings SET seats = seats - 1 WHERE id = 7")
        lab.until_waited()
        yield
