"""What the rows of several facts have in common: what the server hides, and the gaps that this leaves."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from diag.snapshots.base import Gap
from diag.snapshots.postgres import Oid
from diag.sources.postgres.connection import Session
from diag.text import ServerText

_HIDDEN = "<insufficient privilege>"
_WORKER = "parallel worker"


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def moment(epoch_s: float | None) -> datetime | None:
    """Turn seconds since 1970 into a time; a double holds microseconds exactly until the year 2255."""
    return None if epoch_s is None else _EPOCH + timedelta(microseconds=round(epoch_s * 1e6))


def observed_at(server: list[dict[str, Any]]) -> datetime:
    """Return the server's own time of a reading."""
    return _EPOCH + timedelta(microseconds=round(server[0]["observed_at"] * 1e6))


def dated(row: dict[str, Any]) -> dict[str, Any]:
    """Return the row with every column that ends in `_at` as a time."""
    return {name: moment(value) if name.endswith("_at") else value for name, value in row.items()}


def shown(row: dict[str, Any]) -> dict[str, Any]:
    """Treat what the server hides, and NULL, as not known."""
    text = {name: row[name] or "" for name in ("query", "application_name")}
    return {**dated(row), **text, "query": "" if row["query"] == _HIDDEN else text["query"]}


def without_ours(rows: list[dict[str, Any]]) -> tuple[Oid, list[dict[str, Any]]]:
    """Return the oid of the connected database, which our own backend's row tells, and everybody else's rows."""
    database = next((row["database"] for row in rows if row["ours"]), None)
    return Oid(database or 0), [row for row in rows if not row["ours"]]


def with_leaders(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows with the leaders of parallel workers, which the server itself names from 13 on.

    A leader runs the same statement in the same database, from 12 on with the same start of its transaction.
    Where several do, or the statement is hidden, the leader stays unknown.
    """
    return [{**row, "leader_pid": _leader(row, rows)} if row["backend_type"] == _WORKER else row for row in rows]


def _leader(worker: dict[str, Any], rows: list[dict[str, Any]]) -> int | None:
    if worker["leader_pid"] is not None:
        return int(worker["leader_pid"])
    alike = [
        row
        for row in rows
        if row["backend_type"] == "client backend"
        and row["state"] == "active"
        and (row["database"], row["query"]) == (worker["database"], worker["query"])
    ]
    together = [row for row in alike if row["transaction_started_at"] == worker["transaction_started_at"]]
    candidates = together or alike
    return int(candidates[0]["pid"]) if len(candidates) == 1 else None


def leaderless(rows: list[dict[str, Any]]) -> Iterator[Gap]:
    """Yield the gap that parallel workers leave whose leader is not known: each looks like a session of its own."""
    lost = sum(row["backend_type"] == _WORKER and row["leader_pid"] is None for row in rows)
    if lost:
        why = "up to 12 the server does not say, and several sessions run their statement"
        yield gap(
            "leaders", f"which session leads {lost} parallel workers", why, "look at their statements in the waits"
        )


def hidden_backends(rows: list[dict[str, Any]]) -> Iterator[Gap]:
    """Yield the gap that backends of other roles leave without pg_monitor."""
    hidden = sum(row["query"] == _HIDDEN for row in rows)
    if hidden:
        what, fix = f"statement and state of {hidden} backends", "GRANT pg_monitor TO the role diag connects as"
        yield gap("backends", what, "hidden from this role", fix)


def elsewhere(session: Session, fact: str) -> Iterator[Gap]:
    """Yield the gap that another database leaves in the place of the one that was asked for.

    A database that lets nobody in is not healthy, whatever else is seen: hence the gap is in a needed `fact`.
    """
    if session.instead_of:
        why = "it let nobody in: somebody may hold a lock on its catalog; another database was asked instead"
        fix = "see who holds a lock on a pg_ relation in the waits"
        yield gap(fact, f"names of relations of {session.instead_of}", why, fix)


def prepared_row(row: dict[str, Any]) -> dict[str, Any]:
    """Keep owner and database as text: their names are in catalogs that may be locked."""
    return {**dated(row), "owner": str(row["owner"]), "database": str(row["database"])}


def gap(fact: str, what: str, why: str, fix: str) -> Gap:
    """Make a gap of this source."""
    return Gap(source="postgres", fact=fact, what=ServerText(what), why=ServerText(why), fix=ServerText(fix))
