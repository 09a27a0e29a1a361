"""Look-ups by key go all over six tables which together are three times as large as shared buffers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from diag.lab.pg_cache_hit._load import load
from diag.lab.servers import Servers
from diag.lab.sessions import sessions

NEEDS = ("postgres",)
OPTIONS = ("--samples", "3", "--interval", "1.5")  # a backend reports its counters once a second
TABLES = 6
ROWS = 60_000  # of about 140 bytes: 8 MB a table, where the lab's shared buffers have 16 MB
_FILL = "CREATE TABLE {} AS SELECT n AS id, repeat('x', 100) AS page FROM generate_series(1, {}) AS n"
_LOOK_UP = "SELECT count(page) FROM visits_{0} WHERE id IN (SELECT (random() * {1})::int FROM generate_series(1, 200))"


@contextlib.contextmanager
def broken(servers: Servers) -> Iterator[None]:
    """Keep looking up until the block ends."""
    assert servers.postgres is not None
    names = [f"visits_{number}" for number in range(TABLES)]
    with sessions(servers.postgres.dsn) as lab:
        lab.setup(*(f"DROP TABLE IF EXISTS {name}" for name in names))
        lab.setup(*(_FILL.format(name, ROWS) for name in names))
        lab.setup(*(f"ALTER TABLE {name} ADD PRIMARY KEY (id)" for name in names), "VACUUM ANALYZE")
        everywhere = "; ".join(_LOOK_UP.format(number, ROWS) for number in range(TABLES))
        with load(servers.postgres.dsn, "visits-api", everywhere):
            yield
        lab.setup(*(f"DROP TABLE IF EXISTS {name}" for name in names))
