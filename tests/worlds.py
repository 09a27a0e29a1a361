"""Small worlds in code: snapshots with only what a story needs, everything else ordinary."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from diag.diagnosis.judge import judge_check
from diag.diagnosis.plan import explained
from diag.findings import CheckOutcome, Finding
from diag.snapshots.base import Gap, Snapshot, Target, Window
from diag.snapshots.kafka import (
    CommittedOffset,
    ConsumerGroup,
    KafkaLag,
    LogEnds,
    Member,
    Offset,
    Partition,
    TopicPartition,
)
from diag.snapshots.postgres import (
    Backend,
    CacheCounters,
    ConnectionSettings,
    Database,
    Lock,
    LockMode,
    LockTag,
    Oid,
    PgCache,
    PgLocks,
    PgThroughput,
    PgTransactions,
    Pid,
    PreparedTransaction,
    Relation,
    RelationCounters,
    ReplicationSlot,
    Xid,
)
from diag.snapshots.prometheus import CacheHistory, CounterSeries
from diag.snapshots.redis import FamilySize, KeyFamily, KeySize, KeyUse, RedisExpiry, RedisKeys, RedisLoad
from diag.text import KeyText, ServerText, SqlText

NOW = datetime(2026, 1, 1, 3, 0, tzinfo=UTC)
ORDERS = LockTag(locktype="relation", database=Oid(5), relation=Oid(16_390))


def judged(slug: str, *frames: Snapshot) -> tuple[list[Finding], CheckOutcome]:
    """Judge frames with the check's own limits, as a live run would; a history may stand among them."""
    taken: dict[type, list[Snapshot]] = {}
    for frame in frames:
        taken.setdefault(type(frame), []).append(frame)
    windows: dict[Any, Any] = {("default", type_): Window(frames=tuple(of_type)) for type_, of_type in taken.items()}
    return judge_check(explained(slug), "default", windows, [])


def gap(fact: str) -> Gap:
    return Gap(source="test", fact=fact, what=ServerText(fact), why=ServerText("permission denied"))


def lock(
    mode: LockMode,
    *,
    pid: int | None,
    waited_s: float | None = None,
    tag: LockTag = ORDERS,
    transaction: str = "3/1",
) -> Lock:
    """A held lock, or with `waited_s` a request that waits."""
    return Lock(
        tag=tag,
        pid=None if pid is None else Pid(pid),
        virtualtransaction=transaction,
        mode=mode,
        granted=waited_s is None,
        waited_s=waited_s,
    )


def backend(
    pid: int, *, state: str = "active", query: str = "SELECT ?", leader: int | None = None, **more: Any
) -> Backend:
    return Backend(
        pid=Pid(pid),
        leader_pid=None if leader is None else Pid(leader),
        state=state,
        query=SqlText(query),
        application_name=ServerText(more.pop("application", "payments-api")),
        backend_started_at=NOW - timedelta(minutes=14),
        **more,
    )


def prepared(transaction: int, gid: str) -> PreparedTransaction:
    return PreparedTransaction(
        transaction=Xid(transaction),
        gid=ServerText(gid),
        prepared_at=NOW - timedelta(days=3),
        owner=ServerText("10"),
        database=ServerText("5"),
    )


def pg_locks(*locks: Lock, gaps: tuple[Gap, ...] = (), **more: Any) -> PgLocks:
    """Locks on `public.orders` unless they say otherwise; every pid gets an ordinary backend."""
    pids = {one.pid for one in locks if one.pid is not None}
    idle = {one.pid for one in locks if one.granted}
    ordinary = tuple(backend(pid, state="idle in transaction" if pid in idle else "active") for pid in sorted(pids))
    return PgLocks(
        target=Target(kind="postgres", address="db-1:5432/shop", version=ServerText("17.4"), local=True),
        observed_at=NOW,
        took_s=0.004,
        gaps=gaps,
        database=Oid(5),
        locks=locks,
        backends=more.pop("backends", ordinary),
        relations=(Relation(oid=Oid(16_390), name=ServerText("public.orders")),),
        **more,
    )


def family(pattern: str, *expires_in_s: float, without_expiry: int = 0) -> KeyFamily:
    return KeyFamily(pattern=KeyText(pattern), expires_in_s=tuple(sorted(expires_in_s)), without_expiry=without_expiry)


