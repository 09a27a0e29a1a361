"""Redis as a source: a fair sample, and commands the server's own statistics agree with."""

from __future__ import annotations

import time

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from diag.analysis.key_families import families
from diag.config import RedisTarget
from diag.errors import Denied, Rung, TooSlow
from diag.snapshots.base import Scope
from diag.sources import redis as source
from diag.wire.probe import Deadline, Probe

READ_ONLY = {"info", "dbsize", "time", "randomkey", "scan", "pexpiretime", "pttl", "client|setname", "select", "auth"}


def client(url: str) -> redis.Redis:
    return redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0))


def look(url: str, *, scope: Scope | None = None, deadline_s: float = 10.0, **target):
    probe = Probe(Deadline(deadline_s), client_name="diag/test")
    with probe, source.connect(RedisTarget(url=url, **target), probe) as session:
        return source.redis_expiry(session, scope or Scope())


def test_a_small_database_is_seen_whole(private_redis):
    url = private_redis().url
    with client(url) as writer:
        writer.set("limits:config", "x")
        for number in range(40):
            writer.set(f"page:{number}", "x", ex=100 + number)
    seen = look(url)
    assert (seen.exhaustive, seen.sampled_keys, seen.total_keys) == (True, 41, 41)
    by_pattern = {one.pattern.raw: one for one in seen.families}
    assert by_pattern["limits:config"].without_expiry == 1
    assert [round(at) for at in by_pattern["page:{n}"].expires_in_s] == pytest.approx(range(100, 140), abs=2)


def test_a_large_database_is_sampled_fairly(private_redis):
    url = private_redis().url
    with client(url) as writer, writer.pipeline(transaction=False) as pipeline:
        for number in range(30_000):
            pipeline.set(f"{'page' if number % 10 < 3 else 'session'}:{number}", "x", ex=1_000)
        pipeline.execute()
    seen = look(url)
    share = next(one.sampled for one in seen.families if one.pattern.raw == "page:{n}") / seen.sampled_keys
    assert (seen.exhaustive, seen.sampled_keys, seen.total_keys) == (False, 5_000, 30_000)
    assert share == pytest.approx(0.3, abs=0.035), "five standard errors of a fair sample of 5,000"


def test_only_the_asked_pattern_is_walked(private_redis):
    url = private_redis().url
    with client(url) as writer:
        for number in range(50):
            writer.set(f"page:{number}", "x", ex=100)
            writer.set(f"session:{number}", "x", ex=100)
    seen = look(url, scope=Scope(match="page:*"))
    assert [one.pattern.raw for one in seen.families] == ["page:{n}"]


def test_only_harmless_commands_are_sent_by_the_servers_own_books(private_redis):
    url = private_redis().url
    with client(url) as oracle:
        for number in range(6_000):
            oracle.set(f"k:{number}", "x")
        oracle.config_resetstat()
        look(url)
        sent = {name.removeprefix("cmdstat_") for name in oracle.info("commandstats")}
        dirty = oracle.info("persistence")["rdb_changes_since_last_save"]
        look(url)
        assert oracle.info("persistence")["rdb_changes_since_last_save"] == dirty
    assert sent - {"config|resetstat"} <= READ_ONLY


def test_our_own_look_ups_are_not_in_the_counters(private_redis):
    url = private_redis().url
    with client(url) as reader:
        reader.set("a", "1")
        reader.get("a")
        reader.get("nothing")
    first, second = look(url), look(url)
    assert (first.keyspace_hits, first.keyspace_misses) == (1, 1)
    assert second.keyspace_hits >= first.keyspace_hits


def test_a_wrong_password_is_tried_once_and_at_once(private_redis):
    server = private_redis(requirepass="right-canary-1")
    started = time.monotonic()
    with pytest.raises(Denied) as refused:
        look(server.url.replace("right-canary-1", "wrong-canary-2"))
    assert refused.value.rung is Rung.AUTH
    assert time.monotonic() - started < 0.5
    assert "canary" not in refused.value.message


def test_no_password_where_one_is_needed_stops_on_the_auth_rung(private_redis):
    server = private_redis(requirepass="right-canary-1")
    with pytest.raises(Denied) as refused:
        look(f"redis://127.0.0.1:{server.port}")
    assert refused.value.rung is Rung.AUTH


def test_a_forbidden_command_is_a_line_that_grants_it(private_redis):
    server = private_redis()
    with client(server.url) as admin:
        admin.set("a", "1")
        admin.execute_command("ACL", "SETUSER", "oncall", "on", ">pass-canary", "+info", "+dbsize", "+time", "+select")
    seen = look(f"redis://oncall:pass-canary@127.0.0.1:{server.port}")
    (missing,) = seen.gaps
    assert (missing.fact, missing.fix.raw) == (
        "families",
        "ACL SETUSER oncall +scan +randomkey +pexpiretime +pttl %R~*",
    )
    assert (seen.families, seen.total_keys, seen.keyspace_misses) == ((), 1, 0), "the counters are still told"


def test_a_silent_server_costs_the_deadline_and_no_more(private_redis):
    server = private_redis()
    with client(server.url) as admin:
        admin.client_pause(5_000)
        started = time.monotonic()
        with pytest.raises(TooSlow):
            look(server.url, deadline_s=0.7)
        assert time.monotonic() - started < 1.2


FAMILIES = {
    "numbers": (["product:page:1", "product:page:2"], {"product:page:{n}"}),
    "uuids": (["u:123e4567-e89b-12d3-a456-426614174000"], {"u:{uuid}"}),
    "hashes, one of them all digits": (["s:0123456789abcdef", "s:0123456789012345"], {"s:{hash}"}),
    "few words are words": (["cfg:limits", "cfg:rates"], {"cfg:limits", "cfg:rates"}),
    "many words are values": ([f"user:name{chr(97 + n // 26)}{chr(97 + n % 26)}x" for n in range(30)], {"user:{s}"}),
    "two schemas stay two": (["v41:product:1", "v42:product:1"], {"v{n}:product:{n}"}),
    "a bare name": (["counter"], {"counter"}),
}


@pytest.mark.parametrize(("names", "patterns"), FAMILIES.values(), ids=FAMILIES.keys())
def test_names_fold_into_families(names, patterns):
    assert set(families(names).values()) == patterns
