"""A standby was removed and its slot forgotten; the server keeps WAL for it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from diag.lab.servers import Servers
from diag.lab.sessions import sessions

NEEDS = ("postgres",)
SLOT = "standby_2"
_SEGMENTS = 66  # of 16 MiB: past the default max_wal_size
_FILL = (
    "DO $$ BEGIN FOR n IN 1..{} LOOP PERFORM pg_logical_emit_message(false, 'lab', 'x');"
    " PERFORM pg_switch_wal(); COMMIT; END LOOP; END $$"
)


@contextlib.contextmanager
def broken(servers: Servers) -> Iterator[None]:
    """Keep the slot, and the WAL, until the block ends."""
    assert servers.postgres is not None
    with sessions(servers.postgres.dsn) as lab:
        lab.setup(f"SELECT pg_create_physical_replication_slot('{SLOT}', true)")
        try:
            lab.setup("SET wal_init_zero = off", _FILL.format(_SEGMENTS))
            yield
        finally:
            lab.setup(f"SELECT pg_drop_replication_slot('{SLOT}')", "CHECKPOINT")
