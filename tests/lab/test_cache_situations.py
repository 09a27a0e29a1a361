"""The situations of a cache, each once: the right slug comes first, and what is no stampede is not called one."""

from __future__ import annotations

import threading
import time

import pytest
from cache_situations import HOT_KEY, SITUATIONS, Situation, duplicates_error, looked_at, problem
from running import diag

from diag.lab.cache_stampede import _load, _storms
from diag.lab.process import wait_until
from diag.lab.servers import Servers


@pytest.mark.parametrize("name", SITUATIONS)
def test_it_is_called_what_it_is(private_redis, name):
    situation = SITUATIONS[name]
    with looked_at(situation, private_redis()) as (report, load):
        assert problem(situation, report) == ""
        error = duplicates_error(report, load)
    assert error is None or error <= 0.1
    if situation.first == HOT_KEY and "hot key" in name:
        gains = {row["protection"]: row["gain"] for row in report["facts"]["protections"]}
        assert (gains["lock"], gains["jitter"]) == ("yes", "no gain")


def test_17_a_storm_on_a_replica_is_seen_from_the_primary(private_redis):
    primary = private_redis()
    replica = private_redis(directives=(f"replicaof 127.0.0.1 {primary.port}",))

    def entered(servers, seed):
        return _storms.on_a_replica(servers, seed, replica_url=replica.url)

    with _load.client(replica.url) as client:
        assert wait_until(lambda: client.info("replication")["master_link_status"] == "up", 20.0)
    situation = Situation(entered=entered, first=HOT_KEY)
    with looked_at(situation, primary) as (report, load):
        assert problem(situation, report) == ""
        assert duplicates_error(report, load) <= 0.1


def test_watching_prints_the_storm_within_two_seconds(private_redis):
    """Looks of two samples a second apart, one after the other: the first that ends after the storm began says it."""
    server = private_redis()
    said_at: list[float] = []

    def watch(until: threading.Event) -> None:
        while not until.is_set():
            ran = diag("cache-stampede", "--redis-url", server.url, "--samples", "2", "--interval", "1", "--only",
                       "cache-stampede/hot-key", "-f", "json")  # fmt: skip
            if '"severity"' in ran.stdout:
                said_at.append(time.monotonic())
                return

    enough = threading.Event()
    with _storms.hot_key(Servers(redis=server)) as load:
        watcher = threading.Thread(target=watch, args=(enough,))
        watcher.start()
        try:
            assert wait_until(lambda: load.misses[_storms.key_of(0)] > 0, 15.0)
            began_at = time.monotonic()
            assert wait_until(lambda: bool(said_at), 10.0)
        finally:
            enough.set()
            watcher.join()
    assert said_at[0] - began_at <= 4.0  # a look begins up to a start and a second before, on a machine that is busy
