"""The sample itself: fair, bounded, paced by what it does to the server, and its own look-ups exactly counted."""

from __future__ import annotations

import itertools
import statistics
import time

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis_clusters import running, valkey

from diag.config import RedisTarget
from diag.lab.process import wait_until
from diag.snapshots.base import Scope
from diag.sources import redis as source
from diag.sources.redis import pace, parts
from diag.sources.redis.pace import BATCH_KEYS, Pace
from diag.sources.redis.sampling import cursor_at, place_of
from diag.wire.probe import Deadline, Probe

KEYS, DUE_SHARE = 40_000, 0.05
REPEATS, DRAWN = 120, 500
MOST_DESIGN_EFFECT = 1.5


@pytest.fixture(autouse=True)
def busy_machine(monkeypatch):
    """Where many tests share a processor, a late answer is not the server's suffering; the pace has its own tests."""
    monkeypatch.setattr(pace, "_SUFFERING_S", 1.0)


def client(url: str) -> redis.Redis:
    return redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0))


def looked(url: str, take, *, match: str = "", deadline_s: float = 20.0):
    probe = Probe(Deadline(deadline_s), client_name="diag/test")
    with probe, source.connect(RedisTarget(url=url), probe) as session:
        return take(session, Scope(match=match))


def fill(url: str, keys: int, due_share: float) -> None:
    with client(url) as writer, writer.pipeline(transaction=False) as pipeline:
        for number in range(keys):
            pipeline.set(f"page:{number}", "x", ex=600 if number < due_share * keys else None)
        pipeline.execute()


@pytest.mark.parametrize("program", ["", "valkey"], ids=["Redis", "Valkey"])
def test_blocks_of_a_scan_are_as_good_as_independent_draws(program, monkeypatch):
    monkeypatch.setattr(parts, "SAMPLE_KEYS", DRAWN)
    with running(1, cluster=False, program=valkey() if program else "") as (server,):
        fill(server.url, KEYS, DUE_SHARE)

        def repeated(session, scope):
            return [source.redis_expiry(session, scope) for _ in range(REPEATS)]

        seen = looked(server.url, repeated)
    counts = [sum(len(family.expires_in_s) for family in one.families) for one in seen]
    assert {(one.sampled_keys, one.exhaustive) for one in seen} == {(DRAWN, False)}
    assert statistics.mean(counts) == pytest.approx(DRAWN * DUE_SHARE, rel=0.1)
    assert statistics.variance(counts) / (DRAWN * DUE_SHARE * (1 - DUE_SHARE)) < MOST_DESIGN_EFFECT


def test_no_key_is_drawn_twice_although_the_blocks_wrap_round(private_redis):
    url = private_redis().url
    fill(url, parts.SAMPLE_KEYS + 500, 1.0)
    seen = looked(url, source.redis_expiry)
    assert seen.sampled_keys == parts.SAMPLE_KEYS
    assert len(seen.families) == 1


def test_keys_that_are_due_but_still_held_are_not_counted_as_living(private_redis):
    url = private_redis(directives=["hz 1", "active-expire-effort 1"]).url
    with client(url) as writer:
        writer.execute_command("DEBUG", "SET-ACTIVE-EXPIRE", "0")
        for start in range(0, 8_000, 1_000):
            with writer.pipeline(transaction=False) as pipeline:
                for number in range(start, start + 1_000):
                    pipeline.set(f"page:{number}", "x", px=1 if number % 10 == 0 else 600_000)
                pipeline.execute()
        assert writer.dbsize() == 8_000
        seen = looked(url, source.redis_expiry)
    assert seen.sampled_keys == parts.SAMPLE_KEYS
    assert min(min(family.expires_in_s) for family in seen.families) > 500


