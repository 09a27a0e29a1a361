"""A job deletes a whole family of keys that is read all the time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from diag.lab.cache_stampede import _storms
from diag.lab.servers import Servers

NEEDS = ("redis",)
OPTIONS = _storms.OPTIONS


@contextlib.contextmanager
def broken(servers: Servers, seed: int = 0) -> Iterator[None]:
    """Let the readers read until the block ends; the job comes after some seconds."""
    with _storms.invalidation(servers, seed):
        yield
