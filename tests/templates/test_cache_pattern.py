"""The shipped cache pattern on a real Redis: what it prevents is prevented, what it costs is what it says."""

from __future__ import annotations

import importlib.util
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis

from diag import places
from diag.lab import services

KEY = "limits:config"
READERS = 50


@pytest.fixture(scope="module")
def pattern():
    spec = importlib.util.spec_from_file_location("cache_pattern", places.templates() / "cache_pattern.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def server(private_redis):
    return private_redis()


@pytest.fixture
def client(pattern, server):
    with pattern.connect(server.url, patience_s=5.0) as client:
        yield client


class Database:
    """Answers after a while, and counts: how many loads, and how many at once."""

    def __init__(self, takes_s: float = 0.3) -> None:
        self.takes_s, self.loads, self.inside, self.most = takes_s, 0, 0, 0
        self._lock = threading.Lock()

    def load(self) -> bytes:
        with self._lock:
            self.loads += 1
            mine = self.loads
            self.inside += 1
            self.most = max(self.most, self.inside)
        time.sleep(self.takes_s)  # the query
        with self._lock:
            self.inside -= 1
        return b"load %d" % mine


def all_at_once(read, readers=READERS):
    """Let all readers begin in one moment; returns what each got, and how long it took."""
    together = threading.Barrier(readers)

    def one(_):
        together.wait()
        began = time.monotonic()
        return read(), time.monotonic() - began

    with ThreadPoolExecutor(readers) as pool:
        return list(pool.map(one, range(readers)))


def near(client, left_s, *, cache):
    """Put the key where `left_s` of its time to live are left; below 0 it is stale."""
    client.set(KEY, b"old", px=round((left_s + cache.grace_s) * 1000))


def without(client, database):
    """Read as everybody does it: look, load, store."""
    value = client.get(KEY)
    if value is None:
        value = database.load()
        client.set(KEY, value, ex=3_600)
    return value


def test_fifty_readers_of_one_missing_key_load_it_once_and_without_the_pattern_fifty_times(pattern, client):
    database, cache = Database(), pattern.Cache(client, ttl_s=3_600, recompute_p999_s=5)
    assert {value for value, _ in all_at_once(lambda: cache.read(KEY, database.load))} == {b"load 1"}
    assert database.loads == 1
    assert not client.exists(f"{KEY}:lock")
    client.delete(KEY)
    bare = Database()
    all_at_once(lambda: without(client, bare))
    assert bare.loads == READERS


@pytest.mark.parametrize("left_s", [50.0, -50.0], ids=["early", "stale"])
def test_one_refreshes_and_all_others_get_the_old_value_at_once(pattern, client, left_s):
    database, cache = Database(takes_s=1.0), pattern.Cache(client, ttl_s=1_000, recompute_p999_s=5)
    near(client, left_s, cache=cache)
    answers = all_at_once(lambda: cache.read(KEY, database.load))
    assert Counter(value for value, _ in answers) == {b"load 1": 1, b"old": READERS - 1}
    assert max(took for value, took in answers if value == b"old") < database.takes_s
    assert cache.read(KEY, database.load) == b"load 1"
    assert database.loads == 1


def test_before_the_early_window_nobody_loads(pattern, client):
    database, cache = Database(), pattern.Cache(client, ttl_s=1_000, recompute_p999_s=5)
    near(client, 101.0, cache=cache)
    assert cache.read(KEY, database.load) == b"old"
    assert database.loads == 0


def test_when_the_grace_is_over_the_old_value_is_gone(pattern, client):
    database, cache = Database(takes_s=0), pattern.Cache(client, ttl_s=1, recompute_p999_s=5, grace_s=0.0)
    client.set(KEY, b"old", px=1)
    until(lambda: not client.exists(KEY))
    assert cache.read(KEY, database.load) == b"load 1"


def test_when_the_holder_was_killed_another_goes_on_within_the_life_of_its_lock(pattern, client):
    database, cache = Database(takes_s=0.05), pattern.Cache(client, ttl_s=3_600, recompute_p999_s=1.0)
    client.set(f"{KEY}:lock", "of a process that is gone", nx=True, px=1_000)
    answers = all_at_once(lambda: cache.read(KEY, database.load))
    assert {value for value, _ in answers} == {b"load 1"}
    assert max(took for _, took in answers) < cache.lock_s + 1.0
    assert database.loads == 1


def test_a_load_longer_than_the_lock_is_repeated_as_often_as_it_says(pattern, client):
    database, cache = Database(takes_s=1.0), pattern.Cache(client, ttl_s=3_600, recompute_p999_s=0.4, wait_s=10)
    all_at_once(lambda: cache.read(KEY, database.load), readers=20)
    assert 2 <= database.loads <= 1 + int(database.takes_s / cache.lock_s)
    assert not client.exists(f"{KEY}:lock")


def test_a_holder_that_is_late_leaves_the_lock_of_another_alone(pattern, client):
    cache = pattern.Cache(client, ttl_s=3_600, recompute_p999_s=5)

    def late():
        client.set(f"{KEY}:lock", "of another", px=60_000)
        return b"late"

    assert cache.read(KEY, late) == b"late"
    assert client.get(f"{KEY}:lock") == b"of another"


def test_times_to_live_differ_by_a_fifth_both_ways(pattern, client):
    cache = pattern.Cache(client, ttl_s=1_000, recompute_p999_s=5, grace_s=100)
    for number in range(1_000):
        cache.store(f"page:{number}", b"")
    lives_s = sorted(client.pttl(f"page:{number}") / 1000 - 100 for number in range(1_000))
    assert 795 < lives_s[0] < 820
    assert 1_180 < lives_s[-1] <= 1_200
    fullest = max(sum(at <= other < at + 5 for other in lives_s) for at in lives_s)
    assert fullest < 50  # of 1,000 that would all have expired in one moment


def test_a_loader_that_fails_frees_the_lock_and_the_old_value_is_served(pattern, client, caplog):
    cache = pattern.Cache(client, ttl_s=1_000, recompute_p999_s=60)

    def fails():
        raise OSError("the database is away")

    with pytest.raises(OSError, match="away"):
        cache.read(KEY, fails)
    assert cache.read(KEY, lambda: b"back") == b"back"
    near(client, -50, cache=cache)
    assert cache.read(KEY, fails) == b"old"
    assert "could not be refreshed" in caplog.text


def test_without_redis_loads_are_bounded_and_without_the_pattern_they_are_not(pattern, client, server):
    services.stop(server)
    database, cache = Database(takes_s=0.05), pattern.Cache(client, ttl_s=3_600, recompute_p999_s=10, loads_at_once=4)
    answers = all_at_once(lambda: cache.read(KEY, database.load))
    assert len(answers) == READERS
    assert database.most <= 4
    bare = Database(takes_s=0.3)

    def read():
        try:
            return without(client, bare)
        except redis.RedisError:
            return bare.load()

    all_at_once(read)
    assert bare.most > 10


def test_without_redis_a_reader_waits_no_longer_than_it_was_told(pattern, client, server):
    services.stop(server)
    cache = pattern.Cache(client, ttl_s=3_600, recompute_p999_s=10, wait_s=0.2, loads_at_once=1)
    done, began = threading.Event(), threading.Event()

    def slow():
        began.set()
        done.wait(10)
        return b""

    holder = threading.Thread(target=cache.read, args=(KEY, slow))
    holder.start()
    began.wait(10)
    with pytest.raises(pattern.TooManyLoads):
        cache.read(KEY, slow)
    done.set()
    holder.join()


def until(true, within_s=5.0):
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)
