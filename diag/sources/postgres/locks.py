"""Take `PgLocks`: everything the wait graph needs in one round trip, then the names of what is waited for."""

from __future__ import annotations

import time
from typing import Any

from diag.errors import TooSlow, Unreadable
from diag.snapshots.base import Gap, Scope
from diag.snapshots.postgres import Backend, Lock, Oid, PgLocks, PreparedTransaction, Relation
from diag.sources.postgres.connection import Rows, Session, ask, typed
from diag.sources.postgres.queries import query
from diag.sources.postgres.rows import elsewhere, gap, hidden_backends, observed_at, prepared_row, shown, without_ours
from diag.text import ServerText

NAMES = ("server", "locks", "backends", "prepared")
_WAITSTART_SINCE = 14
_TAG = (
    "locktype", "database", "relation", "page", "tuple_", "virtualxid", "transactionid", "classid", "objid", "objsubid",
)  # fmt: skip


def pg_locks(session: Session, scope: Scope) -> PgLocks:
    """Read the locks somebody waits for. Raises a `SourceError` when even that is not possible."""
    started = time.monotonic()
    major = session.server_major
    names = NAMES if major >= _WAITSTART_SINCE else (*NAMES, "blocked_by")
    asked: list[tuple[str, dict[str, Any]]] = [(query(name, major), {}) for name in names]
    (server, locks, backends, prepared, *blocked), relations, narrowed_to, gaps = _named(session, scope, asked)
    database, others = without_ours(backends)
    known = typed([_nested(row) for row in locks], Lock)
    if major < _WAITSTART_SINCE:
        undated = any(not lock.granted and lock.waited_s is None for lock in known)
        why = "pg_locks.waitstart exists from 14; a statement's start, its stand-in, needs pg_monitor"
        fix = "GRANT pg_monitor TO the role diag connects as"
        gaps.append(gap("locks" if undated else "waitstart", "how long each request waits", why, fix))
    gaps += [*hidden_backends(others), *elsewhere(session, "locks")]
    return PgLocks(
        target=session.target,
        observed_at=observed_at(server),
        took_s=time.monotonic() - started,
        gaps=tuple(gaps),
        database=database,
        locks=known,
        backends=typed([shown(row) for row in others], Backend),
        prepared=typed([prepared_row(row) for row in prepared], PreparedTransaction),
        relations=relations,
        narrowed_to=narrowed_to,
        blocked_by={row["pid"]: tuple(row["blocked_by"]) for row in (blocked[0] if blocked else ())},
    )


def _nested(row: dict[str, object]) -> dict[str, object]:
    tag = {name: row[name] for name in _TAG}
    return {**row, "tag": tag}


_Named = tuple[list[Rows], tuple[Relation, ...], tuple[Oid, ...], list[Gap]]


def _named(session: Session, scope: Scope, asked: list[tuple[str, dict[str, Any]]]) -> _Named:
    """Ask for the locks and for the names of what they are on, all in one round trip.

    The names are in catalogs that may be locked themselves; then the rest is asked again without them.
    Return the answers, the names, the oids of the asked table, and what could not be read.
    """
    names = [scope.table, scope.table.rpartition(".")[2]] if scope.table else []
    wanted = {"names": [name.strip('"') for name in names], "table": scope.table}
    try:
        *answers, rows = ask(session, [*asked, (query("relations", session.server_major), wanted)])
    except (TooSlow, Unreadable) as error:
        if session.probe.deadline.passed:
            raise
        fact = "locks" if scope.table else "relations"
        missing = gap(fact, "names of relations", error.message, error.fix)
        return ask(session, asked), (), (Oid(0),) if scope.table else (), [missing]
    relations = tuple(Relation(oid=Oid(row["oid"]), name=ServerText(row["name"])) for row in rows)
    narrowed_to = tuple(Oid(row["oid"]) for row in rows if row["asked_for"])
    if scope.table and not narrowed_to:
        why = "there is no relation of that name in this database"
        return (
            answers,
            relations,
            (Oid(0),),
            [gap("locks", f"table {scope.table}", why, "check the name, or drop --table")],
        )
    return answers, relations, narrowed_to, []
