"""Take `PgLocks`: everything the wait graph needs in one round trip, then the names of what is waited for."""

from __future__ import annotations

import time

from diag.errors import SourceError
from diag.snapshots.base import Gap, Scope
from diag.snapshots.postgres import Backend, Lock, Oid, PgLocks, PreparedTransaction, Relation
from diag.sources.postgres.connection import Rows, Session, ask, typed
from diag.sources.postgres.queries import query
from diag.text import ServerText

_WAITSTART_SINCE = 14
_TAG = (
    "locktype", "database", "relation", "page", "tuple_", "virtualxid", "transactionid", "classid", "objid", "objsubid",
)  # fmt: skip
_HIDDEN = "<insufficient privilege>"


def pg_locks(session: Session, scope: Scope) -> PgLocks:
    """Read the locks somebody waits for. Raises a `SourceError` when even that is not possible."""
    started = time.monotonic()
    major = session.server_major
    names = ("server", "locks", "backends", "prepared")
    server, locks, backends, prepared = ask(session, [(query(name, major), {}) for name in names])
    known = typed([_nested(row) for row in locks], Lock)
    relations, gaps = _relations(session, {lock.tag.relation for lock in known if lock.tag.relation})
    if major < _WAITSTART_SINCE:
        gaps.append(_gap("waitstart", "how long each request waits", "pg_locks.waitstart exists from 14", "upgrade"))
    hidden = sum(row["query"] == _HIDDEN for row in backends)
    if hidden:
        what, fix = f"statement and state of {hidden} backends", "GRANT pg_monitor TO the role diag connects as"
        gaps.append(_gap("backends", what, "hidden from this role", fix))
    return PgLocks(
        target=session.target,
        observed_at=server[0]["observed_at"],
        took_s=time.monotonic() - started,
        gaps=tuple(gaps),
        database=server[0]["database"] or Oid(0),
        locks=_narrowed(known, relations, scope),
        backends=typed([_shown(row) for row in backends], Backend),
        prepared=typed(
            [{**row, "owner": str(row["owner"]), "database": str(row["database"])} for row in prepared],
            PreparedTransaction,
        ),
        relations=relations,
    )


def _nested(row: dict[str, object]) -> dict[str, object]:
    tag = {name: row[name] for name in _TAG}
    return {**row, "tag": tag}


def _shown(row: dict[str, object]) -> dict[str, object]:
    """Treat what the server hides, and NULL, as not known."""
    text = {name: row[name] or "" for name in ("query", "application_name")}
    return {**row, **text, "query": "" if row["query"] == _HIDDEN else text["query"]}


def _relations(session: Session, oids: set[Oid]) -> tuple[tuple[Relation, ...], list[Gap]]:
    if not oids:
        return (), []
    try:
        (rows,) = ask(session, [(query("relations", session.server_major), {"oids": sorted(oids)})])
    except SourceError as error:
        if session.probe.deadline.passed:
            raise
        return (), [_gap("relations", "names of the locked relations", error.message, error.fix)]
    return _named(rows), []


def _named(rows: Rows) -> tuple[Relation, ...]:
    return tuple(Relation(oid=row["oid"], name=ServerText(f"{row['schema']}.{row['name']}")) for row in rows)


def _narrowed(locks: tuple[Lock, ...], relations: tuple[Relation, ...], scope: Scope) -> tuple[Lock, ...]:
    """Keep the locks on the asked table, written with or without its schema."""
    if not scope.table:
        return locks
    wanted = {one.oid for one in relations if scope.table in (one.name.raw, one.name.raw.rpartition(".")[2])}
    return tuple(lock for lock in locks if lock.tag.relation in wanted or lock.pid is None)


def _gap(fact: str, what: str, why: str, fix: str) -> Gap:
    return Gap(source="postgres", fact=fact, what=ServerText(what), why=ServerText(why), fix=ServerText(fix))
