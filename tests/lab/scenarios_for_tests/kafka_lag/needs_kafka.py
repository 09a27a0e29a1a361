"""A scenario of the tests: it needs a server that the tests' lab does not run."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from diag.lab.servers import Servers

NEEDS: tuple[str, ...] = ("kafka",)


@contextmanager
def broken(servers: Servers) -> Iterator[None]:
    """Do nothing."""
    assert servers.kafka is not None
    yield
