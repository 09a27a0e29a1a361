"""Situations that have no check of their own: the right slug comes first, and what must not be said is not said."""

from __future__ import annotations

from pathlib import Path

import psycopg
from running import diagnosed

from diag.lab.sessions import sessions

SOON = ("--limit", "pg-locks/lock-queue.waited_s=0")


def commands(found) -> str:
    return " ".join(str(step.get("command", "")) for step in found["steps"])


def test_a_migration_behind_the_nightly_dump(postgres):
    """The dump is at work: the migration is what is cancelled, and the dump is never terminated."""
    with sessions(postgres.dsn) as lab:
        lab.setup("DROP TABLE IF EXISTS archive", "CREATE TABLE archive (id int)", "INSERT INTO archive VALUES (1)")
        lab.call("pg_dump", "SELECT pg_sleep(60) FROM archive", "BEGIN ISOLATION LEVEL REPEATABLE READ")
        lab.until("SELECT count(*) > 0 FROM pg_stat_activity WHERE wait_event = 'PgSleep'", "the dump does not run")
        lab.wait("migration", "ALTER TABLE archive ADD COLUMN state text")
        lab.crowd(3, "api", "SELECT count(*) FROM archive")
        report = diagnosed("pg-locks", "--dsn", postgres.dsn, *SOON)
    (found,) = report["findings"]
    assert found["check"] == "pg-locks/lock-queue"
    assert [step["risk"] for step in found["steps"]] == ["read-only", "reversible", "disruptive"]
    assert "pg_terminate_backend" not in commands(found)


def test_a_foreign_key_makes_ddl_on_the_parent_wait_for_a_writer_of_the_child(postgres):
    with sessions(postgres.dsn) as lab:
        lab.setup(
            "DROP TABLE IF EXISTS parent, child CASCADE",
            "CREATE TABLE parent (id int PRIMARY KEY)",
            "CREATE TABLE child (id int REFERENCES parent (id))",
            "INSERT INTO parent VALUES (1)",
        )
        writer = lab.hold("importer", "BEGIN", "INSERT INTO child VALUES (1)")
        lab.wait("migration", "ALTER TABLE parent ADD COLUMN state text")
        report = diagnosed("pg-locks", "--dsn", postgres.dsn, *SOON)
        (found,) = report["findings"]
        assert (found["check"], found["subject"]["relation"]) == ("pg-locks/lock-queue", "public.parent")
        assert found["subject"]["pid"] == writer.info.backend_pid


def test_an_old_idle_reader_beside_a_logical_slot_is_innocent(private_postgres):
    """The slot holds the catalogs only, the reader nothing: neither keeps VACUUM from the tables."""
    server = private_postgres(settings={"wal_level": "logical"})
    with sessions(server.dsn) as lab:
        lab.setup("CREATE TABLE t (id int)", "SELECT pg_create_logical_replication_slot('cdc', 'test_decoding')")
        lab.hold("suspect", "BEGIN", "SELECT count(*) FROM t")
        lab.setup("DO $$ BEGIN FOR n IN 1..300 LOOP PERFORM txid_current(); COMMIT; END LOOP; END $$")
        horizon = "pg-long-tx/xmin-horizon.age_transactions=100"
        report = diagnosed("pg-long-tx", "--dsn", server.dsn, "--limit", horizon)
        lab.setup("SELECT pg_drop_replication_slot('cdc')")
    assert [found["check"] for found in report["findings"]] == []


def test_a_full_pool_is_mended_at_its_root_and_not_by_more_connections(postgres):
    with sessions(postgres.dsn) as lab:
        lab.setup("CREATE TABLE IF NOT EXISTS t (id int)")
        root = lab.hold("report", "BEGIN", "LOCK TABLE t").info.backend_pid
        lab.crowd(90, "api", "SELECT count(*) FROM t")
        full = diagnosed("pg-long-tx", "--dsn", postgres.dsn, "--samples", "1")
        locks = diagnosed("pg-locks", "--dsn", postgres.dsn, *SOON)
    assert full["findings"][0]["check"] == "pg-long-tx/connections-full"
    assert "pg-locks" in commands(full["findings"][0])
    assert locks["findings"][0]["subject"]["pid"] == root
    assert "frees 90 backends" in str(locks["findings"][0]["steps"])


def test_a_user_whom_pg_hba_refuses_is_told_so(private_postgres):
    server = private_postgres()
    rules = Path(server.data_folder) / "pg_hba.conf"
    rules.write_text("host all shut_out 127.0.0.1/32 reject\n" + rules.read_text())
    with psycopg.connect(server.dsn, autocommit=True) as admin:
        admin.execute("CREATE ROLE shut_out LOGIN")
        admin.execute("SELECT pg_reload_conf()")
    report = diagnosed("pg-locks", "--dsn", server.dsn.replace("user=postgres", "user=shut_out"))
    (gap,) = report["gaps"]
    assert (report["verdict"], gap["rung"]) == ("unknown", "auth")
    assert "pg_hba" in gap["why"] + gap["fix"]
