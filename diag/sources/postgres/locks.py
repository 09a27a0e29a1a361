"""Take `PgLocks`: everything the wait graph needs in one round trip, then the names of what is waited for."""

from __future__ import annotations

import time
from datetime import datetime

import msgspec

from diag.errors import SourceError
from diag.snapshots.base import Gap, Scope
from diag.snapshots.postgres import Backend, Lock, Oid, PgLocks, PreparedTransaction, Relation
from diag.sources.postgres.connection import Session, ask, typed
from diag.sources.postgres.queries import query
from diag.sources.postgres.rows import gap, hidden_backends, prepared_row, shown
from diag.text import ServerText

_WAITSTART_SINCE = 14
_TAG = (
    "locktype", "database", "relation", "page", "tuple_", "virtualxid", "transactionid", "classid", "objid", "objsubid",
)  # fmt: skip


def pg_locks(session: Session, scope: Scope) -> PgLocks:
    """Read the locks somebody waits for. Raises a `SourceError` when even that is not possible."""
    started = time.monotonic()
    major = session.server_major
    names = ("server", "locks", "backends", "prepared")
    server, locks, backends, prepared = ask(session, [(query(name, major), {}) for name in names])
    known = typed([_nested(row) for row in locks], Lock)
    relations, narrowed_to, gaps = _relations(session, {one.tag.relation for one in known if one.tag.relation}, scope)
    if major < _WAITSTART_SINCE:
        undated = any(not lock.granted and lock.waited_s is None for lock in known)
        why = "pg_locks.waitstart exists from 14; a statement's start, its stand-in, needs pg_monitor"
        fix = "GRANT pg_monitor TO the role diag connects as"
        gaps.append(gap("locks" if undated else "waitstart", "how long each request waits", why, fix))
    gaps += hidden_backends(backends)
    return PgLocks(
        target=session.target,
        observed_at=msgspec.convert(server[0]["observed_at"], datetime),
        took_s=time.monotonic() - started,
        gaps=tuple(gaps),
        database=server[0]["database"] or Oid(0),
        locks=known,
        backends=typed([shown(row) for row in backends], Backend),
        prepared=typed([prepared_row(row) for row in prepared], PreparedTransaction),
        relations=relations,
        narrowed_to=narrowed_to,
    )


def _nested(row: dict[str, object]) -> dict[str, object]:
    tag = {name: row[name] for name in _TAG}
    return {**row, "tag": tag}


def _relations(
    session: Session, oids: set[Oid], scope: Scope
) -> tuple[tuple[Relation, ...], tuple[Oid, ...], list[Gap]]:
    """Return the names of the locked relations, the oids of the asked table, and what could not be read."""
    if not oids and not scope.table:
        return (), (), []
    names = [scope.table, scope.table.rpartition(".")[2]] if scope.table else []
    wanted = {"oids": sorted(oids), "names": [name.strip('"') for name in names], "table": scope.table}
    try:
        (rows,) = ask(session, [(query("relations", session.server_major), wanted)])
    except SourceError as error:
        if session.probe.deadline.passed:
            raise
        fact = "locks" if scope.table else "relations"
        return (), (Oid(0),) if scope.table else (), [gap(fact, "names of relations", error.message, error.fix)]
    relations = tuple(Relation(oid=Oid(row["oid"]), name=ServerText(row["name"])) for row in rows)
    narrowed_to = tuple(Oid(row["oid"]) for row in rows if row["asked_for"])
    if scope.table and not narrowed_to:
        why = "there is no relation of that name in this database"
        return relations, (Oid(0),), [gap("locks", f"table {scope.table}", why, "check the name, or drop --table")]
    return relations, narrowed_to, []
