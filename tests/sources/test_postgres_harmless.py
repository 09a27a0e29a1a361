"""First, do no harm: what the server's own books, and the process table, say of a look."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time

import psycopg
import pytest
from conftest import every_major
from running import diag, diagnosed

from diag.lab.process import wait_until
from diag.lab.sessions import sessions

COMMANDS = ("pg-locks", "pg-long-tx", "pg-cache-hit")
ALLOWED = ("begin read only", "set local ", "commit", "with every", "with waiting", "select ")
LOOKS = {"pg-locks": 2, "pg-long-tx": 3, "pg-cache-hit": 3}
SOON = ("--interval", "0.2")
MAJORS = every_major()
_IN_A_QUERY = """
import sys
from diag.config import PostgresTarget
from diag.sources.postgres.connection import ask, connect
from diag.wire.probe import Deadline, Probe
probe = Probe(Deadline(60.0), client_name="diag/test")
with probe, connect(PostgresTarget(dsn=sys.argv[1]), probe) as session:
    ask(session, [("SELECT pg_sleep(60)", {})])
"""
DOING = {
    "between two readings": (
        ("-m", "diag", "pg-long-tx", "--samples", "20", "--interval", "1", "--dsn"),
        "AND state = 'idle'",
    ),
    "in a query": (("-c", _IN_A_QUERY), "AND wait_event = 'PgSleep'"),
}
TABLES = re.compile(r"\b(?:from|join)\s+(?:pg_catalog\.)?(\w+)", re.IGNORECASE)
READ = {
    "pg_locks", "every", "names", "waiting", "pg_stat_get_activity", "pg_prepared_xact",
    "pg_get_replication_slots", "pg_database",
    "pg_class", "pg_namespace", "pg_index", "pg_stat_get_io", "pg_show_all_settings", "clock_timestamp",
}  # fmt: skip


@pytest.mark.parametrize("major", MAJORS)
def test_nothing_is_written_and_every_statement_is_known(private_postgres, major):
    """While somebody waits, so that names are looked up as well."""
    quiet = {"wal_level": "minimal", "max_wal_senders": "0", "autovacuum": "off"}
    server = private_postgres(settings=quiet, major=major)
    with sessions(server.dsn) as lab:
        lab.setup("CREATE EXTENSION pg_stat_statements", "CREATE TABLE orders (id int)")
        lab.hold("holder", "BEGIN", "LOCK TABLE orders")
        lab.wait("reader", "SELECT count(*) FROM orders")
        for command in COMMANDS:
            diagnosed(command, "--dsn", server.dsn, *SOON)  # the first look after a change may set hint bits
            lab.setup("SELECT pg_stat_statements_reset()")
            before = lab.watcher.execute("SELECT pg_current_wal_insert_lsn()").fetchone()
            report = diagnosed(command, "--dsn", server.dsn, *SOON)
            after = lab.watcher.execute("SELECT pg_current_wal_insert_lsn()").fetchone()
            assert before == after, f"{command} wrote to the log"
            assert report["footprint"]["postgres"]["requests"] == LOOKS[command], "connect, and one round trip a look"
            assert_known([row[0] for row in lab.watcher.execute("SELECT query FROM pg_stat_statements").fetchall()])


def assert_known(seen: list[str]) -> None:
    """Only statements that read, and only from what keeps nobody waiting."""
    bare = [re.sub(r"--[^\n]*\n", "", text).strip() for text in seen]
    ours = [text for text in bare if "pg_stat_statements" not in text and "pg_current_wal_insert_lsn" not in text]
    assert len(ours) > len(ALLOWED)
    assert [text for text in ours if not text.lower().startswith(ALLOWED)] == []
    assert {name.lower() for text in ours for name in TABLES.findall(text)} <= READ


@pytest.mark.parametrize("command", COMMANDS)
def test_there_is_one_connection_at_a_time(postgres, command):
    most = 0
    ours = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'diag/%'"
    words = [sys.executable, "-m", "diag", command, "--dsn", postgres.dsn, "--format", "json"]
    with psycopg.connect(postgres.dsn, autocommit=True) as oracle:
        running = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while running.poll() is None:
            most = max(most, oracle.execute(ours).fetchone()[0])
    assert most == 1


@pytest.mark.parametrize("major", [major for major in MAJORS if major >= 14])
@pytest.mark.parametrize("doing", DOING.values(), ids=DOING.keys())
def test_a_killed_look_leaves_no_session_behind(postgres_of, doing, major):
    """Between two readings, and in the middle of one: the server looks for us twice a second."""
    words, there = doing
    dsn = postgres_of(major).dsn
    ours = f"SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'diag/%' {there}"
    with psycopg.connect(dsn, autocommit=True) as oracle:
        running = subprocess.Popen([sys.executable, *words, dsn], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        assert wait_until(lambda: oracle.execute(ours.encode()).fetchone()[0] == 1, 10.0)
        os.kill(running.pid, signal.SIGKILL)
        running.wait()
        killed = time.monotonic()
        assert wait_until(lambda: oracle.execute(ours.encode()).fetchone()[0] == 0, 5.0)
        assert time.monotonic() - killed <= 1.0


def test_a_full_server_is_told_as_such(private_postgres):
    server = private_postgres(settings={"max_connections": "10"})
    with psycopg.connect(server.dsn, autocommit=True) as admin:
        admin.execute("CREATE ROLE oncall LOGIN PASSWORD 'only-for-tests'")
        plain = server.dsn.replace("user=postgres", "user=oncall") + " password=only-for-tests"
        taken = [psycopg.connect(plain) for _ in range(10 - 3 - 1)]
        report = diagnosed("pg-locks", "--dsn", plain)
        with_a_reserved_one = diagnosed("pg-long-tx", "--dsn", server.dsn)
        for session in taken:
            session.close()
    assert report["verdict"] == "unknown"
    assert "reserved" in str(report["gaps"])
    assert "every connection is taken" in str(report["gaps"])
    assert with_a_reserved_one["findings"][0]["check"] == "pg-long-tx/connections-full"


def test_a_name_that_is_no_utf8_is_shown_and_not_stumbled_over(private_postgres):
    server = private_postgres()
    with psycopg.connect(server.dsn, autocommit=True) as admin:
        admin.execute("CREATE DATABASE bytes ENCODING 'SQL_ASCII' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")
    odd = server.dsn.replace("dbname=postgres", "dbname=bytes")
    with psycopg.connect(odd, autocommit=True, client_encoding="SQL_ASCII") as setup, psycopg.connect(odd) as rude:
        setup.execute(b'CREATE TABLE "caf\xe9" (id int)')
        rude.execute("BEGIN")
        rude.pgconn.exec_(b'LOCK TABLE "caf\xe9" IN ACCESS EXCLUSIVE MODE')
        waiting = psycopg.connect(odd, autocommit=True)
        waiting.pgconn.send_query(b'SELECT count(*) FROM "caf\xe9"')
        count = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        assert wait_until(lambda: setup.execute(count).fetchone()[0] == 1, 10.0)
        report = diagnosed("pg-locks", "--dsn", odd)
        rude.close()
        waiting.close()
    assert report["facts"]["waits"][0]["relation"].startswith('public."caf')


@pytest.mark.parametrize(
    ("dsn", "rung"),
    [
        ("host=nowhere.invalid", "resolve"),
        ("host=127.0.0.1 port=1", "connect"),
        ("postgresql://user:s3cret-canary@127.0.0.1:notaport/db", "connect"),
    ],
)
def test_bad_input_is_one_line_with_its_rung_and_without_the_password(dsn, rung):
    ran = diag("pg-long-tx", "--dsn", dsn, "--format", "json")
    assert ran.returncode == 69
    assert f'"rung":"{rung}"' in ran.stdout.replace(" ", "")
    assert "s3cret" not in ran.stdout + ran.stderr
