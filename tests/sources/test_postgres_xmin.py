"""Who really holds vacuum back: VACUUM itself is the oracle, and no innocent reader is accused."""

from __future__ import annotations

import contextlib
import re

import psycopg
import pytest
from conftest import every_major
from running import diagnosed

from diag.analysis.xmin_horizon import holders
from diag.config import PostgresTarget
from diag.diagnosis.live import Deadline, Probe
from diag.lab import folders, services
from diag.lab.process import wait_until
from diag.lab.sessions import sessions
from diag.snapshots.base import Scope
from diag.sources import postgres

DEAD = 500
_KEPT = re.compile(r"(\d+) (?:dead row versions cannot be removed yet|are dead but not yet removable)")
_READ = "SELECT count(*) FROM elsewhere"
ROWS = {
    "idle, READ COMMITTED, only read": (("BEGIN", _READ), False),
    "idle, REPEATABLE READ, read": (("BEGIN ISOLATION LEVEL REPEATABLE READ", _READ), True),
    "idle, READ COMMITTED, wrote": (("BEGIN", "INSERT INTO elsewhere VALUES (1)"), True),
    "idle, READ COMMITTED, wrote a temporary table": (("BEGIN", "CREATE TEMP TABLE scratch AS SELECT 1 AS one"), True),
    "idle, READ COMMITTED, open cursor": (("BEGIN", f"DECLARE c CURSOR FOR {_READ}", "FETCH 1 FROM c"), True),
}
ELSEWHERE = {
    "another database, REPEATABLE READ": (
        ("BEGIN ISOLATION LEVEL REPEATABLE READ", "SELECT count(*) FROM pg_class"),
        False,
    ),
    "another database, wrote": (("BEGIN", "CREATE TABLE scratch (id int)"), False),
}


def taken(dsn: str):
    probe = Probe(Deadline(10.0), client_name="diag/test")
    with probe, postgres.connect(PostgresTarget(dsn=dsn), probe) as session:
        return postgres.pg_transactions(session, Scope())


def said_to_hold(dsn: str) -> bool:
    """Whether anything is said to hold the horizon of the connected database's tables."""
    facts = taken(dsn)
    return any(one.database in (None, facts.database) and not one.catalogs_only for one in holders(facts))


def really_held(dsn: str) -> bool:
    """Make rows, delete them, vacuum, and read from VACUUM VERBOSE whether they had to stay."""
    notices: list[str] = []
    with psycopg.connect(dsn, autocommit=True) as session:
        session.add_notice_handler(lambda notice: notices.append(f"{notice.message_primary}\n{notice.message_detail}"))
        session.execute("DROP TABLE IF EXISTS bloated; CREATE TABLE bloated (id int) WITH (autovacuum_enabled = off)")
        session.execute(b"INSERT INTO bloated SELECT generate_series(1, %d)" % DEAD)
        session.execute("DELETE FROM bloated")
        session.execute("VACUUM (VERBOSE) bloated")
    kept = sum(int(found[1]) for found in _KEPT.finditer("\n".join(notices)))
    assert kept in (0, DEAD), notices
    return kept == DEAD


@pytest.fixture(params=every_major())
def dsn(request, postgres_of):
    """A database of its own on each major, so that nothing dead is left from before."""
    server = postgres_of(request.param)
    with psycopg.connect(server.dsn, autocommit=True) as admin:
        for name in ("held", "other"):
            admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)".encode())
            admin.execute(f"CREATE DATABASE {name}".encode())
        here = server.dsn.replace("dbname=postgres", "dbname=held")
        with psycopg.connect(here, autocommit=True) as setup:
            setup.execute("CREATE TABLE elsewhere (id int)")
        yield here
        for name in ("held", "other"):
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.mark.parametrize(("statements", "held"), ROWS.values(), ids=ROWS.keys())
def test_a_session_in_this_database(dsn, statements, held):
    with sessions(dsn) as lab:
        lab.hold("suspect", *statements)
        assert (really_held(dsn), said_to_hold(dsn)) == (held, held)