def test_our_own_look_ups_are_exact_although_keys_expire_under_them(private_redis):
    url = private_redis().url
    with client(url) as oracle, oracle.pipeline(transaction=False) as pipeline:
        for number in range(9_000):
            pipeline.set(f"page:{number}", "x", px=600_000 if number % 2 else 150 + number % 400)
        pipeline.execute()

        def between_loads(session, scope):
            first = source.redis_load(session, scope)
            for _ in range(3):
                source.redis_expiry(session, scope)
            oracle.get("page:1")
            oracle.get("none")
            return first, source.redis_load(session, scope), session.own

        first, second, own = looked(url, between_loads)
    assert own.hits >= 10_000
    assert (second.keyspace_hits - first.keyspace_hits, second.keyspace_misses - first.keyspace_misses) == (1, 1)


def test_a_pattern_in_a_large_database_is_sampled_and_its_total_estimated(private_redis, monkeypatch):
    monkeypatch.setattr(parts, "_MOST_MATCHING", 20_000)
    url = private_redis().url
    with client(url) as writer:
        writer.execute_command("DEBUG", "POPULATE", 54_000, "other")
        writer.execute_command("DEBUG", "POPULATE", 6_000, "page")
    seen = looked(url, source.redis_expiry, match="page:*")
    assert not seen.exhaustive
    assert 1_000 < seen.sampled_keys < 3_500
    assert seen.total_keys == pytest.approx(6_000, rel=0.15)
    assert seen.gaps == ()


def test_a_pattern_that_is_met_too_seldom_in_the_time_is_a_gap(private_redis, monkeypatch):
    monkeypatch.setattr(parts, "_MOST_MATCHING", 10_000)
    url = private_redis().url
    with client(url) as writer:
        writer.execute_command("DEBUG", "POPULATE", 60_000, "other")
        writer.set("page:1", "x", ex=600)
        seen = looked(url, source.redis_expiry, match="page:*")
    assert [one.fact for one in seen.gaps] == ["families"]


def test_a_key_by_its_whole_name_is_looked_up_and_nothing_is_walked(private_redis):
    url = private_redis(directives=["maxmemory-policy allkeys-lfu", "maxmemory 64mb"]).url
    with client(url) as writer:
        writer.execute_command("DEBUG", "POPULATE", 20_000, "page")
        writer.set("limits:config", "x", ex=600)
        for _ in range(50):
            writer.get("limits:config")
        writer.config_resetstat()

        def both(session, scope):
            return source.redis_expiry(session, scope), source.redis_load(session, scope)

        expiry, load = looked(url, both, match="limits:config")
        sent = {name.removeprefix("cmdstat_") for name in writer.info("commandstats")}
        gone = looked(url, source.redis_load, match="limits:gone")
    assert (expiry.sampled_keys, expiry.total_keys, expiry.exhaustive) == (1, 1, True)
    assert (load.watched.exists, load.watched.expires_in_s) == (True, pytest.approx(600, abs=5))
    assert [(one.key.raw, one.count > 5) for one in load.frequencies] == [("limits:config", True)]
    assert (gone.watched.exists, gone.watched.expires_in_s, gone.frequencies) == (False, None, ())
    assert not sent & {"scan", "randomkey"}


def test_a_watched_key_and_its_frequency_are_not_in_the_counters(private_redis):
    url = private_redis(directives=["maxmemory-policy allkeys-lfu", "maxmemory 64mb"]).url
    with client(url) as writer:
        writer.set("limits:config", "x")

        def thrice(session, scope):
            return [source.redis_load(session, scope) for _ in range(3)]

        for match in ("limits:config", "limits:gone"):
            frames = looked(url, thrice, match=match)
            assert len({(one.keyspace_hits, one.keyspace_misses) for one in frames}) == 1
            assert frames[-1].watched.exists is (match == "limits:config")


