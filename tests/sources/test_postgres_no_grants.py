"""A role that was granted nothing but to log in: what it can see is right, and the one GRANT for the rest is named."""

from __future__ import annotations

import psycopg
import pytest
from conftest import every_major
from running import diagnosed

from diag.lab.sessions import sessions

GRANT = "GRANT pg_monitor"
SOON = ("--limit", "pg-locks/lock-queue.waited_s=0")


@pytest.fixture(params=[every_major()[0], every_major()[-1]])
def world(request, postgres_of):
    """A queue on the oldest and on the newest server, and the role."""
    server = postgres_of(request.param)
    with sessions(server.dsn) as lab:
        lab.setup("DROP ROLE IF EXISTS nobody_special", "CREATE ROLE nobody_special LOGIN PASSWORD 'only-for-tests'")
        lab.setup("CREATE TABLE IF NOT EXISTS ledger (id int)")
        holder = lab.hold("report", "BEGIN", "SELECT count(*) FROM ledger").info.backend_pid
        lab.wait("migration", "ALTER TABLE ledger ADD COLUMN IF NOT EXISTS state text")
        lab.crowd(3, "api", "SELECT count(*) FROM ledger")
        yield server.dsn.replace("user=postgres", "user=nobody_special") + " password=only-for-tests", holder
    with psycopg.connect(server.dsn, autocommit=True) as admin:
        admin.execute("DROP ROLE nobody_special")


def fixes(report) -> set[str]:
    return {gap["fix"] for gap in report["gaps"]}


def test_the_wait_graph_is_whole_and_one_grant_is_named(world):
    dsn, holder = world
    report = diagnosed("pg-locks", "--dsn", dsn, *SOON)
    waits = report["facts"]["waits"]
    assert ({wait["root_pid"] for wait in waits}, len(waits)) == ({holder}, 4)
    assert sorted(wait["mode"] for wait in waits) == ["AccessExclusiveLock"] + ["AccessShareLock"] * 3
    assert {wait["relation"] for wait in waits} == {"public.ledger"}
    assert {wait["blocking_mode"] for wait in waits if wait["kind"] == "hard"} == {"AccessShareLock"}
    assert all(fix.startswith(GRANT) for fix in fixes(report))
    assert len(fixes(report)) == 1


@pytest.mark.parametrize("command", ["pg-long-tx", "pg-cache-hit"])
def test_what_is_hidden_is_unknown_and_not_clear(world, command):
    dsn, _ = world
    report = diagnosed(command, "--dsn", dsn)
    hidden = command == "pg-long-tx"  # the counters of the cache are open to everybody
    assert (report["verdict"], len(fixes(report))) == (("unknown", 1) if hidden else ("clear", 0))
    assert all(fix.startswith(GRANT) for fix in fixes(report))
    outcomes = {check["check"]: check["outcome"] for check in report["checks"]}
    assert outcomes.get("pg-long-tx/idle-in-transaction", "unknown") == "unknown"
    assert outcomes.get("pg-long-tx/wraparound", "clear") == "clear"
