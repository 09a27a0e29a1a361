"""PostgreSQL as a source: right with any privilege, harmless by the server's own books."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from running import diagnosed

from diag.config import PostgresTarget
from diag.errors import Denied, Rung, SourceError, Unreachable
from diag.lab.pg_locks import lock_queue
from diag.lab.servers import Servers
from diag.snapshots.base import Scope
from diag.sources import postgres
from diag.sources.postgres import queries
from diag.wire.probe import Deadline, Probe

FORBIDDEN = (
    "pg_relation_size",
    "pg_total_relation_size",
    "pg_indexes",
    "pg_get_indexdef",
    "pg_get_viewdef",
    "explain ",
)


def look(dsn: str, *, scope: Scope | None = None, deadline_s: float = 10.0):
    probe = Probe(Deadline(deadline_s), client_name="diag/test")
    with probe, postgres.connect(PostgresTarget(dsn=dsn), probe) as session:
        return postgres.pg_locks(session, scope or Scope()), probe


@pytest.fixture
def plain_role(postgres):
    """A role that was granted nothing but the right to log in."""
    with psycopg.connect(postgres.dsn, autocommit=True) as admin:
        admin.execute("CREATE ROLE nobody_special LOGIN PASSWORD 'only-for-tests'")
        yield postgres.dsn.replace("user=postgres", "user=nobody_special") + " password=only-for-tests"
        admin.execute("DROP ROLE nobody_special")


def test_pids_and_modes_are_right_with_no_grants_at_all(lab_servers, plain_role):
    with lock_queue.broken(lab_servers):
        full, _ = look(lab_servers.postgres.dsn)
        bare, _ = look(plain_role)
    assert {(one.pid, one.mode, one.granted) for one in full.locks} == {
        (one.pid, one.mode, one.granted) for one in bare.locks
    }
    assert [(gap.fact, "pg_monitor" in gap.fix.raw) for gap in bare.gaps] == [("backends", True)]
    assert all(one.query.raw == "" for one in bare.backends if one.pid in {lock.pid for lock in bare.locks})


def test_a_prepared_transaction_is_found_by_its_gid(postgres):
    with psycopg.connect(postgres.dsn, autocommit=True) as session, psycopg.connect(postgres.dsn) as waiter:
        session.execute("CREATE TABLE IF NOT EXISTS shelves (id int)")
        session.execute("BEGIN")
        session.execute("INSERT INTO shelves VALUES (1)")
        session.execute("PREPARE TRANSACTION 'order-4711'")
        try:
            waiter.execute("SET lock_timeout = '3s'")
            pid = waiter.info.backend_pid
            import threading

            stuck = threading.Thread(target=_expect_timeout, args=(waiter, "LOCK TABLE shelves"))
            stuck.start()
            while not session.execute("SELECT 1 FROM pg_locks WHERE NOT granted AND pid = %s", (pid,)).fetchone():
                pass
            facts, _ = look(postgres.dsn)
            stuck.join()
        finally:
            session.execute("ROLLBACK PREPARED 'order-4711'")
    assert [one.gid.raw for one in facts.prepared] == ["order-4711"]
    assert {one.virtualtransaction for one in facts.locks if one.pid is None} != set()


def _expect_timeout(waiter, statement):
    with pytest.raises(psycopg.errors.LockNotAvailable):
        waiter.execute(statement)


def test_a_table_can_be_asked_for_with_or_without_its_schema(lab_servers):
    with lock_queue.broken(lab_servers):
        for name in ("orders", "public.orders"):
            seen, _ = look(lab_servers.postgres.dsn, scope=Scope(table=name))
            assert seen.narrowed_to == tuple(one.oid for one in seen.relations)
        unknown, _ = look(lab_servers.postgres.dsn, scope=Scope(table="customers"))
    assert [(gap.fact, gap.what.raw) for gap in unknown.gaps] == [("locks", "table customers")]


def test_any_date_style_is_read(postgres, monkeypatch):
    monkeypatch.setenv("PGDATESTYLE", "German")
    facts, _ = look(postgres.dsn)
    assert facts.observed_at.tzinfo is not None


def test_it_leaves_no_trace_by_the_servers_own_books(private_postgres):
    server = private_postgres(settings={"wal_level": "minimal", "max_wal_senders": "0"})
    with psycopg.connect(server.dsn, autocommit=True) as oracle:
        oracle.execute("CREATE EXTENSION pg_stat_statements")
        diagnosed("pg-locks", "--dsn", server.dsn)  # the first look after a change may set hint bits
        oracle.execute("SELECT pg_stat_statements_reset()")
        before = oracle.execute("SELECT pg_current_wal_insert_lsn()").fetchone()
        report = diagnosed("pg-locks", "--dsn", server.dsn)
        after = oracle.execute("SELECT pg_current_wal_insert_lsn()").fetchone()
        seen = [row[0].lower() for row in oracle.execute("SELECT query FROM pg_stat_statements").fetchall()]
        names = {row[0] for row in oracle.execute("SELECT DISTINCT application_name FROM pg_stat_activity").fetchall()}
    ours = [text for text in seen if "pg_current_wal" not in text and "pg_stat_statements" not in text]
    assert before == after, "the look wrote to the log"
    assert all(text.startswith(("begin", "set local", "commit", "with every", "select", "--")) for text in ours), ours
    assert not [text for text in ours if any(word in text for word in FORBIDDEN)]
    assert not [name for name in names if name and name.startswith("diag/")], "a connection was left behind"
    assert report["footprint"]["postgres"]["requests"] == 2, "connect, and one round trip"


def test_every_query_is_constant_and_asks_nothing_that_waits_for_a_lock():
    files = sorted(Path(queries.__file__).parent.glob("sql/*.sql"))
    assert len(files) > 10
    for file in files:
        text = "\n".join(line for line in file.read_text().lower().splitlines() if not line.startswith("--"))
        assert not [word for word in FORBIDDEN if word in text], file
        assert "pg_stat_activity" not in text, "the view joins what may be locked"
        assert "pg_replication_slots" not in text.replace("pg_get_replication_slots", ""), file
        assert "{" not in text, "no text is put into a query"


def test_a_locked_catalog_is_explained_and_not_waited_for(lab_servers):
    with lock_queue.broken(lab_servers), psycopg.connect(lab_servers.postgres.dsn) as rude:
        rude.execute("LOCK TABLE pg_namespace IN ACCESS EXCLUSIVE MODE")
        report = diagnosed("pg-locks", "--dsn", lab_servers.postgres.dsn, "--deadline", "5")
        rude.rollback()
    (gap,) = report["gaps"]
    assert (report["verdict"], gap["rung"], "lock timeout" in gap["why"]) == ("unknown", "query", True)
    assert report["footprint"]["postgres"]["took_s"] < 1


def test_a_wrong_password_stops_on_the_auth_rung(plain_role):
    with pytest.raises(Denied) as refused:
        look(plain_role.replace("only-for-tests", "something-else"))
    assert refused.value.rung is Rung.AUTH
    assert "something-else" not in refused.value.message


def test_an_unknown_database_stops_on_the_authorise_rung(postgres):
    with pytest.raises(Denied) as refused:
        look(postgres.dsn + " dbname=nowhere")
    assert refused.value.rung in (Rung.AUTH, Rung.AUTHORISE)
    assert "nowhere" in refused.value.message


def test_tls_that_the_server_does_not_speak_stops_on_the_tls_rung(postgres):
    with pytest.raises(Unreachable) as refused:
        look(postgres.dsn + " sslmode=require")
    assert refused.value.rung is Rung.TLS


def test_a_malformed_connection_string_is_one_sentence_without_its_password():
    with pytest.raises(SourceError) as refused:
        look("host=127.0.0.1 password='s3cret-canary")
    assert "s3cret" not in str(refused.value)


def test_servers_is_what_the_lab_gives(lab_servers):
    assert isinstance(lab_servers, Servers)
