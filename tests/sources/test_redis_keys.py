"""Sizes and access counters of a sample: no value is read, and our own look-ups are known to the unit."""

from __future__ import annotations

import time

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from diag.config import RedisTarget
from diag.errors import Denied, TooSlow
from diag.snapshots.base import Scope
from diag.sources import redis as source
from diag.wire.probe import Deadline, Probe

ASKED = {
    "info", "dbsize", "time", "randomkey", "scan", "memory|usage", "object|freq", "type", "config|get",
    "client|setname",
}  # fmt: skip
HOSTILE = (b"a\nb", b"\x1b[2J:page", b"\xff\xfe:1", "\u202etxt".encode(), b"$(id)", b"", b"-n 5")


def client(url: str) -> redis.Redis:
    return redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0))


def look(url: str, *, match: str = "", deadline_s: float = 10.0):
    probe = Probe(Deadline(deadline_s), client_name="diag/test")
    with probe, source.connect(RedisTarget(url=url), probe) as session:
        return source.redis_keys(session, Scope(match=match))


def lfu(private_redis, *directives: str) -> str:
    return private_redis(directives=["maxmemory-policy allkeys-lfu", *directives]).url


def test_a_small_database_is_weighed_whole(private_redis):
    url = private_redis().url
    with client(url) as writer:
        writer.mset({f"page:{number}": "x" * 100 for number in range(300)})
        writer.set("export", "x" * 2_000_000)
        writer.rpush("queue", *["y" * 50] * 1_000)
        exact = [writer.memory_usage(f"page:{number}") for number in range(300)]
    seen = look(url)
    assert (seen.exhaustive, seen.sampled_keys, seen.total_keys, seen.gaps) == (True, 302, 302, ())
    assert [(one.key.raw, one.kind) for one in seen.biggest[:2]] == [("export", "string"), ("queue", "")]
    assert 2_000_000 <= seen.biggest[0].size_bytes < 2_700_000
    assert len(seen.biggest) == 20
    pages = next(one for one in seen.families if one.pattern.raw == "page:{n}")
    assert (pages.sampled, pages.sum_bytes, pages.largest_bytes) == (300, sum(exact), max(exact))
    assert seen.families[0].pattern.raw == "export", "the family with most bytes comes first"
    assert 0 < seen.dataset_bytes < seen.used_memory_bytes


def test_a_large_database_is_sampled_and_what_may_be_missed_is_a_gap(private_redis):
    url = private_redis().url
    with client(url) as writer, writer.pipeline(transaction=False) as pipeline:
        for number in range(20_000):
            pipeline.set(f"{'page' if number % 10 < 3 else 'session'}:{number}", "x" * 50)
        pipeline.execute()
    seen = look(url)
    assert (seen.exhaustive, seen.sampled_keys, seen.total_keys) == (False, 5_000, 20_000)
    share = next(one.sampled for one in seen.families if one.pattern.raw == "page:{n}") / 5_000
    assert share == pytest.approx(0.3, abs=0.035), "five standard errors of a fair sample of 5,000"
    (gap,) = seen.gaps
    assert (gap.fact, "22.12%" in gap.why.raw, "--memkeys" in gap.fix.raw) == ("rare_keys", True, True)


def test_big_collections_are_not_walked(private_redis):
    url = private_redis().url

    def spent_us() -> int:
        return int(writer.info("commandstats")["cmdstat_memory|usage"]["usec"])

    with client(url) as writer:
        for first in range(0, 200_000, 10_000):
            writer.hset("baskets", mapping={f"customer:{n}": "basket" for n in range(first, first + 10_000)})
        exact = writer.memory_usage("baskets", samples=0)
        walked_us = spent_us()
        seen = look(url)
        assert spent_us() - walked_us < walked_us / 10, "by the server's own clock"
    assert (seen.biggest[0].key.raw, seen.biggest[0].kind) == ("baskets", "hash")
    assert seen.biggest[0].size_bytes == pytest.approx(exact, rel=0.25), "by five of its elements"


