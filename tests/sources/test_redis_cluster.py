"""Keys and reads spread over several servers: a cluster of Valkey with one table for each slot, and replicas."""

from __future__ import annotations

import statistics

import pytest
from redis_clusters import client, fill, node_of, running, valkey

from diag.config import RedisTarget
from diag.lab import services
from diag.lab.process import wait_until
from diag.snapshots.base import Scope
from diag.sources import redis as source
from diag.sources.redis import parts
from diag.wire.probe import Deadline, Probe

TENANTS, KEYS_EACH = 20, 1_000
SYNCHRONISED = "{t7}"
REPEATS, DRAWN = 120, 500
MOST_DESIGN_EFFECT = 1.5


@pytest.fixture(scope="module")
def cluster():
    with running(3, cluster=True, program=valkey()) as servers:
        fill(
            servers,
            {
                f"{{t{tenant}}}:page:{number}": 600 if tenant == 7 else 0
                for tenant in range(TENANTS)
                for number in range(KEYS_EACH)
            },
        )
        yield servers


def looked(url: str, take, *, scope: Scope | None = None, **target):
    probe = Probe(Deadline(20.0), client_name="diag/test")
    with probe, source.connect(RedisTarget(url=url, **target), probe) as session:
        return take(session, scope or Scope())


def synchronised(seen) -> int:
    return sum(len(family.expires_in_s) for family in seen.families)


def test_one_tenant_of_a_cluster_has_its_right_share(cluster):
    seen = looked(cluster[0].url, source.redis_expiry)
    assert (seen.total_keys, seen.gaps, seen.exhaustive) == (TENANTS * KEYS_EACH, (), False)
    assert seen.method.startswith("RANDOMKEY, with replacement on 3 servers")
    assert seen.target.version.raw.startswith("valkey 9.")
    assert synchronised(seen) / seen.sampled_keys == pytest.approx(1 / TENANTS, abs=0.016), "five standard errors"


def test_the_sample_of_a_cluster_is_as_good_as_independent_draws(cluster, monkeypatch):
    monkeypatch.setattr(parts, "SAMPLE_KEYS", DRAWN)

    def repeated(session, scope):
        return [synchronised(source.redis_expiry(session, scope)) for _ in range(REPEATS)]

    counts = looked(cluster[1].url, repeated)
    share = 1 / TENANTS
    assert statistics.mean(counts) == pytest.approx(DRAWN * share, rel=0.1)
    assert statistics.variance(counts) / (DRAWN * share * (1 - share)) < MOST_DESIGN_EFFECT


def test_a_contiguous_walk_is_no_sample_here_which_is_why_it_is_not_used(cluster):
    tenant = client(cluster[node_of(cluster, f"{SYNCHRONISED}:page:1")].url)
    _, found = tenant.scan(cursor=0, count=500)
    tenant.connection_pool.disconnect()
    assert len({name.partition(b":")[0] for name in found}) <= 3


def test_reads_are_those_of_all_nodes_to_the_unit_beside_our_own_sample(cluster):
    def around_reads(session, scope):
        first = source.redis_load(session, scope)
        source.redis_expiry(session, scope)
        for number, server in enumerate(cluster):
            with client(server.url) as reader:
                for tenant in range(TENANTS):
                    if node_of(cluster, f"{{t{tenant}}}") == number:
                        reader.get(f"{{t{tenant}}}:page:1")
                        reader.get(f"{{t{tenant}}}:none")
        return first, source.redis_load(session, scope)

    first, second = looked(cluster[0].url, around_reads)
    assert (second.keyspace_hits - first.keyspace_hits, second.keyspace_misses - first.keyspace_misses) == (20, 20)
    assert [node.role for node in second.nodes] == ["master"] * 3
    assert sum(node.keys for node in second.nodes) == second.keys == TENANTS * KEYS_EACH
    assert second.gaps == ()


