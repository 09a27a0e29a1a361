"""Up to PostgreSQL 12 nothing names the leader of a parallel worker; its statement does, unless several run it."""

from __future__ import annotations

import pytest

from diag.sources.postgres.rows import leaderless, with_leaders

WORKER = {"backend_type": "parallel worker", "leader_pid": None, "state": "active"}
CLIENT = {"backend_type": "client backend", "leader_pid": None, "state": "active"}


def row(of, pid: int, query: str = "SELECT 1", *, database: int = 5, began: float | None = None):
    return {**of, "pid": pid, "query": query, "database": database, "transaction_started_at": began}


WORLDS = {
    "one session runs it": ([row(CLIENT, 1), row(CLIENT, 2, "SELECT 2"), row(WORKER, 9)], 1),
    "two run it": ([row(CLIENT, 1), row(CLIENT, 2), row(WORKER, 9)], None),
    "two run it, one began when the worker says": (
        [row(CLIENT, 1, began=10.0), row(CLIENT, 2, began=11.0), row(WORKER, 9, began=11.0)],
        2,
    ),
    "it is run in another database": ([row(CLIENT, 1, database=6), row(WORKER, 9)], None),
    "nobody runs it": ([row(WORKER, 9)], None),
    "the server names it": ([row(CLIENT, 1), row(CLIENT, 2), row(WORKER | {"leader_pid": 2}, 9)], 2),
}


@pytest.mark.parametrize(("rows", "leader"), WORLDS.values(), ids=WORLDS.keys())
def test_the_leader_is_found_or_its_absence_is_told(rows, leader):
    known = with_leaders(rows)
    assert [one["leader_pid"] for one in known] == [None] * (len(rows) - 1) + [leader]
    assert [gap.fact for gap in leaderless(known)] == ([] if leader else ["leaders"])
