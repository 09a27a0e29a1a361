"""A program has read and written inside a transaction and then went on to do something else."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from diag.lab.servers import Servers
from diag.lab.sessions import sessions

NEEDS = ("postgres",)
IDLE_S = 2
OPTIONS = ("--limit", f"pg-long-tx/idle-in-transaction.idle_s={IDLE_S}")  # who practises sees it after a minute


@contextlib.contextmanager
def broken(servers: Servers) -> Iterator[None]:
    """Keep the transaction open until the block ends."""
    assert servers.postgres is not None
    with sessions(servers.postgres.dsn) as lab:
        lab.setup("CREATE TABLE IF NOT EXISTS carts (id bigint PRIMARY KEY, total numeric)")
        lab.hold("checkout", "BEGIN", "SELECT count(*) FROM carts")
        since = "SELECT count(*) > 0 FROM pg_stat_activity WHERE state = 'idle in transaction'"
        lab.until(f"{since} AND state_change < clock_timestamp() - interval '{IDLE_S} s'", "it is not idle")
        yield
