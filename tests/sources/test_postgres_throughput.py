"""What a server has done, against what we know that it did."""

from __future__ import annotations

import time

import psycopg
import pytest
from conftest import every_major

from diag.config import PostgresTarget
from diag.snapshots.base import Scope
from diag.sources import postgres
from diag.wire.probe import Deadline, Probe

_SOON_S = 15.0  # a backend that fell idle tells within ten


def taken(dsn: str):
    probe = Probe(Deadline(10.0), client_name="diag/test")
    with probe, postgres.connect(PostgresTarget(dsn=dsn), probe) as session:
        return postgres.pg_throughput(session, Scope())


@pytest.mark.parametrize("major", every_major())
def test_transactions_are_counted_over_all_databases_whatever_the_version(major, postgres_of):
    server = postgres_of(major)
    before = taken(server.dsn)
    with psycopg.connect(server.dsn, dbname="template1", autocommit=True) as other:
        for _ in range(500):
            other.execute("SELECT 1")
    until, after = time.monotonic() + _SOON_S, taken(server.dsn)
    while after.transactions - before.transactions < 500 and time.monotonic() < until:
        after = taken(server.dsn)
    assert after.transactions - before.transactions >= 500
    assert after.observed_at > before.observed_at
    assert (after.active_s is None) == (major < 14)


def test_a_reset_of_the_statistics_is_dated(private_postgres):
    server = private_postgres()
    before = taken(server.dsn)
    with psycopg.connect(server.dsn, autocommit=True) as oracle:
        oracle.execute("SELECT pg_stat_reset()")
        until, after = time.monotonic() + _SOON_S, taken(server.dsn)
        while after.reset_at == before.reset_at and time.monotonic() < until:
            after = taken(server.dsn)
    assert after.reset_at is not None
    assert after.reset_at != before.reset_at