PACES = {
    "nothing changes": ([0.0005] * 50, 0, False),
    "one hiccup": ([*[0.0005] * 25, 0.2, *[0.0005] * 25], 0, False),
    "just under the double, and more than is felt": ([*[0.001] * 20, *[0.0019] * 30], 0, False),
    "p95 has doubled": ([*[0.001] * 20, *[0.0021] * 20], 1, False),
    "less than half a millisecond is not felt": ([*[0.0002] * 20, *[0.0006] * 30], 0, False),
    "just under what makes us stop": ([*[0.001] * 20, *[0.0051] * 15], 1, False),
    "five milliseconds over the bare round trip, and they last": ([*[0.001] * 20, *[0.0053] * 7], 1, True),
    "from the beginning": ([0.006] * 5, 0, True),
}


@pytest.mark.parametrize(("trips_s", "halved", "stopped"), PACES.values(), ids=PACES.keys())
def test_the_pace_follows_our_own_round_trips(trips_s, halved, stopped, monkeypatch):
    monkeypatch.setattr(pace, "_SUFFERING_S", 0.005)
    kept = Pace(Probe(Deadline(10.0)), bare_s=0.0002)
    for trip_s in trips_s:
        kept.took(trip_s)
    assert (kept.halved, bool(kept.why)) == (halved, stopped)


def test_a_server_that_begins_to_suffer_is_left_alone_with_what_we_have(private_redis, monkeypatch):
    url = private_redis().url
    fill(url, 20_000, 1.0)
    taken = itertools.count()
    took = Pace.took
    monkeypatch.setattr(Pace, "took", lambda kept, trip_s: took(kept, trip_s + (2.0 if next(taken) > 12 else 0.0)))
    seen = looked(url, source.redis_expiry)
    assert 10 * BATCH_KEYS <= seen.sampled_keys < 20 * BATCH_KEYS
    assert "stopped: round trips rose" in seen.method
    assert seen.gaps == (), "the sample is smaller, and says so; it is still one"


def test_no_more_than_the_allowed_keys_a_second_are_looked_at(private_redis):
    url = private_redis().url
    fill(url, 20_000, 1.0)
    started = time.monotonic()
    looked(url, source.redis_expiry)
    assert time.monotonic() - started >= parts.SAMPLE_KEYS / 20_000


@pytest.mark.parametrize("place", [0.0, 0.25, 0.5, 0.7501])
def test_a_cursor_is_a_place_of_the_walk(place):
    assert place_of(cursor_at(place)) == pytest.approx(place)


def test_a_full_pass_meets_every_key_of_a_replica_and_keeps_an_even_part(private_redis, monkeypatch):
    monkeypatch.setattr(parts, "_MOST_KEPT", 2_000)
    primary = private_redis()
    replica = private_redis(directives=[f"replicaof 127.0.0.1 {primary.port}"])
    fill(primary.url, 30_000, 0.3)
    with client(replica.url) as oracle:
        assert wait_until(lambda: oracle.dbsize() == 30_000, 10.0)

    def full(where):
        return lambda session, _: source.redis_expiry(session, Scope(full=where))

    seen = looked(replica.url, full("replica"))
    share = sum(len(family.expires_in_s) for family in seen.families) / seen.sampled_keys
    assert (seen.total_keys, seen.exhaustive, seen.gaps) == (30_000, False, ())
    assert 2_000 <= seen.sampled_keys <= 4_000
    assert share == pytest.approx(0.3, abs=0.05)
    assert seen.method == "SCAN, every key, one in 8 kept"
    monkeypatch.setattr(parts, "_MOST_KEPT", 50_000)
    whole = looked(replica.url, full("replica"))
    assert (whole.sampled_keys, whole.total_keys, whole.exhaustive) == (30_000, 30_000, True), "none twice, none missed"
    refused = looked(primary.url, full("replica"))
    assert [(one.fact, one.fix.raw) for one in refused.gaps] == [
        ("families", "--full primary, or the --redis-url of a replica")
    ]
    allowed = looked(primary.url, full("primary"))
    assert (allowed.sampled_keys, allowed.total_keys, allowed.exhaustive) == (30_000, 30_000, True)
