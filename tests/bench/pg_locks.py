"""`diag pg-locks` on a pile of waiting sessions, beside the queries people use, in one run; prints tables.

`PYTHONPATH=tests python tests/bench/pg_locks.py --peers FOLDER`, with pg_activity in that virtual environment.
Server time is what pg_stat_statements counts, planning included. Compare within one run only.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import psycopg
from psycopg import sql

from diag.analysis.lock_graph import LockGraph, wait_rows
from diag.config import PostgresTarget
from diag.lab import folders, services
from diag.lab.process import wait_until
from diag.snapshots.base import Scope
from diag.snapshots.postgres import PgLocks
from diag.sources import postgres
from diag.wire.probe import Deadline, Probe

ROUNDS = 5
WAITERS = (50, 200, 800)
MOST_SERVER_MS, MOST_ROUND_TRIPS, MOST_CPU_MS, MOST_GRAPH_MS = 10, 1, 350, 5
MANY_LOCKS, MANY_WAITERS, MOST_WALL_S, MOST_RSS_MB = 100_000, 500, 1.0, 64
_SETTLED_S = 60.0
_SETTINGS = {
    "max_connections": "900",
    "max_locks_per_transaction": "160",
    "pg_stat_statements.track_planning": "on",
    "pg_stat_statements.track": "top",
}
_TREE = """
WITH RECURSIVE waiting AS (
    SELECT pid, unnest(pg_blocking_pids(pid)) AS blocker FROM pg_stat_activity WHERE wait_event_type = 'Lock'
), tree AS (
    SELECT blocker AS pid, ARRAY[blocker] AS path FROM waiting WHERE blocker NOT IN (SELECT pid FROM waiting)
    UNION ALL
    SELECT waiting.pid, path || waiting.pid FROM waiting JOIN tree ON waiting.blocker = tree.pid
    WHERE waiting.pid <> ALL (path)
)
SELECT tree.path, activity.pid, activity.state, activity.query
FROM tree JOIN pg_stat_activity AS activity USING (pid) ORDER BY path
"""
_SELF_JOIN = """
SELECT blocked.pid, waiting.query, blocking.pid, holding.query
FROM pg_locks AS blocked
JOIN pg_stat_activity AS waiting ON waiting.pid = blocked.pid
JOIN pg_locks AS blocking ON blocking.locktype = blocked.locktype AND blocking.pid <> blocked.pid
 AND blocking.database IS NOT DISTINCT FROM blocked.database AND blocking.relation IS NOT DISTINCT FROM blocked.relation
 AND blocking.transactionid IS NOT DISTINCT FROM blocked.transactionid
JOIN pg_stat_activity AS holding ON holding.pid = blocking.pid
WHERE NOT blocked.granted
"""


def look(dsn: str) -> tuple[PgLocks, int]:
    """Read the locks as the command does; return them and the round trips after connecting."""
    probe = Probe(Deadline(60.0), client_name="diag/bench")
    with probe, postgres.connect(PostgresTarget(dsn=dsn), probe) as session:
        connected = probe.requests
        return postgres.pg_locks(session, Scope()), probe.requests - connected


@contextmanager
def pile(dsn: str, waiters: int) -> Iterator[None]:
    """An idle reader, an ALTER behind it, and readers behind that one; no thread of ours waits with them."""
    with ExitStack() as opened:
        watcher = opened.enter_context(psycopg.connect(dsn, autocommit=True))
        watcher.execute("CREATE TABLE IF NOT EXISTS orders (id bigint)")
        holder = opened.enter_context(psycopg.connect(dsn, autocommit=True))
        holder.execute("BEGIN; SELECT count(*) FROM orders")
        sessions = [psycopg.connect(dsn, autocommit=True) for _ in range(waiters)]
        for number, session in enumerate(sessions):
            opened.callback(session.close)
            asked = b"SELECT count(*) FROM orders" if number else b"ALTER TABLE orders ADD COLUMN state text"
            session.pgconn.send_query(asked)
            if not number:
                _until_waiting(watcher, 1)
        _until_waiting(watcher, waiters)
        yield
        pids = [session.info.backend_pid for session in sessions]
        watcher.execute("SELECT pg_terminate_backend(pid) FROM unnest(%s::int[]) AS pid", (pids,))
        wait_until(lambda: _count(watcher, "pg_stat_activity WHERE query LIKE '%FROM orders'") == 0, _SETTLED_S)


def _until_waiting(watcher: psycopg.Connection, count: int) -> None:
    assert wait_until(lambda: _count(watcher, "pg_locks WHERE NOT granted") == count, _SETTLED_S)


def _count(watcher: psycopg.Connection, what: str) -> int:
    return int(watcher.execute(f"SELECT count(*) FROM {what}".encode()).fetchall()[0][0])


def server_ms(oracle: psycopg.Connection, ask: Callable[[], object], rounds: int) -> float:
    """Return the median time the server spent on whatever `ask` sends."""
    spent = "SELECT sum(total_exec_time + total_plan_time) FROM pg_stat_statements WHERE query NOT LIKE '%pg_stat_st%'"
    taken = []
    for _ in range(rounds):
        oracle.execute("SELECT pg_stat_statements_reset()")
        ask()
        taken.append(float(oracle.execute(spent.encode()).fetchall()[0][0] or 0.0))
    return statistics.median(taken)


def queries(peers: Path) -> dict[str, sql.Composable]:
    """The queries of others: written from their descriptions, and pg_activity's own as installed."""
    found: dict[str, sql.Composable] = {
        "tree of pg_blocking_pids": sql.SQL(_TREE),
        "self-join of pg_locks": sql.SQL(_SELF_JOIN),
    }
    for file in peers.glob("lib/python*/site-packages/pgactivity/queries/get_blocking_post_090600.sql"):
        found["pg_activity, blocking"] = sql.SQL(file.read_text()).format(
            dbname_filter=sql.SQL("NULL"), duration_column=sql.Identifier("query_start"), min_duration=sql.Literal(0)
        )
    return found


