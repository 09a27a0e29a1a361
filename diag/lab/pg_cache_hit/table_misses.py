"""An index was lost: look-ups by customer read the whole table, again and again."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from diag.lab.pg_cache_hit._load import load
from diag.lab.servers import Servers
from diag.lab.sessions import sessions

NEEDS = ("postgres",)
OPTIONS = ("--samples", "3", "--interval", "1.5")  # a backend reports its counters once a second
FILL = (
    "CREATE TABLE baskets AS"
    " SELECT n AS id, n % 5000 AS customer, repeat('x', 100) AS page FROM generate_series(1, 200000) AS n"
)  # of about 140 bytes: 28 MB, where the lab's shared buffers have 16 MB


@contextlib.contextmanager
def broken(servers: Servers) -> Iterator[None]:
    """Keep scanning until the block ends."""
    assert servers.postgres is not None
    with sessions(servers.postgres.dsn) as lab:
        lab.setup("DROP TABLE IF EXISTS baskets", FILL)
        lab.setup("ALTER TABLE baskets ADD PRIMARY KEY (id)", "VACUUM ANALYZE baskets")
        with load(servers.postgres.dsn, "basket-api", "SELECT count(page) FROM baskets WHERE customer = 42"):
            yield
        lab.setup("DROP TABLE baskets")
