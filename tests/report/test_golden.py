"""Golden reports: what a person reads, word for word. Write them anew with DIAG_WRITE_GOLDEN=1."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from worlds import (
    ORDERS,
    backend,
    client,
    consumer_group,
    family,
    gap,
    kafka_lag,
    lock,
    pg_cache,
    pg_locks,
    pg_transactions,
    read,
    redis_expiry,
    redis_keys,
    redis_load,
    slot,
)

from diag import __version__
from diag.config import Context
from diag.diagnosis import Request, plan
from diag.diagnosis.judge import judge
from diag.findings import Footprint
from diag.report.markdown import markdown
from diag.report.terminal import text
from diag.snapshots.postgres import LockMode, Oid, Pid

GOLDEN = Path(__file__).parent / "golden"
README = Path(__file__).resolve().parents[2] / "README.md"

QUEUE = pg_locks(
    lock(LockMode.ACCESS_SHARE, pid=2379),
    lock(LockMode.ACCESS_EXCLUSIVE, pid=2380, waited_s=41.3),
    *[lock(LockMode.ACCESS_SHARE, pid=2400 + number, waited_s=40.0 - number) for number in range(12)],
    backends=(
        backend(2379, state="idle in transaction", query="SELECT * FROM orders WHERE customer = ?"),
        backend(2380, query="ALTER TABLE orders ADD COLUMN status text DEFAULT ?"),
        *[backend(2400 + number, query="SELECT count(*) FROM orders WHERE id = ?") for number in range(12)],
    ),
)
EMPTY = consumer_group("notifications", state="Empty", members=0)
BEHIND = consumer_group("antifraud", members=2)
WORLDS = {
    "pg-locks": [QUEUE],
    "kafka-lag-dead-group": [
        kafka_lag(EMPTY, (300, 1_000, 420.0), (0, 1_000, 600.0)),
        kafka_lag(EMPTY, (300, 1_010, 422.0), (0, 1_010, 602.0), at_s=2.0),
    ],
    "kafka-lag-time-lag": [
        kafka_lag(BEHIND, (0, 1_200, 390.0), (1_100, 1_200, 12.0)),
        kafka_lag(BEHIND, (40, 1_210, 391.0), (1_180, 1_210, 4.0), at_s=2.0, gaps=(gap("members"),)),
    ],
    "pg-long-tx": [
        pg_transactions(
            client(
                4711,
                state="idle in transaction",
                open_s=7_260.0,
                silent_s=7_200.0,
                query="SELECT sum(amount) FROM ledger WHERE day < ?",
                xmin_age_transactions=61_000_000,
            ),
            client(4712, state="idle in transaction", open_s=7_200.0, silent_s=7_190.0, query="SELECT ?"),
            locks_held={Pid(4711): 2, Pid(4712): 1},
            slots=(slot("standby_2", retained_bytes=73_014_444_032, wal_status="extended"),),
            after_s=number * 2.0,
        )
        for number in range(2)
    ],
    "pg-cache-hit": [
        pg_cache(
            10**9 + number * 40_000,
            10**7 + number * 90_000,
            after_s=number * 10.0,
            relations=(
                read("public.baskets", 1, hits=number * 9_000, reads=number * 80_000, scans=number * 19),
                read("public.baskets_customer", 2, table=Oid(1), valid=False),
                read("public.orders", 3, hits=number * 30_000, reads=number * 9_000),
            ),
        )
        for number in range(2)
    ],
    "cache-stampede": [
        redis_expiry(
            family("product:page:{n}", *[290 + number / 1_500 for number in range(3_000)]),
            family("session:{hash}", *[60 + 1.77 * number for number in range(2_000)]),
            total_keys=180_000,
        ),
        redis_load(keyspace_hits=95_000_000, keyspace_misses=5_000_000, keys=180_000),
        redis_load(after_s=2.0, keyspace_hits=95_000_780, keyspace_misses=5_000_020, keys=180_000),
    ],
    "cache-hit": [
        redis_load(
            after_s=number * 2.0,
            keyspace_hits=10**9 + number * 6_400,
            keyspace_misses=10**7 + number * 2_100,
            evicted_keys=10**6 + number * 840,
            used_memory_bytes=2_147_400_000,
            maxmemory_bytes=2_147_483_648,
            maxmemory_policy="allkeys-lru",
            keys=1_830_411,
            volatile_keys=1_700_002,
        )
        for number in range(2)
    ],
    "cache-hot-keys": [
        redis_keys(
            sizes={
                "baskets:all": [31_394_416],
                "product:page:{n}": [1_480 + number % 900 for number in range(3_400)],
                "session:{hash}": [210 + number % 60 for number in range(1_598)],
                "limits:config": [72],
            },
            kinds={"baskets:all": "hash"},
            counters={"limits:config": 255} | {f"product:page:{number}": number % 30 for number in range(4_999)},
            total_keys=183_000,
            used_memory_bytes=412_316_860,
            gaps=(gap("rare_keys"),),
        ),
        redis_load(),
        redis_load(after_s=2.0, keyspace_hits=96_000, keyspace_misses=1_900),
    ],
}
COST = {
    "pg-locks": "postgres",
    "kafka-lag-dead-group": "kafka",
    "kafka-lag-time-lag": "kafka",
    "pg-long-tx": "postgres",
    "pg-cache-hit": "postgres",
    "cache-stampede": "redis",
    "cache-hit": "redis",
    "cache-hot-keys": "redis",
}


def report(name: str):
    command = "kafka-lag" if name.startswith("kafka-lag") else name
    frames = WORLDS[name]
    made = plan(Request(command=command, context=Context()))
    cost = {COST[name]: Footprint(requests=3, took_s=0.031, bytes_in=7_836, bytes_out=4_627)}
    taken: dict[Any, list[Any]] = {}
    for frame in frames:
        taken.setdefault(("default", type(frame)), []).append(frame)
    return judge(made, taken, [], cost)


@pytest.mark.parametrize("name", WORLDS)
@pytest.mark.parametrize(("ending", "sink"), [("md", markdown), ("txt", text)])
def test_the_report_reads_as_agreed(name, ending, sink):
    file = GOLDEN / f"{name}.{ending}"
    made = sink(report(name)).replace(f"diag {__version__}", "diag X.Y.Z")
    if os.environ.get("DIAG_WRITE_GOLDEN"):
        file.write_text(made)
    assert made == file.read_text()


def test_the_readme_shows_a_real_report():
    assert (GOLDEN / "pg-locks.txt").read_text() in README.read_text()


def test_every_world_has_its_subject():
    assert ORDERS.relation == QUEUE.relations[0].oid
