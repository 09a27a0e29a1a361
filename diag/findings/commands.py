"""Commands that several checks propose, each guarded so that it cannot hit the wrong thing."""

from __future__ import annotations

from datetime import datetime

from diag.findings.model import Command, NoCommand, ShellCommand, SqlCommand, say
from diag.text import KeyText, ServerText

_HIDDEN = (
    "when pid {pid} started is hidden from this role, and without it the command could hit a later backend"
    " with the same pid: GRANT pg_monitor TO the role diag connects as"
)


def cancel_backend(pid: int, started_at: datetime | None) -> Command:
    """Cancel what a backend is running, if the pid still belongs to the backend that was seen."""
    return _signal("pg_cancel_backend", pid, started_at)


def terminate_backend(pid: int, started_at: datetime | None) -> Command:
    """End a backend, if the pid still belongs to the backend that was seen."""
    return _signal("pg_terminate_backend", pid, started_at)


def _signal(function: str, pid: int, started_at: datetime | None) -> Command:
    if started_at is None:
        return NoCommand(say(_HIDDEN, pid=pid))
    return SqlCommand(
        f"SELECT {function}(pid) FROM pg_stat_get_activity({{0}}) WHERE backend_start = {{1}};",  # noqa: S608  constant
        (pid, started_at),
    )


def look_at_backend(pid: int) -> Command:
    """Show what a backend is doing; reads shared memory only, so no lock can keep it waiting."""
    return SqlCommand(
        "SELECT pid, state, now() - xact_start AS open_for, client_addr, application_name, query"
        " FROM pg_stat_get_activity({0});",
        (pid,),
    )


def look_at_prepared(gid: ServerText) -> Command:
    """Show whose a prepared transaction is; a view over two catalogs, which is no use while one of them is locked."""
    return SqlCommand("SELECT * FROM pg_prepared_xacts WHERE gid = {0};", (gid,))


def vacuum_progress() -> Command:
    """Show how far each running vacuum is."""
    return SqlCommand("SELECT pid, relid, phase, heap_blks_scanned, heap_blks_total FROM pg_stat_progress_vacuum;")


def commit_prepared(gid: ServerText) -> Command:
    """Commit a prepared transaction; to be run in its own database by its owner."""
    return SqlCommand("COMMIT PREPARED {0};", (gid,))


def rollback_prepared(gid: ServerText) -> Command:
    """Roll back a prepared transaction; to be run in its own database by its owner."""
    return SqlCommand("ROLLBACK PREPARED {0};", (gid,))


def replication_slots() -> Command:
    """Show every replication slot."""
    return SqlCommand("SELECT * FROM pg_replication_slots;")


def drop_replication_slot(slot: ServerText) -> Command:
    """Drop a slot; the server refuses while somebody uses it."""
    return SqlCommand("SELECT pg_drop_replication_slot({0});", (slot,))


def oldest_tables() -> Command:
    """Show the tables of the connected database that hold its age, oldest first; takes no lock on them."""
    return SqlCommand(
        "SELECT oid::regclass, age(relfrozenxid), mxid_age(relminmxid) FROM pg_class"
        " WHERE relkind IN ('r', 'm', 't') ORDER BY age(relfrozenxid) DESC LIMIT 10;"
    )


def indexes_of(table: int) -> Command:
    """Show the indexes of a table of the connected database; takes no lock on it."""
    return SqlCommand(
        "SELECT indexrelid::regclass, indisvalid, indisready FROM pg_index WHERE indrelid = {0};", (table,)
    )


def redis_cli(*words: str | KeyText) -> Command:
    """Ask the very server again, with its own client (diagnosis adds the address); a key stays one argument."""
    return ShellCommand(("redis-cli", *(("", word) if isinstance(word, KeyText) else word for word in words)))
