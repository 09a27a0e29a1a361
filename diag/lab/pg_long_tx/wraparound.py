"""A database is older than autovacuum should ever let it become: its age is set back in the catalog."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from diag.lab.servers import Servers
from diag.lab.sessions import sessions

NEEDS = ("postgres",)
NAME = "archive_2019"
AGE = 600_000_000  # transactions: three times the default autovacuum_freeze_max_age
_OLD = f"((txid_snapshot_xmax(txid_current_snapshot()) - {AGE}) & 4294967295)::text::xid"
_SET_BACK = f"UPDATE pg_database SET datfrozenxid = {_OLD} WHERE datname = '{NAME}'"  # noqa: S608  both are constants


@contextlib.contextmanager
def broken(servers: Servers) -> Iterator[None]:
    """Keep the old database until the block ends; autovacuum, which would mend it, stays away."""
    assert servers.postgres is not None
    with sessions(servers.postgres.dsn) as lab:
        lab.setup("ALTER SYSTEM SET autovacuum = off", "SELECT pg_reload_conf()", f"CREATE DATABASE {NAME}")
        try:
            lab.setup(_SET_BACK)
            yield
        finally:
            lab.setup(f"DROP DATABASE IF EXISTS {NAME}", "ALTER SYSTEM RESET autovacuum", "SELECT pg_reload_conf()")