@pytest.mark.parametrize("allowed", ["cluster|shards", "cluster|nodes", "cluster|slots"])
def test_any_of_the_three_ways_to_find_the_nodes_will_do(cluster, allowed):
    for server in cluster:
        with client(server.url) as admin:
            rights = ("-@all", "+info", "+dbsize", "+time", "+randomkey", "+pexpiretime", f"+{allowed}", "%R~*")
            admin.execute_command("ACL", "SETUSER", "oncall", "reset", "on", ">pass-canary", *rights)
    seen = looked(f"redis://oncall:pass-canary@127.0.0.1:{cluster[0].port}", source.redis_expiry)
    assert (seen.total_keys, seen.gaps) == (TENANTS * KEYS_EACH, ())


def test_a_user_who_may_not_ask_for_the_nodes_is_told_the_line(cluster):
    with client(cluster[0].url) as admin:
        rights = ("-@all", "+info", "+dbsize", "+time", "+randomkey", "+pexpiretime", "%R~*")
        admin.execute_command("ACL", "SETUSER", "blind", "reset", "on", ">pass-canary", *rights)
    seen = looked(f"redis://blind:pass-canary@127.0.0.1:{cluster[0].port}", source.redis_expiry)
    assert [(one.fact, one.fix.raw) for one in seen.gaps] == [("families", "ACL SETUSER blind +cluster|shards")]
    assert 0 < seen.total_keys < TENANTS * KEYS_EACH


def test_a_key_by_its_whole_name_is_found_on_whichever_node_it_is(cluster):
    for tenant in range(TENANTS):
        scope = Scope(match=f"{{t{tenant}}}:page:1")
        load = looked(cluster[0].url, source.redis_load, scope=scope)
        assert load.watched.exists, scope.match
        assert (load.watched.expires_in_s is not None) == (tenant == 7)
        assert looked(cluster[0].url, source.redis_expiry, scope=scope).sampled_keys == 1


def test_a_dead_node_is_a_gap_that_names_it():
    with running(3, cluster=True, program=valkey(), directives=["cluster-require-full-coverage no"]) as servers:
        fill(servers, {f"page:{number}": 600 for number in range(600)})
        services.stop(servers[2])
        seen = looked(servers[0].url, source.redis_expiry)
        load = looked(servers[0].url, source.redis_load)
    assert [(one.fact, str(servers[2].port) in one.what.raw) for one in seen.gaps] == [("families", True)]
    assert [(one.fact, str(servers[2].port) in one.what.raw) for one in load.gaps] == [("nodes", True)]
    assert 300 < seen.total_keys < 500
    assert len(load.nodes) == 2


def test_a_stampede_on_a_replica_is_in_the_counters(private_redis):
    primary = private_redis()
    replica = private_redis(directives=[f"replicaof 127.0.0.1 {primary.port}"])

    def around_reads(session, scope):
        first = source.redis_load(session, scope)
        with client(replica.url) as reader:
            for number in range(30):
                reader.get("page:1" if number % 3 == 0 else "none")
        return first, source.redis_load(session, scope)

    with client(primary.url) as writer, client(replica.url) as reader:
        writer.set("page:1", "x", ex=600)
        assert wait_until(lambda: reader.exists("page:1") == 1, 10.0)
        first, second = looked(primary.url, around_reads)
    assert (second.keyspace_hits - first.keyspace_hits, second.keyspace_misses - first.keyspace_misses) == (10, 20)
    assert [node.role for node in second.nodes] == ["master", "slave"]
    assert (second.keys, second.replicas, second.gaps) == (1, (), ())


def test_a_replica_that_cannot_be_reached_is_named(private_redis):
    primary = private_redis()
    announced = ["replica-announce-ip 127.0.0.1", "replica-announce-port 1"]
    private_redis(directives=[f"replicaof 127.0.0.1 {primary.port}", *announced])
    with client(primary.url) as oracle:
        assert wait_until(lambda: oracle.info("replication")["connected_slaves"] == 1, 10.0)
    load = looked(primary.url, source.redis_load)
    assert [address.raw for address in load.replicas] == ["127.0.0.1:1"]
    (missing,) = load.gaps
    assert (missing.fact, missing.fix.raw) == ("replicas", "diag with --redis-url redis://127.0.0.1:1/0")
