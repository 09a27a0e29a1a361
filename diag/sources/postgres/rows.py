"""What the rows of several facts have in common: what the server hides, and the gaps that this leaves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from diag.snapshots.base import Gap
from diag.sources.postgres.connection import Session
from diag.text import ServerText

_HIDDEN = "<insufficient privilege>"


def shown(row: dict[str, Any]) -> dict[str, Any]:
    """Treat what the server hides, and NULL, as not known."""
    text = {name: row[name] or "" for name in ("query", "application_name")}
    return {**row, **text, "query": "" if row["query"] == _HIDDEN else text["query"]}


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
    return {**row, "owner": str(row["owner"]), "database": str(row["database"])}


def gap(fact: str, what: str, why: str, fix: str) -> Gap:
    """Make a gap of this source."""
    return Gap(source="postgres", fact=fact, what=ServerText(what), why=ServerText(why), fix=ServerText(fix))
