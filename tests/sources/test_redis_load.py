"""Counters over time: exact without our own look-ups, and the keys the server names by itself."""

from __future__ import annotations

import time

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from diag.config import RedisTarget
from diag.snapshots.base import Scope
from diag.sources import redis as source
from diag.wire.probe import Deadline, Probe

SOON_S = 5.0


def client(url: str) -> redis.Redis:
    return redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0))


def watched(url: str, between, *, match: str = "", also_sample: bool = False):
    """Read the counters, let something happen, read them again."""
    scope = Scope(match=match)
    probe = Probe(Deadline(10.0), client_name="diag/test")
    with probe, source.connect(RedisTarget(url=url), probe) as session:
        first = source.redis_load(session, scope)
        if also_sample:
            source.redis_expiry(session, scope)
        between()
        return first, source.redis_load(session, scope), session


def heard(url: str, between, wanted: int, *, match: str = "") -> dict[str, int]:
    """Sum what was named, until as much as expected has come."""
    scope, counts = Scope(match=match), {}
    probe = Probe(Deadline(10.0), client_name="diag/test")
    with probe, source.connect(RedisTarget(url=url), probe) as session:
        source.redis_load(session, scope)
        between()
        until = time.monotonic() + SOON_S
        while sum(counts.values()) < wanted and time.monotonic() < until:
            frame = source.redis_load(session, scope)
            for one in (frame.written if match else frame.missed).top:
                counts[one.key.raw] = counts.get(one.key.raw, 0) + one.count
    return counts


def test_hits_and_misses_are_reported_to_the_unit_although_we_sample_in_between(private_redis):
    url = private_redis().url
    with client(url) as reader:
        for number in range(300):
            reader.set(f"page:{number}", "x", ex=100)

        def read() -> None:
            for number in range(70):
                reader.get(f"page:{number}")
            for number in range(30):
                reader.get(f"none:{number}")

        first, second, session = watched(url, read, also_sample=True)
    assert session.own.hits == 300, "the sample looked at every key"
    assert (second.keyspace_hits - first.keyspace_hits, second.keyspace_misses - first.keyspace_misses) == (70, 30)


def test_what_is_counted_is_told(private_redis):
    url = private_redis(directives=["maxmemory 64mb", "maxmemory-policy allkeys-lru"]).url
    with client(url) as writer:
        first, second, _ = watched(
            url, lambda: [writer.set(f"a:{n}", "x", ex=100 if n % 2 else None) for n in range(8)]
        )
    assert (second.keys, second.volatile_keys) == (8, 4)
    assert second.changes - first.changes >= 8
    assert second.calls["set"] - first.calls.get("set", 0) == 8
    assert (second.maxmemory_bytes, second.maxmemory_policy) == (64 << 20, "allkeys-lru")
    assert 0 < second.used_memory_bytes < 64 << 20
    assert second.run_id == first.run_id != ""
    assert (second.missed, second.written, second.keyspace_events, second.gaps) == (None, None, "", ())


def test_missed_keys_are_named_where_the_server_already_names_them(private_redis):
    url = private_redis(directives=["notify-keyspace-events Em"]).url
    with client(url) as reader:
        named = heard(url, lambda: [reader.get("limits:config" if n % 10 else f"page:{n}") for n in range(200)], 200)
    assert named["limits:config"] == 180


def test_changed_keys_are_named_under_the_asked_prefix_without_any_setting(private_redis):
    url = private_redis().url
    with client(url) as writer:

        def write() -> None:
            for _ in range(20):
                writer.set("limits:config", "x")
                writer.set("page:1", "x")

        named = heard(url, write, 20, match="limits:*")
        assert writer.config_get("notify-keyspace-events") == {"notify-keyspace-events": ""}
    assert named == {"limits:config": 20}


def test_a_role_that_may_not_ask_for_the_setting_still_gets_the_counters(private_redis):
    server = private_redis()
    with client(server.url) as admin:
        admin.execute_command("ACL", "SETUSER", "oncall", "on", ">pass-canary", "-@all", "+info", "+time")
        _, second, _ = watched(f"redis://oncall:pass-canary@127.0.0.1:{server.port}", lambda: None)
    assert second.uptime_s >= 0
    assert [(one.fact, one.fix.raw) for one in second.gaps] == [("missed", "ACL SETUSER oncall +config|get")]


def test_no_connection_of_ours_is_left(private_redis):
    url = private_redis(directives=["notify-keyspace-events Em"]).url
    with client(url) as oracle:
        watched(url, lambda: None, match="limits:*")
        until = time.monotonic() + SOON_S
        while len(oracle.client_list()) > 1 and time.monotonic() < until:
            time.sleep(0.01)
        assert len(oracle.client_list()) == 1


def test_calls_are_those_of_others(private_redis):
    url = private_redis().url
    with client(url) as other:
        for number in range(300):
            other.set(f"page:{number}", "x", ex=100)
        first, second, session = watched(url, lambda: [other.pttl(f"page:{n}") for n in range(7)], also_sample=True)
    gained = {name: count - first.calls.get(name, 0) for name, count in second.calls.items()}
    assert session.own.calls["pexpiretime"] == 300
    assert {name: count for name, count in gained.items() if count} == {"pttl": 7}
