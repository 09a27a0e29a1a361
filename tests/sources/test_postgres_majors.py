"""Every major version there is: the same facts, and the wait graph beside the server's own `pg_blocking_pids`."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from conftest import every_major
from pg_scenes import SCENES, played

from diag.analysis.lock_graph import LockGraph
from diag.config import PostgresTarget
from diag.lab.sessions import sessions
from diag.snapshots.base import Scope
from diag.sources import postgres
from diag.sources.postgres import queries
from diag.wire.probe import Deadline, Probe

MAJORS = every_major()


def taken(dsn: str, take):
    probe = Probe(Deadline(10.0), client_name="diag/test")
    with probe, postgres.connect(PostgresTarget(dsn=dsn), probe) as session:
        return take(session, Scope())


def blockers(graph: LockGraph) -> dict[int, set[int]]:
    """Return who blocks each waiting backend: pids, and 0 for a prepared transaction as the server has it."""
    found: dict[int, set[int]] = {}
    for queue in graph.queues.values():
        for wait in queue:
            actors = {actor for actor, _ in graph.holders(wait)} | {other.actor for other in graph.ahead(wait)}
            found.setdefault(wait.pid, set()).update(actor if isinstance(actor, int) else 0 for actor in actors)
    return found


@pytest.mark.parametrize("major", MAJORS)
@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
def test_the_graph_agrees_with_the_server(scene, major, postgres_of):
    server = postgres_of(major)
    with played(scene, server.dsn) as lab:
        graph = LockGraph(taken(server.dsn, postgres.pg_locks))
        ours = blockers(graph)
        asked = "SELECT pid, pg_blocking_pids(pid) FROM unnest(%s::int[]) AS pid"
        theirs = {pid: set(pids) for pid, pids in lab.watcher.execute(asked, (list(ours),)).fetchall()}
    assert ours, "nobody waits"
    assert ours == theirs


@pytest.mark.parametrize("major", MAJORS)
def test_every_fact_is_taken_whole(major, postgres_of):
    server = postgres_of(major)
    for take in (postgres.pg_locks, postgres.pg_transactions, postgres.pg_cache, postgres.pg_throughput):
        facts = taken(server.dsn, take)
        undated = {"waitstart"} if major < 14 and take is postgres.pg_locks else set()
        assert {gap.fact for gap in facts.gaps} == undated
        assert facts.target.version.raw.startswith(f"{major}.")


@pytest.mark.parametrize("major", MAJORS)
def test_every_query_file_runs_on_every_server_new_enough_for_it(major, postgres_of):
    """So the forms for 11 and 12, too, which no server of the tests chooses, are held to the columns there are."""
    wanted = {"names": ["orders"], "table": "orders"}
    ran = 0
    with psycopg.connect(postgres_of(major).dsn) as session:
        session.execute("SET TRANSACTION READ ONLY")
        session.execute("SET LOCAL search_path = pg_catalog")
        for file in sorted(Path(queries.__file__).parent.glob("sql/*.sql")):
            if int(file.suffixes[0][1:]) <= major:
                session.execute(file.read_bytes(), wanted if "%(" in file.read_text() else None)
                ran += 1
    assert ran > 10


@pytest.mark.parametrize("major", [major for major in MAJORS if major < 14])
def test_up_to_13_the_server_is_asked_who_blocks_whom_only_in_queues_of_several(major, postgres_of):
    """And a statement's start stands in for the start of its wait."""
    server = postgres_of(major)
    with sessions(server.dsn) as lab:
        lab.setup("CREATE TABLE IF NOT EXISTS alone (id int)", "CREATE TABLE IF NOT EXISTS together (id int)")
        lab.hold("holder", "BEGIN", "LOCK TABLE alone, together")
        lab.wait("one", "SELECT count(*) FROM alone")
        assert taken(server.dsn, postgres.pg_locks).blocked_by == {}
        lab.crowd(2, "several", "SELECT count(*) FROM together")
        facts = taken(server.dsn, postgres.pg_locks)
    together = {lock.pid for lock in facts.locks if not lock.granted and _named(facts, lock) == "public.together"}
    assert set(facts.blocked_by) == together
    assert len(together) == 2
    assert all(0 < lock.waited_s < 20 for lock in facts.locks if not lock.granted)


def _named(facts, lock) -> str:
    return facts.relation_name(lock.tag).raw


@pytest.mark.parametrize("major", MAJORS)
def test_what_nobody_waits_for_is_not_sent(major, postgres_of):
    """A lock on the fast path is in nobody's way, and a busy server has thousands."""
    server = postgres_of(major)
    with sessions(server.dsn) as lab:
        lab.setup(
            "DROP TABLE IF EXISTS alone", "CREATE TABLE alone (id int)", "CREATE TABLE IF NOT EXISTS unrelated (id int)"
        )
        for number in range(5):
            lab.hold(f"reader {number}", "BEGIN", "SELECT count(*) FROM unrelated")
        holder = lab.hold("holder", "BEGIN", "SELECT count(*) FROM alone").info.backend_pid
        lab.wait("migration", "ALTER TABLE alone ADD COLUMN state text")
        facts = taken(server.dsn, postgres.pg_locks)
    assert [(lock.pid == holder, lock.granted) for lock in sorted(facts.locks, key=lambda lock: lock.granted)] == [
        (False, False),
        (True, True),
    ]
    assert [relation.name.raw for relation in facts.relations] == ["public.alone"]


@pytest.mark.parametrize("major", MAJORS)
def test_reads_are_counted_in_blocks_whatever_the_version(major, postgres_of):
    server = postgres_of(major)
    with psycopg.connect(server.dsn, autocommit=True) as session:
        session.execute("DROP TABLE IF EXISTS wide")
        session.execute("CREATE TABLE wide AS SELECT n, repeat('x', 500) AS word FROM generate_series(1, 80000) AS n")
        session.execute("VACUUM wide")
    before = _settled(server.dsn)
    with psycopg.connect(server.dsn, autocommit=True) as session:
        session.execute("SELECT count(word) FROM wide")
    after = _settled(server.dsn, more_than=before.counters.reads + 4_000)
    assert 4_000 < after.counters.reads - before.counters.reads < 7_000
    table = next(one for one in after.relations if one.name.raw == "public.wide")
    assert table.scans == 1
    if major >= 16:
        assert 4_000 < after.contexts["bulkread"].reads - before.contexts["bulkread"].reads < 7_000


def _settled(dsn: str, *, more_than: int = 0):
    """Return a reading after which no more is reported: backends report when they go, before 15 some time later."""
    deadline = Deadline(15.0)
    seen = [taken(dsn, postgres.pg_cache)]
    while not deadline.passed:
        newest = taken(dsn, postgres.pg_cache)
        quiet = [one for one in seen if one.counters.reads == newest.counters.reads > more_than]
        if quiet and (newest.observed_at - quiet[0].observed_at).total_seconds() > 1.2:
            break
        seen.append(newest)
    return newest
