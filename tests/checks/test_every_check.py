"""What holds for every check on any valid snapshot: it never raises, it survives the file, worse is worse."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kafka_worlds import frame, history, members, place
from miss_worlds import named
from worlds import (
    backend,
    cache_history,
    client,
    consumer_group,
    database,
    family,
    judged,
    kafka_lag,
    lock,
    pg_cache,
    pg_locks,
    pg_throughput,
    pg_transactions,
    read,
    redis_expiry,
    redis_keys,
    redis_load,
    slot,
)

from diag import catalog
from diag.diagnosis import explained
from diag.findings import Severity
from diag.snapshots.base import from_wire, to_wire
from diag.snapshots.kafka import (
    ConsumerGroup,
    KafkaHistory,
    KafkaLag,
    Leaderless,
    Member,
    Offset,
    OpenTransaction,
    ProducerId,
    TopicSettings,
)
from diag.snapshots.postgres import LockMode, LockTag, Oid, PgCache, PgLocks, PgTransactions, Xid
from diag.snapshots.redis import RedisExpiry, RedisKeys, RedisLoad
from diag.text import ServerText

SPAN_S = st.floats(0, 10**6, allow_nan=False)
TAGS = st.sampled_from(
    [
        LockTag(locktype="relation", database=Oid(5), relation=Oid(16_390)),
        LockTag(locktype="relation", database=Oid(9), relation=Oid(1)),
        LockTag(locktype="transactionid", transactionid=Xid(7)),
        LockTag(locktype="advisory", classid=Oid(1), objid=Oid(2)),
    ]
)
LOCKS = st.builds(
    lock,
    st.sampled_from(list(LockMode)),
    pid=st.none() | st.integers(1, 9),
    waited_s=st.none() | SPAN_S,
    tag=TAGS,
)
PG_LOCKS = st.lists(LOCKS, max_size=12).map(lambda locks: pg_locks(*locks)) | st.lists(LOCKS, max_size=6).map(
    lambda locks: pg_locks(*locks, backends=(backend(1), backend(2, leader=1)))
)
NAMES = st.text(max_size=12)
GROUPS = st.builds(
    consumer_group, NAMES, state=st.sampled_from(["Stable", "Empty", "Dead", "?"]), members=st.integers(0, 3)
)
PARTITIONS = st.lists(
    st.tuples(st.integers(0, 10**12), st.integers(0, 10**12), st.none() | st.floats(-(10**6), 10**6)), max_size=5
)
OFFSETS = st.integers(0, 10**12)
WORDS = st.sampled_from(["Stable", "Empty", "Dead", "PreparingRebalance", "Reconciling", "unknown", "?"])


@st.composite
def kafka_worlds_over_time(draw) -> list:
    """One to six frames of one group, its members and epochs changing at will, and perhaps a past."""
    name, topic = draw(NAMES), draw(NAMES)
    numbers = draw(st.lists(st.integers(0, 3), min_size=1, max_size=3, unique=True))
    owned = st.lists(st.lists(st.sampled_from(numbers), max_size=2), max_size=3)
    some = st.dictionaries(st.sampled_from(numbers), OFFSETS)
    seen = []
    for turn in range(count := draw(st.integers(1, 6))):
        protocol = draw(st.sampled_from(["classic", "consumer", "share"]))
        members_of = members(*draw(owned), topic=topic, first=draw(st.integers(0, 2))) if draw(st.booleans()) else None
        epoch = draw(st.none() | st.integers(0, 9))
        now = ConsumerGroup(
            group=ServerText(name), state=draw(WORDS), protocol=protocol, members=members_of, epoch=epoch
        )
        held = OpenTransaction(on=place(numbers[0], topic), producer_id=ProducerId(7), first_offset=Offset(0))
        seen.append(
            frame(
                now,
                draw(some),
                draw(some),
                at_s=(turn - count + 1) * 5.0,
                ages_s=draw(st.dictionaries(st.sampled_from(numbers), st.floats(-(10**6), 10**6))),
                starts=draw(some),
                stable=draw(some),
                topic=topic,
                leaderless=draw(st.sampled_from([(), (Leaderless(on=held.on, replicas=(), in_sync=()),)])),
                transactions=draw(st.sampled_from([(), (held,)])),
                topics=draw(st.sampled_from([(), (TopicSettings(topic=ServerText(topic), retention_s=60.0),)])),
            )
        )
    points = st.lists(st.tuples(st.floats(-3_600, -31), OFFSETS), max_size=9).map(sorted)
    curves = st.dictionaries(st.sampled_from(numbers), points)
    if draw(st.booleans()):
        when = sorted(draw(st.lists(st.floats(-3_600, -1), max_size=6)))
        rebalances = [(at_s, number) for number, at_s in enumerate(when)]
        past = history(committed=draw(curves), produced=draw(curves), name=name, topic=topic, rebalances=rebalances)
        seen.append(past)
    return seen


KAFKA = st.tuples(GROUPS, PARTITIONS).map(lambda drawn: [kafka_lag(drawn[0], *drawn[1])]) | kafka_worlds_over_time()
FAMILIES = st.lists(
    st.builds(
        lambda name, times, lasting: family(name, *times, without_expiry=lasting),
        NAMES,
        st.lists(SPAN_S, max_size=700),
        st.integers(0, 50),
    ),
    max_size=4,
)
REDIS = st.tuples(FAMILIES, st.integers(0, 10**9)).map(lambda drawn: redis_expiry(*drawn[0], total_keys=drawn[1]))
PG = PG_LOCKS.map(lambda world: [world])
COUNTS = st.integers(0, 10**12)
CACHES = st.lists(
    st.builds(
        lambda hits, reads, table, index: pg_cache(
            hits, reads, relations=(read("t", 1, reads=table, scans=table), read("i", 2, reads=index, table=Oid(1)))
        ),
        COUNTS,
        COUNTS,
        COUNTS,
        COUNTS,
    ),
    min_size=1,
    max_size=3,
)
AGES = st.none() | st.integers(0, 2**31)
CLIENTS = st.builds(
    lambda pid, open_s, silent_s, state, xmin, xid: client(
        pid,
        open_s=open_s,
        silent_s=silent_s,
        state=state,
        xmin_age_transactions=xmin,
        xid_age_transactions=xid,
    ),
    st.integers(1, 200),
    st.none() | SPAN_S,
    SPAN_S,
    st.sampled_from(["active", "idle", "idle in transaction", "idle in transaction (aborted)", None]),
    AGES,
    AGES,
)
SLOTS = st.builds(
    lambda name, active, retained, xmin: slot(name, active=active, retained_bytes=retained, xmin_age_transactions=xmin),
    NAMES,
    st.booleans(),
    st.none() | st.integers(-(2**40), 2**62),
    AGES,
)
DATABASES = st.builds(
    lambda name, oid, age, deadlocks: database(name, oid=oid, age=age, deadlocks=deadlocks),
    NAMES,
    st.integers(1, 3),
    st.integers(-5, 2**31),
    st.integers(0, 10**12),
)
TRANSACTIONS = st.lists(
    st.builds(
        lambda clients, slots, databases: pg_transactions(*clients, slots=tuple(slots), databases=tuple(databases)),
        st.lists(CLIENTS, max_size=5),
        st.lists(SLOTS, max_size=3),
        st.lists(DATABASES, max_size=3),
    ),
    min_size=1,
    max_size=3,
)
NAMED = st.none() | st.dictionaries(NAMES, st.integers(1, 10**6), max_size=25).map(named)
TOLD = st.fixed_dictionaries(
    {
        "calls": st.dictionaries(st.sampled_from(["set", "setnx", "unlink", "incr", "exists", "flushall"]), COUNTS),
        "run_id": st.sampled_from("aaaab"),
        "expired_stale_ratio": st.floats(0, 1),
        "missed": NAMED,
        "written": NAMED,
    }
)
LOADS = st.lists(
    st.builds(
        lambda counted, policy, after_s, told: redis_load(after_s=after_s, maxmemory_policy=policy, **counted, **told),
        st.fixed_dictionaries(
            dict.fromkeys(
                (
                    "keyspace_hits",
                    "keyspace_misses",
                    "evicted_keys",
                    "used_memory_bytes",
                    "maxmemory_bytes",
                    "keys",
                    "expired_keys",
                    "changes",
                ),
                COUNTS,
            )
        ),
        st.sampled_from(["noeviction", "allkeys-lru", "volatile-ttl", "?"]),
        st.sampled_from([0.0, 1.0, 2.0, 3.0, 4.0, 5.0]),
        TOLD,
    ),
    min_size=1,
    max_size=8,
)
MOMENTS = st.lists(st.floats(0, 10**5), max_size=60).map(sorted)
TOTALS = st.lists(st.floats(0, 1e15) | st.integers(0, 10**6), min_size=60, max_size=60)
PASTS = st.builds(
    lambda at_s, kept, hits, misses, queries, own_at_s: cache_history(
        at_s=at_s,
        **{
            name: (own_at_s if name == "queries" else at_s, totals[: len(own_at_s if name == "queries" else at_s)])
            for name, totals in (("hits", hits), ("misses", misses), ("queries", queries))
            if name in kept
        },
    ),
    MOMENTS,
    st.sets(st.sampled_from(["hits", "misses", "queries"])),
    TOTALS,
    TOTALS,
    TOTALS,
    MOMENTS,
)
THROUGHPUTS = st.lists(
    st.builds(
        lambda transactions, after_s, active_s: pg_throughput(transactions, after_s=after_s, active_s=active_s),
        COUNTS,
        SPAN_S,
        st.none() | SPAN_S,
    ),
    max_size=30,
)
LONG_LOADS = st.lists(
    st.builds(
        lambda hits, misses, after_s, run_id: redis_load(
            keyspace_hits=hits, keyspace_misses=misses, after_s=after_s, run_id=run_id
        ),
        COUNTS,
        COUNTS,
        SPAN_S,
        st.sampled_from("ab"),
    ),
    min_size=1,
    max_size=30,
)
BOTH_SIDES = st.tuples(LONG_LOADS, st.none() | PASTS, THROUGHPUTS).map(
    lambda drawn: [*drawn[0], *([drawn[1]] if drawn[1] else []), *drawn[2]]
)
KEYS = st.builds(
    lambda sizes, counters, total, dataset: redis_keys(
        sizes=sizes, counters=counters, total_keys=total, dataset_bytes=dataset, maxmemory_policy="allkeys-lfu"
    ),
    st.dictionaries(NAMES, st.lists(st.integers(1, 10**12), min_size=1, max_size=9), max_size=4),
    st.dictionaries(NAMES, st.integers(0, 255), max_size=9),
    COUNTS,
    COUNTS,
)
WORLDS = {
    PgLocks: PG,
    PgTransactions: TRANSACTIONS,
    PgCache: CACHES,
    KafkaLag: KAFKA,
    KafkaHistory: KAFKA,
    RedisExpiry: REDIS.map(lambda world: [world]),
    RedisLoad: LOADS | BOTH_SIDES,
    RedisKeys: st.tuples(KEYS, LOADS).map(lambda drawn: [drawn[0], *drawn[1]]),
}
RANK = {None: 0, Severity.WARNING: 1, Severity.CRITICAL: 2}


def facts_of(slug: str) -> type:
    return explained(slug).needs[0].type


def worst(findings):
    return max((RANK[found.severity] for found in findings), default=0)


@pytest.mark.parametrize("slug", catalog.slugs())
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_it_never_raises_and_says_the_same_from_the_evidence_file(slug, data):
    world = data.draw(WORLDS[facts_of(slug)])
    findings, outcome = judged(slug, *world)
    kept = [msgspec.json.encode(one, enc_hook=to_wire) for one in world]
    again = [msgspec.json.decode(one, type=type(was), dec_hook=from_wire) for one, was in zip(kept, world, strict=True)]
    assert judged(slug, *again) == (findings, outcome)


def longer(locks: PgLocks, by_s: float) -> PgLocks:
    waits = tuple(
        one if one.waited_s is None else msgspec.structs.replace(one, waited_s=one.waited_s + by_s)
        for one in locks.locks
    )
    return msgspec.structs.replace(locks, locks=waits)


@settings(max_examples=100, deadline=None)
@given(PG_LOCKS, SPAN_S)
def test_longer_waits_are_never_judged_milder(world, by_s):
    assert worst(judged("pg-locks/lock-queue", longer(world, by_s))[0]) >= worst(
        judged("pg-locks/lock-queue", world)[0]
    )


@settings(max_examples=100, deadline=None)
@given(GROUPS, st.integers(0, 10**6), st.floats(0, 10**5), st.floats(0, 10**5))
def test_an_older_record_is_never_judged_milder(group, committed, age_s, older_by_s):
    young = kafka_lag(group, (committed, committed + 5, age_s))
    old = kafka_lag(group, (committed, committed + 5, age_s + older_by_s))
    assert worst(judged("kafka-lag/time-lag", old)[0]) >= worst(judged("kafka-lag/time-lag", young)[0])


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 2_000), st.integers(0, 20_000))
def test_more_keys_on_the_cliff_are_never_judged_milder(keys, more):
    def cliff(count):
        return redis_expiry(family("page:{n}", *[100 + number / count for number in range(count)]))

    slug = "cache-stampede/expiry-cliff"
    assert worst(judged(slug, cliff(keys + more))[0]) >= worst(judged(slug, cliff(keys))[0])


def test_a_member_without_a_name_is_still_a_member():
    nameless = Member(member_id=ServerText(""), client_id=ServerText(""), host=ServerText(""))
    group = ConsumerGroup(group=ServerText(""), state="Stable", members=(nameless,))
    findings, _ = judged("kafka-lag/time-lag", kafka_lag(group, (0, 10, 60.0)))
    assert len(findings) == 1
