"""One key that everybody reads expires, and everybody recomputes it: hundreds of queries for one value."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from diag.lab.cache_stampede import _storms
from diag.lab.servers import Servers

NEEDS = ("redis",)
OPTIONS = _storms.OPTIONS


@contextlib.contextmanager
def broken(servers: Servers, seed: int = 0) -> Iterator[None]:
    """Let the readers read until the block ends; the key expires within seconds."""
    with _storms.hot_key(servers, seed):
        yield
