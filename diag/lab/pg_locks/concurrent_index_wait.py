"""A report on another table keeps a snapshot open; CREATE INDEX CONCURRENTLY waits for it to end."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from diag.lab.servers import Servers
from diag.lab.sessions import sessions

NEEDS = ("postgres",)
INDEX = "invoices_customer"


@contextlib.contextmanager
def broken(servers: Servers) -> Iterator[None]:
    """Keep the index building until the block ends; then it becomes valid and is dropped."""
    assert servers.postgres is not None
    with sessions(servers.postgres.dsn) as lab:
        lab.setup(
            "CREATE TABLE IF NOT EXISTS invoices (id bigint PRIMARY KEY, customer text)",
            "CREATE TABLE IF NOT EXISTS rates (day date, rate numeric)",
        )
        lab.hold("month-end", "BEGIN ISOLATION LEVEL REPEATABLE READ", "SELECT count(*) FROM rates")
        lab.wait("migration", f"CREATE INDEX CONCURRENTLY {INDEX} ON invoices (customer)")
        lab.until_waited()
        yield
    with sessions(servers.postgres.dsn) as after:
        after.setup(f"DROP INDEX IF EXISTS {INDEX}")