def redis_expiry(*families: KeyFamily, total_keys: int = 0, gaps: tuple[Gap, ...] = ()) -> RedisExpiry:
    """A sample; without `total_keys` the whole database was seen."""
    sampled = sum(one.sampled for one in families)
    return RedisExpiry(
        target=Target(kind="redis", address="cache-1:6379/0", version=ServerText("7.2.4"), local=True),
        observed_at=NOW,
        took_s=0.3,
        gaps=gaps,
        families=families,
        sampled_keys=sampled,
        total_keys=total_keys or sampled,
        exhaustive=not total_keys,
        method="RANDOMKEY, with replacement" if total_keys else "SCAN, every key",
    )


def redis_load(*, after_s: float = 0.0, run_id: str = "a", **counted: Any) -> RedisLoad:
    """Counters of a server that has been up for a day."""
    return RedisLoad(
        target=Target(kind="redis", address="cache-1:6379/0", version=ServerText("7.2.4"), local=True),
        observed_at=NOW + timedelta(seconds=after_s),
        **{"run_id": run_id, "uptime_s": 86_400.0 + after_s, "maxmemory_policy": "noeviction"} | counted,
    )


def redis_keys(
    *,
    sizes: dict[str, list[int]] | None = None,
    kinds: dict[str, str] | None = None,
    counters: dict[str, int] | None = None,
    total_keys: int = 0,
    gaps: tuple[Gap, ...] = (),
    **more: Any,
) -> RedisKeys:
    """A sample of keys, by family the bytes of each; `counters` by key make the policy an LFU one.

    A family of one key bears its name. Without `total_keys` the whole database was seen.
    """
    sizes = {"page:{n}": [100] * (len(counters or {}) or 100)} if sizes is None else sizes
    weighed = sorted(((size, name) for name, of_family in sizes.items() for size in of_family), reverse=True)[:20]
    seen = [0] * 256 if counters else []
    for counter in (counters or {}).values():
        seen[counter] += 1
    hottest = sorted((counters or {}).items(), key=lambda one: -one[1])[:20]
    sampled = sum(map(len, sizes.values()))
    return RedisKeys(
        target=Target(kind="redis", address="cache-1:6379/0", version=ServerText("7.2.4"), local=True),
        observed_at=NOW,
        took_s=0.5,
        gaps=gaps,
        sampled_keys=sampled,
        total_keys=total_keys or sampled,
        exhaustive=not total_keys,
        method="RANDOMKEY, with replacement" if total_keys else "SCAN, every key",
        families=tuple(
            FamilySize(
                pattern=KeyText(name),
                sampled=len(of_family),
                sum_bytes=sum(of_family),
                sum_squares=float(sum(size * size for size in of_family)),
                largest_bytes=max(of_family),
            )
            for name, of_family in sizes.items()
        ),
        biggest=tuple(
            KeySize(key=KeyText(name), size_bytes=size, kind=(kinds or {}).get(name, "")) for size, name in weighed
        ),
        hottest=tuple(KeyUse(key=KeyText(name), counter=counter) for name, counter in hottest if counter),
        counters=tuple(seen),
        **{
            "maxmemory_policy": "allkeys-lfu" if counters else "noeviction",
            "lfu_log_factor": 10 if counters else None,
            "lfu_decay_min": 1 if counters else None,
            "used_memory_bytes": sum(sum(of_family) for of_family in sizes.values()) + 10**6,
        }
        | more,
    )


def consumer_group(name: str, *, state: str = "Stable", members: int = 1) -> ConsumerGroup:
    return ConsumerGroup(
        group=ServerText(name),
        state=state,
        members=tuple(
            Member(
                member_id=ServerText(f"{name}-{number}"),
                client_id=ServerText(f"worker-{number}"),
                host=ServerText(f"10.0.0.{number + 1}"),
            )
            for number in range(members)
        ),
    )


def kafka_lag(
    group: ConsumerGroup,
    *partitions: tuple[int, int, float | None],
    at_s: float = 0.0,
    gaps: tuple[Gap, ...] = (),
    topic: str = "events",
) -> KafkaLag:
    """One group on one topic; each partition is (committed, end, age in s of the next record, or None)."""
    now = NOW + timedelta(seconds=at_s)
    places = [TopicPartition(ServerText(topic), Partition(number)) for number in range(len(partitions))]
    return KafkaLag(
        target=Target(kind="kafka", address="kafka-1:9092", version=ServerText("4.1 or later"), local=True),
        observed_at=now,
        took_s=0.05,
        gaps=gaps,
        groups=(group,),
        commits=tuple(
            CommittedOffset(
                group=group.group,
                on=on,
                offset=Offset(committed),
                record_at=None if age_s is None else now - timedelta(seconds=age_s),
            )
            for on, (committed, _, age_s) in zip(places, partitions, strict=True)
        ),
        log_ends=tuple(
            LogEnds(on=on, log_start_offset=Offset(0), log_end_offset=Offset(end))
            for on, (_, end, _) in zip(places, partitions, strict=True)
        ),
    )


