"""SQL lives in files named by the least server version they need: `locks.14.sql`."""

from __future__ import annotations

from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).resolve().parent / "sql"


@cache
def query(name: str, server_major: int) -> str:
    """Return the newest form of a query that this server understands. Raises `LookupError` when it is too old."""
    versions = [int(file.suffixes[0][1:]) for file in _FOLDER.glob(f"{name}.*.sql")]
    fitting = [version for version in versions if version <= server_major]
    if not fitting:
        message = f"no form of {name} for PostgreSQL {server_major}"
        raise LookupError(message)
    return (_FOLDER / f"{name}.{max(fitting)}.sql").read_text("utf-8")


def newest(name: str) -> str:
    """Return the form of a query for the newest servers."""
    return query(name, 1_000)
