"""Facts about PostgreSQL. Nouns: PostgreSQL manual, "Explicit Locking", "pg_locks", "pg_stat_activity"."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import NewType

from msgspec import Struct

from diag.snapshots.base import NOTHING, Snapshot
from diag.text import ServerText, SqlText

Pid = NewType("Pid", int)
Oid = NewType("Oid", int)
Xid = NewType("Xid", int)
_FIRST_OWN_OID = 16_384  # FirstNormalObjectId: below it, every database gives the same relations the same oids


class LockMode(StrEnum):
    """The eight table-level modes, weakest first, spelled as in pg_locks.mode."""

    ACCESS_SHARE = "AccessShareLock"
    ROW_SHARE = "RowShareLock"
    ROW_EXCLUSIVE = "RowExclusiveLock"
    SHARE_UPDATE_EXCLUSIVE = "ShareUpdateExclusiveLock"
    SHARE = "ShareLock"
    SHARE_ROW_EXCLUSIVE = "ShareRowExclusiveLock"
    EXCLUSIVE = "ExclusiveLock"
    ACCESS_EXCLUSIVE = "AccessExclusiveLock"


class LockTag(Struct, frozen=True):
    """What a lock is on. Which fields are set depends on `locktype` (manual: pg_locks)."""

    locktype: str
    database: Oid | None = None
    relation: Oid | None = None
    page: int | None = None
    tuple_: int | None = None
    virtualxid: str | None = None
    transactionid: Xid | None = None
    classid: Oid | None = None
    objid: Oid | None = None
    objsubid: int | None = None


class Lock(Struct, frozen=True, kw_only=True):
    """One row of pg_locks: held when `granted`, else waited for.

    `pid` is None for a prepared transaction. `waited_s` is measured on the server's clock
    from pg_locks.waitstart; None when granted, before PostgreSQL 14, or in the first instant.
    """

    tag: LockTag
    pid: Pid | None
    virtualtransaction: str
    mode: LockMode
    granted: bool
    waited_s: float | None = None


class Backend(Struct, frozen=True, kw_only=True):
    """One row of pg_stat_get_activity. None: not set, or hidden from this role.

    The ages count transactions since the one this backend has been given (xid), and since the
    oldest one its snapshot may still see (xmin); they are taken for `PgTransactions` only.
    """

    pid: Pid
    leader_pid: Pid | None = None
    database: Oid | None = None
    backend_type: str | None = None
    state: str | None = None
    wait_event_type: str | None = None
    wait_event: str | None = None
    application_name: ServerText = NOTHING
    client_address: ServerText | None = None
    query: SqlText = SqlText("")
    backend_started_at: datetime | None = None
    transaction_started_at: datetime | None = None
    state_changed_at: datetime | None = None
    xid_age_transactions: int | None = None
    xmin_age_transactions: int | None = None


class PreparedTransaction(Struct, frozen=True, kw_only=True):
    """One row of pg_prepared_xacts: it holds locks and belongs to no backend."""

    transaction: Xid
    gid: ServerText
    prepared_at: datetime
    owner: ServerText
    database: ServerText
    age_transactions: int | None = None


class Relation(Struct, frozen=True, kw_only=True):
    """The schema-qualified name of a relation of the connected database."""

    oid: Oid
    name: ServerText


class PgLocks(Snapshot, frozen=True, kw_only=True):
    """The locks somebody waits for, with everyone who holds or wants them, at one instant.

    `locks` has every row on an object that has at least one waiter, and the transactionid
    rows of prepared transactions. Names are known for the connected database only, and quoted
    as SQL needs them. `narrowed_to` has the relations that were asked for; empty means all.
    `blocked_by` is the server's own answer up to PostgreSQL 13, for those in a queue of several.
    """

    database: Oid
    locks: tuple[Lock, ...]
    backends: tuple[Backend, ...]
    prepared: tuple[PreparedTransaction, ...] = ()
    relations: tuple[Relation, ...] = ()
    narrowed_to: tuple[Oid, ...] = ()
    blocked_by: Mapping[Pid, tuple[int, ...]] = {}

    def asked_for(self, tag: LockTag) -> bool:
        """Return True when the queue on this object is one the person asked about."""
        return not self.narrowed_to or tag.relation in self.narrowed_to

    def relation_name(self, tag: LockTag) -> ServerText:
        """Return the name of the locked relation, or its oid and database when the name is not known."""
        where = "" if tag.database in (self.database, 0) else f" in database {tag.database}"
        if not where or (tag.relation or 0) < _FIRST_OWN_OID:
            for relation in self.relations:
                if relation.oid == tag.relation:
                    return ServerText(f"{relation.name.raw}{where}")
        return ServerText(f"relation {tag.relation}{where}")

    def backend(self, pid: int) -> Backend | None:
        """Return the backend with this pid, or None when it was gone or never seen."""
        return next((backend for backend in self.backends if backend.pid == pid), None)


class ReplicationSlot(Struct, frozen=True, kw_only=True):
    """One row of pg_get_replication_slots. `database` is None for a physical slot.

    `retained_bytes` is the WAL kept for it, `inactive_since` is known from PostgreSQL 17.
    """

    slot: ServerText
    slot_type: str
    active: bool
    database: Oid | None = None
    xmin_age_transactions: int | None = None
    catalog_xmin_age_transactions: int | None = None
    retained_bytes: int | None = None
    wal_status: str | None = None
    inactive_since: datetime | None = None


class Database(Struct, frozen=True, kw_only=True):
    """One row of pg_database, with its count of deadlocks since its statistics were reset."""

    oid: Oid
    name: ServerText
    frozen_xid_age_transactions: int
    multixact_age: int
    deadlocks: int


class ConnectionSettings(Struct, frozen=True, kw_only=True):
    """What the server allows; `reserved_connections` counts those for superusers and, from 16, for one role."""

    max_connections: int
    reserved_connections: int
    autovacuum_freeze_max_age: int


class PgTransactions(Snapshot, frozen=True, kw_only=True):
    """Every backend with its transaction, and whatever else holds the xmin horizon or a connection.

    `locks_held` counts granted locks by pid. `standby` says that the server is in recovery.
    """

    database: Oid
    standby: bool
    backends: tuple[Backend, ...]
    settings: ConnectionSettings
    locks_held: Mapping[Pid, int] = {}
    prepared: tuple[PreparedTransaction, ...] = ()
    slots: tuple[ReplicationSlot, ...] = ()
    databases: tuple[Database, ...] = ()

    def database_name(self, oid: int | None) -> ServerText:
        """Return the name of a database, or its oid when the name is not known."""
        return next((known.name for known in self.databases if known.oid == oid), ServerText(f"database {oid}"))

    def since_s(self, moment: datetime | None) -> float | None:
        """Return the seconds from a moment to this reading; None when there is none."""
        return None if moment is None else (self.observed_at - moment).total_seconds()


class CacheCounters(Struct, frozen=True, kw_only=True):
    """Blocks that were asked for since the statistics were reset: found in shared buffers, or read.

    `read_time_s` is the time spent in those reads, 0 while track_io_timing is off.
    """

    hits: int
    reads: int
    read_time_s: float = 0.0


class RelationCounters(Struct, frozen=True, kw_only=True):
    """What was asked of one table or index; `table` is the table of an index, `valid` says whether it is used.

    `scans` counts sequential scans of a table, each parallel worker as one, and scans of an index.
    `pages` is the size in blocks as of the last VACUUM or ANALYZE; 0 when there was none.
    """

    oid: Oid
    name: ServerText
    counters: CacheCounters
    scans: int
    table: Oid | None = None
    valid: bool = True
    pages: int = 0


class PgCache(Snapshot, frozen=True, kw_only=True):
    """The buffer cache's counters of the connected database, by relation and by context (from 16).

    `relations` has those with the most blocks asked for, at most 2 000. `contexts` maps
    `normal`, `bulkread`, `bulkwrite` and `vacuum` to counters of the whole server.
    """

    database: Oid
    database_name: ServerText
    counters: CacheCounters
    uptime_s: float
    shared_buffers: int
    track_io_timing: bool
    relations: tuple[RelationCounters, ...] = ()
    contexts: Mapping[str, CacheCounters] = {}


class PgThroughput(Snapshot, frozen=True, kw_only=True):
    """Transactions of all databases, committed and rolled back, since `reset_at`; our own are among them.

    `active_s` is the time that their statements ran, known from PostgreSQL 14. Backends report both
    once a second at most, and up to 10 s late when they fall idle.
    """

    transactions: int
    reset_at: datetime | None = None
    active_s: float | None = None
