"""Take `PgLocks`: everything the wait graph needs, and the names of what is waited for, in one round trip."""

from __future__ import annotations

import time
from typing import Any

from diag.snapshots.base import Gap, Scope
from diag.snapshots.postgres import Backend, Lock, Oid, PgLocks, PreparedTransaction, Relation
from diag.sources.postgres.connection import Rows, Session, ask_or_less, typed
from diag.sources.postgres.queries import query
from diag.sources.postgres.rows import (
    elsewhere,
    gap,
    hidden_backends,
    leaderless,
    observed_at,
    prepared_row,
    shown,
    with_leaders,
    without_ours,
)
from diag.text import ServerText

NAMES = ("server", "locks", "backends", "prepared")
_WAITSTART_SINCE = 14
_TAG = (
    "locktype", "database", "relation", "page", "tuple_", "virtualxid", "transactionid", "classid", "objid", "objsubid",
)  # fmt: skip


def pg_locks(session: Session, scope: Scope) -> PgLocks:
    """Read the locks somebody waits for. Raises a `SourceError` when even that is not possible."""
    started = time.monotonic()
    (server, locks, backends, prepared, *blocked), asked_for, gaps = _answers(session, scope.table)
    database, others = without_ours(with_leaders(backends))
    known = typed([_nested(row) for row in locks], Lock)
    if session.server_major < _WAITSTART_SINCE:
        undated = any(not lock.granted and lock.waited_s is None for lock in known)
        why = "pg_locks.waitstart exists from 14; a statement's start, its stand-in, needs pg_monitor"
        fix = "GRANT pg_monitor TO the role diag connects as"
        gaps.append(gap("locks" if undated else "waitstart", "how long each request waits", why, fix))
    gaps += [*leaderless(others), *hidden_backends(others), *elsewhere(session, "locks")]
    named = {row["relation"]: row["name"] for row in locks if row.get("name")}
    named |= {row["oid"]: row["name"] for row in asked_for}
    no_such_table = (Oid(0),) if scope.table else ()
    return PgLocks(
        target=session.target,
        observed_at=observed_at(server),
        took_s=time.monotonic() - started,
        gaps=tuple(gaps),
        database=database,
        locks=known,
        backends=typed([shown(row) for row in others], Backend),
        prepared=typed([prepared_row(row) for row in prepared], PreparedTransaction),
        relations=tuple(Relation(oid=Oid(oid), name=ServerText(name)) for oid, name in named.items()),
        narrowed_to=tuple(Oid(row["oid"]) for row in asked_for) or no_such_table,
        blocked_by={row["pid"]: tuple(row["blocked_by"]) for row in (blocked[0] if blocked else ())},
    )


def _nested(row: dict[str, object]) -> dict[str, object]:
    tag = {name: row[name] for name in _TAG}
    return {**row, "tag": tag}


def _answers(session: Session, table: str) -> tuple[list[Rows], Rows, list[Gap]]:
    """Ask; return the answers, the relations that `table` may mean, and what could not be read.

    Names are in catalogs that may be locked themselves; then the rest is asked again without them.
    """
    major = session.server_major
    names = NAMES if major >= _WAITSTART_SINCE else (*NAMES, "blocked_by")
    asked: list[tuple[str, dict[str, Any]]] = [(query(name, major), {}) for name in names]
    unnamed = [asked[0], (query("locks_unnamed", major), {}), *asked[2:]]
    bare = table.rpartition(".")[2]
    wanted = {"names": [name.strip('"') for name in (table, bare)], "table": table}
    if table:
        asked.append((query("asked_table", major), wanted))
    answers, error = ask_or_less(session, asked, unnamed)
    if error is not None:
        return answers, [], [gap("locks" if table else "relations", "names of relations", error.message, error.fix)]
    if not table:
        return answers, [], []
    *answers, asked_for = answers
    why, fix = "there is no relation of that name in this database", "check the name, or drop --table"
    return answers, asked_for, [] if asked_for else [gap("locks", f"table {table}", why, fix)]
