"""A role that may not do everything: what it lacks costs that, and no more, and the line that grants it is printed."""

from __future__ import annotations

import threading

import pytest
import redis
from running import diagnosed

COUNTERS = ("-@all", "+info", "+time", "+config|get")


LACKS = {
    "the keys": (COUNTERS, ("families", "ACL SETUSER oncall +scan +randomkey +pexpiretime +pttl %R~*")),
    "the time, without which no expiry is known": (
        [right for right in COUNTERS if right != "+time"],
        ("expiry", "ACL SETUSER oncall +time"),
    ),
}


@pytest.mark.parametrize(("granted", "lacks"), LACKS.values(), ids=LACKS.keys())
def test_counters_alone_still_answer_what_they_can(private_redis, granted, lacks):
    server = private_redis()
    with redis.Redis(port=server.port) as admin:
        admin.execute_command("ACL", "SETUSER", "oncall", "on", ">pass-canary", *granted)
    report = diagnosed("cache-hit", "--redis-url", f"redis://oncall:pass-canary@127.0.0.1:{server.port}")
    assert {one["check"]: one["outcome"] for one in report["checks"]} == dict.fromkeys(
        ("cache-hit/evictions", "cache-hit/low-hit-ratio", "cache-hit/memory-full", "cache-hit/no-expiry"), "clear"
    )
    assert [(gap["fact"], gap["fix"]) for gap in report["gaps"]] == [lacks]
    assert report["verdict"] == "clear"


def test_hot_keys_are_unknown_without_the_right_to_their_counters_and_big_ones_are_not(private_redis):
    server = private_redis(directives=["maxmemory-policy allkeys-lfu"])
    with redis.Redis(port=server.port) as admin:
        admin.set("a", "x")
        granted = ("+dbsize", "+scan", "+randomkey", "+memory|usage", "%R~*")
        admin.execute_command("ACL", "SETUSER", "oncall", "on", ">pass-canary", *COUNTERS, *granted)
    report = diagnosed("cache-hot-keys", "--redis-url", f"redis://oncall:pass-canary@127.0.0.1:{server.port}")
    outcomes = {one["check"]: one["outcome"] for one in report["checks"]}
    assert outcomes == {"cache-hot-keys/big-key": "clear", "cache-hot-keys/hot-key": "unknown"}
    assert [(gap["fact"], gap["fix"]) for gap in report["gaps"]] == [
        ("frequencies", "ACL SETUSER oncall +object|freq %R~*")
    ]
    assert report["verdict"] == "unknown"


def test_missed_keys_are_named_where_no_access_is_counted(private_redis):
    """Without LFU, the server's own keymiss events name the key that everybody asks for."""
    server = private_redis(directives=["notify-keyspace-events Em"])
    report = asked_meanwhile(server, "limits:config")
    (found,) = report["findings"]
    assert (found["check"], found["subject"], found["basis"]) == (
        "cache-hot-keys/hot-key",
        {"key": "limits:config"},
        "observed",
    )


def asked_meanwhile(server, key: str) -> dict:
    """Look while somebody asks for a key that is not there."""
    enough = threading.Event()

    def ask() -> None:
        with redis.Redis(port=server.port) as reader:
            while not enough.wait(0.005):
                reader.get(key)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        return diagnosed("cache-hot-keys", "--redis-url", server.url, "--interval", "1")
    finally:
        enough.set()
        asking.join()
