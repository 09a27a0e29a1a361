"""A server at its memory limit may evict nothing, and refuses writes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from diag.lab.filling import filling
from diag.lab.servers import Servers

NEEDS = ("redis",)


@contextlib.contextmanager
def broken(servers: Servers) -> Iterator[None]:
    """Keep writing until the block ends."""
    assert servers.redis is not None
    with filling(servers.redis, "noeviction", "errorstat_OOM"):
        yield
