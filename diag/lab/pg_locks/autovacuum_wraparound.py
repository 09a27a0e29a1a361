"""A migration waits for an autovacuum that will not yield: it works against transaction ID wraparound."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from diag.lab.servers import Servers
from diag.lab.sessions import sessions

NEEDS = ("postgres",)
_SLOW = "autovacuum_freeze_max_age = 100000, autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1"
_GROW_OLD = "DO $$ BEGIN FOR n IN 1..110000 LOOP PERFORM txid_current(); COMMIT; END LOOP; END $$"  # past that age
_AT_WORK = (
    "FROM pg_stat_activity WHERE backend_type = 'autovacuum worker'"
    " AND query LIKE '%(to prevent wraparound)%' AND query LIKE '%events%'"
)


@contextlib.contextmanager
def broken(servers: Servers) -> Iterator[None]:
    """Keep autovacuum busy with the table, and the migration waiting, until the block ends."""
    assert servers.postgres is not None
    with sessions(servers.postgres.dsn) as lab:
        lab.setup(
            "DROP TABLE IF EXISTS events",
            "CREATE TABLE events (id bigint, word text)",
            "INSERT INTO events SELECT number, repeat('x', 100) FROM generate_series(1, 60000) AS number",
            f"ALTER TABLE events SET ({_SLOW})",
            "ALTER SYSTEM SET autovacuum_naptime = '1s'",
            "SELECT pg_reload_conf()",
        )
        try:
            lab.setup(_GROW_OLD)
            lab.until(f"SELECT count(*) > 0 {_AT_WORK}", "autovacuum does not come", 60.0)
            lab.wait("migration", "ALTER TABLE events ADD COLUMN kind text")
            lab.crowd(3, "events-api", "SELECT count(*) FROM events WHERE id = 1")
            lab.until_waited()
            yield
        finally:
            lab.setup(
                "ALTER SYSTEM RESET autovacuum_naptime",
                "SELECT pg_reload_conf()",
                f"SELECT pg_terminate_backend(pid) {_AT_WORK}",
            )
