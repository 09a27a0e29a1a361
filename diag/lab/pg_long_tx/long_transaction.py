"""A report runs for long: its session is at work, not forgotten."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from diag.lab.servers import Servers
from diag.lab.sessions import sessions

NEEDS = ("postgres",)
OPEN_S = 2
OPTIONS = (
    "--limit",
    f"pg-long-tx/long-transaction.open_s={OPEN_S}",
)  # who practises: after 15 min


@contextlib.contextmanager
def broken(servers: Servers) -> Iterator[None]:
    """Keep the report running until the block ends; it is cancelled then."""
    assert servers.postgres is not None
    with sessions(servers.postgres.dsn) as lab:
        lab.call("month-end", "SELECT pg_sleep(3600)")
        report = "SELECT count(*) > 0 FROM pg_stat_activity WHERE application_name = 'month-end'"
        lab.until(f"{report} AND xact_start < clock_timestamp() - interval '{OPEN_S} s'", "no report is running")
        yield