Judge = Callable[..., tuple[list[Finding], CheckOutcome]]

__all__ = ["NOW", "Window"]


def pg_transactions(
    *backends: Backend, gaps: tuple[Gap, ...] = (), after_s: float = 0.0, **more: Any
) -> PgTransactions:
    """A server of 100 connections; backends are clients of the connected database unless they say otherwise."""
    return PgTransactions(
        target=Target(kind="postgres", address="db-1:5432/shop", version=ServerText("17.4"), local=True),
        observed_at=NOW + timedelta(seconds=after_s),
        took_s=0.004,
        gaps=gaps,
        database=Oid(5),
        standby=False,
        backends=backends,
        settings=ConnectionSettings(max_connections=100, reserved_connections=3, autovacuum_freeze_max_age=200_000_000),
        databases=more.pop("databases", (database(),)),
        **more,
    )


def client(pid: int, *, open_s: float | None = None, silent_s: float = 0.0, **more: Any) -> Backend:
    """A client's backend; with `open_s` its transaction has been open for so long."""
    return backend(
        pid,
        backend_type=more.pop("backend_type", "client backend"),
        database=more.pop("database", Oid(5)),
        transaction_started_at=None if open_s is None else NOW - timedelta(seconds=open_s),
        state_changed_at=NOW - timedelta(seconds=silent_s),
        **more,
    )


def database(
    name: str = "shop", *, oid: int = 5, age: int = 1_000, multixact_age: int = 0, deadlocks: int = 0
) -> Database:
    return Database(
        oid=Oid(oid),
        name=ServerText(name),
        frozen_xid_age_transactions=age,
        multixact_age=multixact_age,
        deadlocks=deadlocks,
    )


def slot(name: str, *, active: bool = False, **more: Any) -> ReplicationSlot:
    return ReplicationSlot(slot=ServerText(name), slot_type=more.pop("slot_type", "physical"), active=active, **more)


def pg_cache(
    hits: int = 0, reads: int = 0, *, after_s: float = 0.0, gaps: tuple[Gap, ...] = (), **more: Any
) -> PgCache:
    """One reading of a server that has been up for a month with 128 MB of shared buffers."""
    return PgCache(
        target=Target(kind="postgres", address="db-1:5432/shop", version=ServerText("17.4"), local=True),
        observed_at=NOW + timedelta(seconds=after_s),
        took_s=0.004,
        gaps=gaps,
        database=Oid(5),
        database_name=ServerText("shop"),
        counters=CacheCounters(hits=hits, reads=reads, read_time_s=more.pop("read_time_s", 0.0)),
        uptime_s=more.pop("uptime_s", 2_592_000.0),
        shared_buffers=16_384,
        track_io_timing=more.pop("track_io_timing", False),
        **more,
    )


def read(name: str, oid: int, *, hits: int = 0, reads: int = 0, scans: int = 0, **more: Any) -> RelationCounters:
    """A table, or with `table` an index, and what was asked of it."""
    return RelationCounters(
        oid=Oid(oid), name=ServerText(name), counters=CacheCounters(hits=hits, reads=reads), scans=scans, **more
    )


def pg_throughput(transactions: int, *, after_s: float = 0.0, **more: Any) -> PgThroughput:
    """What a server has done so far."""
    return PgThroughput(
        target=Target(kind="postgres", address="db-1:5432/shop", version=ServerText("17.4"), local=True),
        observed_at=NOW + timedelta(seconds=after_s),
        transactions=transactions,
        **more,
    )


def cache_history(
    *,
    at_s: Sequence[float] = (),
    ends_at: datetime | None = None,
    gaps: tuple[Gap, ...] = (),
    **totals: Sequence[float] | tuple[Sequence[float], Sequence[float]],
) -> CacheHistory:
    """What Prometheus recorded: hits, misses, queries as their totals at `at_s`, or as (their own at_s, totals)."""
    series = {}
    for name, counted in totals.items():
        own, values = counted if isinstance(counted, tuple) else (at_s, counted)
        series[name] = CounterSeries(metric=ServerText(f"redis_{name}"), at_s=tuple(own), totals=tuple(values))
    every = [at for one in series.values() for at in one.at_s] or [NOW.timestamp()]
    return CacheHistory(
        target=Target(kind="prometheus", address="prometheus:9090", version=ServerText("2.53"), local=True),
        observed_at=ends_at or datetime.fromtimestamp(max(every), UTC),
        span_s=max(every) - min(every),
        gaps=gaps,
        **series,
    )
