"""A low hit ratio on real servers: when it is harmless, and says why, and when an index is at fault."""

from __future__ import annotations

import psycopg
import pytest
from conftest import every_major
from running import diagnosed

from diag.lab.pg_cache_hit import low_hit_ratio, table_misses
from diag.lab.pg_cache_hit._load import load
from diag.lab.servers import Servers
from diag.lab.sessions import sessions

FILL = "CREATE TABLE visits AS SELECT n AS id, repeat('x', 100) AS page FROM generate_series(1, 300000) AS n"
LOOK_UP = "SELECT count(page) FROM visits WHERE id IN (SELECT (random() * 300000)::int FROM generate_series(1, 200))"
OVER_SECONDS = ("--samples", "3", "--interval", "1.5")  # a backend reports its counters once a second


def notes(report) -> dict[str, str]:
    return {row["relation"]: row["note"] for row in report["facts"]["hit_ratios"]}


def test_a_cold_cache_is_left_alone(private_postgres):
    """A database that was copied file by file has nothing in a cache that is much larger than what was read yet."""
    server = private_postgres(settings={"shared_buffers": "256MB"})
    with sessions(server.dsn) as lab:
        lab.setup(FILL, "ALTER TABLE visits ADD PRIMARY KEY (id)", "VACUUM ANALYZE visits")
    elsewhere = server.dsn.replace("dbname=postgres", "dbname=template1")
    with psycopg.connect(elsewhere, autocommit=True) as admin:
        admin.execute("CREATE DATABASE copied TEMPLATE postgres STRATEGY file_copy")
    copied = server.dsn.replace("dbname=postgres", "dbname=copied")
    with load(copied, "visits-api", LOOK_UP, sessions=1):
        report = diagnosed("pg-cache-hit", "--dsn", copied, *OVER_SECONDS)
    assert (report["verdict"], report["findings"]) == ("clear", [])
    assert "cold" in notes(report)["(the database)"]


def test_reads_that_the_operating_system_answers_from_memory_are_harmless(private_postgres):
    server = private_postgres(settings={"track_io_timing": "on"})
    with low_hit_ratio.broken(Servers(postgres=server)):
        report = diagnosed("pg-cache-hit", "--dsn", server.dsn, *OVER_SECONDS)
    whole = report["facts"]["hit_ratios"][0]
    assert whole["hit_ratio"] < 0.95
    assert whole["read_s_per_block"] < 0.000_05
    assert (report["verdict"], report["findings"]) == ("clear", [])
    assert "operating system" in whole["note"]


@pytest.mark.parametrize("major", [major for major in every_major() if major >= 16])
def test_a_report_that_passes_the_cache_by_is_no_working_set(private_postgres, major):
    """Nor is it a stream of scans: the server counts one for each of its parallel workers."""
    server = private_postgres(major=major)
    with sessions(server.dsn) as lab:
        lab.setup(FILL, "VACUUM ANALYZE visits")
    seldom = "SELECT count(page) FROM visits; SELECT pg_sleep(2)"
    with load(server.dsn, "report", seldom, sessions=1):
        report = diagnosed("pg-cache-hit", "--dsn", server.dsn, *OVER_SECONDS)
    assert report["facts"]["hit_ratios"][0]["hit_ratio"] < 0.95
    assert (report["verdict"], report["findings"]) == ("clear", [])
    assert "sequential scans" in notes(report)["(the database)"]


def test_an_index_left_invalid_is_named_where_its_table_is_scanned(private_postgres):
    server = private_postgres()
    with sessions(server.dsn) as lab:
        lab.setup(table_misses.FILL, "VACUUM ANALYZE baskets")
        with pytest.raises(psycopg.errors.UniqueViolation):
            lab.setup("CREATE UNIQUE INDEX CONCURRENTLY baskets_customer ON baskets (customer)")
    with load(server.dsn, "basket-api", "SELECT count(page) FROM baskets WHERE customer = 42"):
        report = diagnosed("pg-cache-hit", "--dsn", server.dsn, *OVER_SECONDS)
    found = report["findings"][0]
    assert (found["check"], found["subject"]["relation"]) == ("pg-cache-hit/table-misses", "public.baskets")
    assert "public.baskets_customer is INVALID" in found["summary"]
    assert "Build public.baskets_customer again" in str(found["steps"])
