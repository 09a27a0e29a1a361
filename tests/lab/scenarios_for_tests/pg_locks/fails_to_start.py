"""A scenario of the tests: it fails while it is set up."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from diag.lab.servers import Servers

NEEDS: tuple[str, ...] = ("postgres",)


@contextmanager
def broken(servers: Servers) -> Iterator[None]:
    """Fail."""
    msg = f"no luck today with {servers.postgres is not None}"
    raise ValueError(msg)
    yield