@pytest.mark.parametrize(("statements", "held"), ELSEWHERE.values(), ids=ELSEWHERE.keys())
def test_a_session_in_another_database(dsn, statements, held):
    with sessions(dsn.replace("dbname=held", "dbname=other")) as lab:
        lab.hold("suspect", *statements)
        assert (really_held(dsn), said_to_hold(dsn)) == (held, held)


def test_a_prepared_transaction(dsn):
    with psycopg.connect(dsn, autocommit=True) as session:
        for statement in ("BEGIN", "INSERT INTO elsewhere VALUES (1)", "PREPARE TRANSACTION 'suspect'"):
            session.execute(statement)
    try:
        assert (really_held(dsn), said_to_hold(dsn)) == (True, True)
    finally:
        with psycopg.connect(dsn, autocommit=True) as session:
            session.execute("ROLLBACK PREPARED 'suspect'")


def test_a_standby_with_feedback(postgres_standby):
    primary = postgres_standby.primary_dsn
    with psycopg.connect(postgres_standby.dsn, autocommit=True) as standby, contextlib.ExitStack() as undo:
        for setting in ("hot_standby_feedback = on", "wal_receiver_status_interval = 1"):
            standby.execute(f"ALTER SYSTEM SET {setting}".encode())
        standby.execute("SELECT pg_reload_conf()")
        undo.callback(standby.execute, "SELECT pg_reload_conf()")
        undo.callback(standby.execute, "ALTER SYSTEM RESET ALL")
        with sessions(postgres_standby.dsn) as lab:
            lab.hold("suspect", "BEGIN ISOLATION LEVEL REPEATABLE READ", "SELECT count(*) FROM pg_class")
            assert wait_until(lambda: said_to_hold(primary), 20.0)
            assert really_held(primary)


@pytest.fixture
def forgotten_slot():
    """A primary whose standby had a snapshot, sent feedback through a slot, and then went away for good."""
    folder = folders.private_folder()
    server = services.start_standby(folder / "standby")
    with psycopg.connect(server.primary_dsn, autocommit=True) as primary, sessions(server.dsn) as lab:
        primary.execute("SELECT pg_create_physical_replication_slot('old_standby', true)")
        for setting in ("primary_slot_name = 'old_standby'", "hot_standby_feedback = on"):
            lab.setup(f"ALTER SYSTEM SET {setting}")
        lab.setup("ALTER SYSTEM SET wal_receiver_status_interval = 1", "SELECT pg_reload_conf()")
        lab.hold("report", "BEGIN ISOLATION LEVEL REPEATABLE READ", "SELECT count(*) FROM pg_class")
        slot = "SELECT count(*) FROM pg_replication_slots WHERE active = {} AND xmin IS NOT NULL"
        assert wait_until(lambda: primary.execute(slot.format(True).encode()).fetchone()[0] == 1, 20.0)
        lab.setup("ALTER SYSTEM SET primary_conninfo = ''", "SELECT pg_reload_conf()")
        assert wait_until(lambda: primary.execute(slot.format(False).encode()).fetchone()[0] == 1, 20.0)
    yield server.primary_dsn
    services.stop(server)
    folders.remove(folder)


def test_a_slot_that_a_standby_left_behind(forgotten_slot):
    """Bloat and no old transaction anywhere: the slot is named, and its consumer is asked for before it is dropped."""
    assert (really_held(forgotten_slot), said_to_hold(forgotten_slot)) == (True, True)
    with sessions(forgotten_slot) as lab:
        lab.setup("DO $$ BEGIN FOR n IN 1..300 LOOP PERFORM txid_current(); COMMIT; END LOOP; END $$")
        lab.hold("innocent", "BEGIN", "SELECT count(*) FROM bloated")
        soon = ("--limit", "pg-long-tx/xmin-horizon.age_transactions=100", "--samples", "1")
        report = diagnosed("pg-long-tx", "--dsn", forgotten_slot, *soon)
    (found,) = report["findings"]
    assert (found["check"], found["subject"]) == ("pg-long-tx/xmin-horizon", {"slot": "old_standby"})
    assert "every database" in found["summary"]
    assert [step["risk"] for step in found["steps"]] == ["read-only", "disruptive"]
    assert "idle in a transaction" in str(found["ruled_out"])
