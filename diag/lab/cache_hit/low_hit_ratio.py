"""Most reads ask for keys that do not exist, as a scanner's do: each of them goes on to the database."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from diag.lab.cache_stampede import _storms
from diag.lab.servers import Servers

NEEDS = ("redis",)


@contextlib.contextmanager
def broken(servers: Servers, seed: int = 0) -> Iterator[None]:
    """Keep asking until the block ends."""
    with _storms.absent_keys(servers, seed):
        yield