def test_real_traffic_is_counted_by_key(private_redis):
    url = lfu(private_redis, "lfu-log-factor 1", "lfu-decay-time 7")
    with client(url) as reader:
        reader.mset({f"page:{number}": "x" for number in range(500)})
        for _ in range(10):
            reader.mget(["page:7"] * 1_000)
        seen = look(url)
        truth = reader.object("freq", "page:7")
    assert (seen.hottest[0].key.raw, seen.hottest[0].counter) == ("page:7", truth)
    assert truth > 100
    assert (sum(seen.counters), seen.counters[5], seen.counters[truth]) == (500, 499, 1)
    assert (seen.lfu_log_factor, seen.lfu_decay_min, seen.maxmemory_policy) == (1, 7, "allkeys-lfu")


def test_a_policy_set_live_has_forgotten_what_was_before(private_redis):
    url = private_redis().url
    with client(url) as admin:
        admin.mset({f"page:{number}": "x" for number in range(100)})
        admin.config_set("maxmemory-policy", "allkeys-lfu")
        assert (look(url).counters[0], look(url).hottest) == (100, ())
        admin.get("page:1")
        assert [one.key.raw for one in look(url).hottest] == ["page:1"]


def test_looking_makes_no_key_hotter(private_redis):
    url = lfu(private_redis)
    with client(url) as writer:
        writer.mset({f"page:{number}": "x" for number in range(50)})
    assert look(url).counters == look(url).counters


def test_without_such_a_policy_no_key_is_looked_up_and_nothing_is_missing(private_redis):
    url = private_redis().url
    with client(url) as oracle:
        oracle.mset({f"page:{number}": "x" for number in range(50)})
        before = oracle.info("stats")
        seen = look(url)
        after = oracle.info("stats")
    assert (seen.counters, seen.hottest, seen.lfu_log_factor, seen.gaps) == ((), (), None, ())
    assert [after[name] - before[name] for name in ("keyspace_hits", "keyspace_misses")] == [0, 0]


def test_our_look_ups_are_subtracted_to_the_unit(private_redis):
    url = lfu(private_redis)
    with client(url) as reader:
        reader.mset({f"page:{number}": "x" for number in range(300)})
        reader.set("export", "x" * 2_000_000)
        probe = Probe(Deadline(10.0), client_name="diag/test")
        with probe, source.connect(RedisTarget(url=url), probe) as session:
            first = source.redis_load(session, Scope())
            source.redis_keys(session, Scope())
            for _ in range(70):
                reader.get("page:1")
            reader.get("nothing")
            second = source.redis_load(session, Scope())
    assert session.own.hits == 302, "OBJECT FREQ of every key, TYPE of the one that is big"
    assert (second.keyspace_hits - first.keyspace_hits, second.keyspace_misses - first.keyspace_misses) == (70, 1)


@pytest.mark.parametrize("keys", [300, 6_000])
def test_only_harmless_commands_are_sent_by_the_servers_own_books(private_redis, keys):
    url = lfu(private_redis)
    with client(url) as oracle:
        oracle.mset({f"page:{number}": "x" for number in range(keys)})
        oracle.set("export", "x" * 2_000_000)
        oracle.config_resetstat()
        dirty = oracle.info("persistence")["rdb_changes_since_last_save"]
        look(url)
        told = oracle.info("commandstats")
        assert oracle.info("persistence")["rdb_changes_since_last_save"] == dirty
    sent = {name.removeprefix("cmdstat_") for name in told} - {"config|resetstat"}
    assert sent <= ASKED, "no command that reads a value is among them"
    assert told["cmdstat_type"]["calls"] <= 20 if "cmdstat_type" in told else keys > 5_000


