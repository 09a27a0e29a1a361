"""PostgreSQL: one connection, read-only transactions, constant SQL from files."""

from diag.sources.postgres.connection import connect
from diag.sources.postgres.locks import pg_locks

__all__ = ["connect", "pg_locks"]