def compared(dsn: str, peers: Path) -> None:
    """Print server time and round trips of each contender."""
    print(f"| Waiters | Who | Server ms | x ours | Round trips |\n|{'---|' * 5}")
    with psycopg.connect(dsn, autocommit=True) as oracle:
        oracle.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        for waiters in WAITERS:
            with pile(dsn, waiters):
                ours = server_ms(oracle, lambda: look(dsn), ROUNDS)
                facts, trips = look(dsn)
                print(f"| {waiters} | diag pg-locks | {ours:.1f} (most {MOST_SERVER_MS}) | 1 | {trips} |")
                beside(dsn, oracle, waiters, ours, peers)
                ours_alone(dsn, waiters, facts)


def beside(dsn: str, oracle: psycopg.Connection, waiters: int, ours: float, peers: Path) -> None:
    """Print what the queries of others take."""
    for name, query in queries(peers).items():
        values = {"min_duration": 0, "dbname_filter": None} if "activity" in name else None
        with psycopg.connect(dsn, autocommit=True) as session:
            ask = partial(_all_rows, session, query, values)
            theirs = server_ms(oracle, ask, ROUNDS)
        print(f"| {waiters} | {name} | {theirs:.1f} | {theirs / ours:.1f} | 1 |")


def _all_rows(session: psycopg.Connection, query: sql.Composable, values: dict[str, object] | None) -> object:
    return session.execute(query, values).fetchall()


def ours_alone(dsn: str, waiters: int, facts: PgLocks) -> None:
    """Print what happens on our side."""
    graph_ms = statistics.median(_timed_ms(lambda: _used(LockGraph(facts))) for _ in range(ROUNDS))
    rows_ms = statistics.median(_timed_ms(lambda: wait_rows(facts)) for _ in range(ROUNDS))
    _, cpu_ms, _ = command(dsn)
    print(f"| {waiters} | the graph and its roots | {graph_ms:.1f} (most {MOST_GRAPH_MS}), on our side | | |")
    print(f"| {waiters} | the rows of the table | {rows_ms:.1f}, on our side | | |")
    print(f"| {waiters} | the whole cold command | {cpu_ms:.0f} CPU above bare (most {MOST_CPU_MS}) | | |")


def _used(graph: LockGraph) -> None:
    for queue in graph.queues.values():
        graph.roots(queue[0].actor)


def _timed_ms(call: Callable[[], object]) -> float:
    started = time.process_time()
    call()
    return (time.process_time() - started) * 1000


def command(dsn: str) -> tuple[float, float, float]:
    """Run the cold command; return wall s, CPU ms above a bare interpreter, and peak memory in MB, as medians."""
    bare = statistics.median(child([sys.executable, "-c", "pass"])[1] for _ in range(ROUNDS))
    words = [sys.executable, "-m", "diag", "pg-locks", "--dsn", dsn, "--samples", "1"]
    taken = [child(words) for _ in range(ROUNDS)]
    wall, cpu, rss = (statistics.median(column) for column in zip(*taken, strict=True))
    return wall, (cpu - bare) * 1000, rss


_MEASURE = """
import resource, subprocess, sys, time
started = time.monotonic()
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(time.monotonic() - started, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)
"""


def child(argv: list[str]) -> tuple[float, float, float]:
    """Run a process; return its wall s, CPU s and peak memory in MB.

    From a small process in between: a child begins with the peak of whoever forked it, and this one is large.
    """
    said = subprocess.run([sys.executable, "-c", _MEASURE, *argv], capture_output=True, text=True, check=True).stdout
    wall_s, cpu_s, rss_mb = map(float, said.split())
    return wall_s, cpu_s, rss_mb


def many_locks(dsn: str) -> None:
    """Print what a server with very many locks costs."""
    with psycopg.connect(dsn, autocommit=True) as holder, pile(dsn, MANY_WAITERS):
        holder.execute(f"SELECT count(pg_advisory_lock(n)) FROM generate_series(1, {MANY_LOCKS}) AS n".encode())
        wall_s, cpu_ms, rss_mb = command(dsn)
    print(
        f"\n{MANY_LOCKS:,} locks, {MANY_WAITERS} waiters: {wall_s:.2f} s wall (most {MOST_WALL_S:.0f}),"
        f" {cpu_ms:.0f} ms CPU above bare, {rss_mb:.0f} MB (most {MOST_RSS_MB})"
    )


def main() -> None:
    """Start a server, print, stop it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--peers", type=Path, default=Path(".venv/peers"))
    peers = parser.parse_args().peers
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard) if hard > 0 else 4096, hard))
    folder = folders.private_folder()
    server = services.start_postgres(folder / "postgres", settings=_SETTINGS)
    try:
        print(f"diag pg-locks, PostgreSQL {server.version}\n")
        compared(server.dsn, peers)
        many_locks(server.dsn)
    finally:
        services.stop(server)
        folders.remove(folder)


if __name__ == "__main__":
    main()