def test_names_that_are_no_text_come_as_they_are(private_redis):
    url = lfu(private_redis)
    with client(url) as writer:
        writer.mset(dict.fromkeys(HOSTILE, "x"))
    seen = look(url)
    assert {one.key.as_bytes for one in seen.biggest} == set(HOSTILE)
    assert {one.key.as_bytes for one in seen.hottest} == set(HOSTILE)
    assert all(one.key.visible.isprintable() for one in (*seen.biggest, *seen.hottest))


def test_only_the_asked_pattern_is_weighed(private_redis):
    url = private_redis().url
    with client(url) as writer:
        writer.mset({f"{name}:{number}": "x" for name in ("page", "session") for number in range(50)})
    seen = look(url, match="page:*")
    assert [one.pattern.raw for one in seen.families] == ["page:{n}"]
    assert (seen.narrowed, seen.total_keys, seen.exhaustive) == (True, 50, True)


def test_a_pattern_that_names_nothing_is_said(private_redis):
    (gap,) = look(private_redis().url, match="page:*").gaps
    assert (gap.fact, gap.fix.raw) == ("sizes", "check --match")


def test_other_logical_databases_are_counted_not_looked_at(private_redis):
    url = private_redis().url
    with client(url) as zero, client(url.replace("/0", "/3")) as three:
        zero.set("a", "x")
        three.mset({"b": "x", "c": "x"})
    seen = look(url)
    assert (seen.total_keys, seen.other_keys, seen.database) == (1, 2, 0)


LEAST = ("+info", "+dbsize", "+time", "+scan", "+randomkey")
RIGHTS = {
    "sizes": (("+object|freq", "+config|get", "%R~*"), {"sizes": "+memory|usage %R~*"}),
    "frequencies": (("+memory|usage", "+config|get", "%R~*"), {"frequencies": "+object|freq %R~*"}),
    "the settings": (("+memory|usage", "+object|freq", "%R~*"), {"lfu_settings": "+config|get"}),
    "any key": (
        ("+memory|usage", "+object|freq", "+config|get"),
        {"sizes": "+memory|usage %R~*", "frequencies": "+object|freq %R~*"},
    ),
}


@pytest.mark.parametrize(("granted", "gaps"), RIGHTS.values(), ids=RIGHTS.keys())
def test_a_right_that_is_missing_is_a_gap_with_the_line_that_grants_it(private_redis, granted, gaps):
    url = lfu(private_redis)
    with client(url) as admin:
        admin.mset({f"page:{number}": "x" for number in range(20)})
        admin.execute_command("ACL", "SETUSER", "oncall", "on", ">pass-canary", "-@all", *LEAST, *granted)
        asked = url.replace("redis://", "redis://oncall:pass-canary@")
        seen = look(asked)
        assert {one.fact: one.fix.raw for one in seen.gaps} == {
            fact: f"ACL SETUSER oncall {right}" for fact, right in gaps.items()
        }
        assert bool(seen.families) == ("sizes" not in gaps)
        assert bool(seen.counters) == ("frequencies" not in gaps)
        admin.execute_command("ACL", "SETUSER", "oncall", *(right for line in gaps.values() for right in line.split()))
        assert look(asked).gaps == ()


def test_a_role_that_may_not_even_draw_keys_is_told_what_it_lacks(private_redis):
    url = private_redis().url
    with client(url) as admin:
        admin.set("a", "x")
        admin.execute_command("ACL", "SETUSER", "oncall", "on", ">pass-canary", "-@all", "+info", "+dbsize", "+time")
    with pytest.raises(Denied) as refused:
        look(url.replace("redis://", "redis://oncall:pass-canary@"))
    assert refused.value.fix.startswith("ACL SETUSER oncall +scan")


def test_a_silent_server_costs_the_deadline_and_no_more(private_redis):
    url = private_redis().url
    with client(url) as admin:
        admin.client_pause(5_000)
        started = time.monotonic()
        with pytest.raises(TooSlow):
            look(url, deadline_s=0.7)
        assert time.monotonic() - started < 1.2
