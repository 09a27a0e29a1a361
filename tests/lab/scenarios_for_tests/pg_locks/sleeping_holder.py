"""A scenario of the tests: a table stays locked for as long as this is held."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg

if TYPE_CHECKING:
    from collections.abc import Iterator

    from diag.lab.servers import Servers

NEEDS: tuple[str, ...] = ("postgres",)


@contextmanager
def broken(servers: Servers) -> Iterator[None]:
    """Lock `orders`; afterwards drop it."""
    assert servers.postgres is not None
    with psycopg.connect(servers.postgres.dsn) as holder:
        holder.execute("CREATE TABLE orders ()")
        holder.commit()
        holder.execute("LOCK TABLE orders")
        yield
        holder.execute("DROP TABLE orders")
