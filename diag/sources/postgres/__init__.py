"""PostgreSQL: one connection, read-only transactions, constant SQL from files."""

from diag.sources.postgres import cache, locks, throughput, transactions
from diag.sources.postgres.cache import pg_cache
from diag.sources.postgres.connection import connect
from diag.sources.postgres.locks import pg_locks
from diag.sources.postgres.queries import newest
from diag.sources.postgres.throughput import pg_throughput
from diag.sources.postgres.transactions import pg_transactions

ASKS = {
    "PgLocks": tuple(newest(name) for name in (*locks.NAMES, "asked_table", "locks_unnamed")),
    "PgCache": tuple(newest(name) for name in (*cache.NAMES, "relations_read")),
    "PgThroughput": tuple(newest(name) for name in throughput.NAMES),
    "PgTransactions": tuple(newest(name) for name in (*transactions.NAMES, "databases")),
}
"""What is sent to take each fact, in the form for the newest servers."""

__all__ = ["ASKS", "connect", "pg_cache", "pg_locks", "pg_throughput", "pg_transactions"]
