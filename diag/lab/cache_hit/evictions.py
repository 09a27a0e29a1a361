"""A cache at its memory limit evicts what is still wanted."""

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
    with filling(servers.redis, "allkeys-lru", "evicted_keys"):
        yield
