"""A report on a standby has read a table; the primary alters it; replay waits, and new readers behind it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from diag.lab.servers import Servers
from diag.lab.sessions import sessions

NEEDS = ("postgres_standby",)
READERS = 3
_REPLAY_WAITS = "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'"
_REPLAYED = "SELECT to_regclass('shipments') IS NOT NULL"


@contextlib.contextmanager
def broken(servers: Servers) -> Iterator[None]:
    """Keep replay waiting until the block ends."""
    assert servers.postgres_standby is not None
    with sessions(servers.postgres_standby.primary_dsn) as primary, sessions(servers.postgres_standby.dsn) as standby:
        primary.setup("CREATE TABLE IF NOT EXISTS shipments (id bigint PRIMARY KEY, place text)")
        standby.until(_REPLAYED, "the standby does not follow")
        standby.hold("reporting", "BEGIN", "SELECT count(*) FROM shipments")
        primary.setup("ALTER TABLE shipments ADD COLUMN IF NOT EXISTS carrier text")
        standby.until(_REPLAY_WAITS, "replay does not wait")
        standby.crowd(READERS, "tracking-api", "SELECT count(*) FROM shipments WHERE place = 'Bergen'")
        standby.until_waited()
        yield
    with sessions(servers.postgres_standby.primary_dsn) as primary:
        primary.setup("DROP TABLE shipments")
