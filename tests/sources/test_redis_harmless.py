"""First, do no harm: what the server's own books say of a look, and what a client beside it feels, in small."""

from __future__ import annotations

from forecasts import client, fill
from open_loop import open_loop, prefer
from running import diagnosed

from diag.config import RedisTarget
from diag.snapshots.base import Scope
from diag.sources import redis as source
from diag.wire.probe import Deadline, Probe

KEYS, SPAN_S = 100_000, 1.0
SLOW_US = 10_000  # what SLOWLOG keeps by default
HELD_UP_US = 200_000  # where the server may not have the processor before others, any command may be held up
READ_ONLY = {
    "info", "dbsize", "time", "scan", "pexpiretime", "client|setname", "client|id", "config|get", "get",
}  # fmt: skip


def test_nothing_is_changed_slow_or_miscounted_while_others_ask(private_redis):
    server = private_redis(directives=[f"slowlog-log-slower-than {SLOW_US}"])
    fill(server.url, KEYS, 0.3)
    slow_us = SLOW_US if prefer(server.pid) else HELD_UP_US
    probe = Probe(Deadline(30.0), client_name="diag/test")
    with (
        client(server.url) as oracle,
        open_loop(server.port) as others,
        probe,
        source.connect(RedisTarget(url=server.url), probe) as session,
    ):
        oracle.slowlog_reset()
        oracle.config_resetstat()
        dirty = oracle.info("persistence")["rdb_changes_since_last_save"]
        first = source.redis_load(session, Scope())
        others.begin(SPAN_S)
        for _ in range(3):
            source.redis_expiry(session, Scope())
        asked = len(others.latencies_us())
        last = source.redis_load(session, Scope())
        slow = [one for one in oracle.slowlog_get(128) if one["duration"] >= slow_us]
        sent = {name.removeprefix("cmdstat_") for name in oracle.info("commandstats")}
        assert oracle.info("persistence")["rdb_changes_since_last_save"] == dirty
    assert (last.keyspace_hits - first.keyspace_hits, last.keyspace_misses - first.keyspace_misses) == (asked, 0)
    assert [one for one in slow if one["client_name"].startswith(b"diag")] == []
    assert sent - {"slowlog|reset", "slowlog|get", "config|resetstat", "client|setinfo", "hello"} <= READ_ONLY


def test_no_connection_and_no_change_is_left_of_a_command(private_redis):
    server = private_redis()
    fill(server.url, KEYS // 10, 0.3)
    with client(server.url) as oracle:
        dirty = oracle.info("persistence")["rdb_changes_since_last_save"]
        for command in ("cache-stampede", "cache-hit"):
            diagnosed(command, "--redis-url", server.url, "--interval", "0.1")
        assert oracle.info("persistence")["rdb_changes_since_last_save"] == dirty
        assert [one["name"] for one in oracle.client_list() if one["name"]] == []
