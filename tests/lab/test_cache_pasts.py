"""A cache and its database, recorded and live: what winds the storms, who was first, and what only looks alike."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
import redis
from running import diagnosed, target

from diag.lab import prometheus
from diag.lab.cache_stampede._pasts import READS_PER_S, Stretch, recorded

HOUR_S = 3_600.0
PERIODIC, COUPLING = "cache-stampede/periodic-storm", "cache-stampede/database-coupling"
STORMS = tuple(Stretch(ago_s, 12.0, READS_PER_S * 0.9) for ago_s in (6_300.0, 4_900.0, 2_750.0, 1_130.0))
JOBS = tuple(Stretch(ago_s, 60.0, 500.0) for ago_s in (5_600.0, 3_800.0, 1_900.0))


def looked(servers, samples, *options):
    with prometheus.recorded(servers.prometheus, samples):
        report = diagnosed("cache-stampede", *target("cache-stampede", servers), *options)
    assert report["gaps"] == []
    return report


def named(report):
    return [found["check"] for found in report["findings"]]


def said(found):
    return {one["name"]: one["value"] for one in found["evidence"]}


def outcomes(report):
    return {one["check"]: one["outcome"] for one in report["checks"]}


@pytest.fixture
def recording(servers_for):
    return servers_for(("redis", "prometheus"))


def test_a_job_on_the_hour_is_not_taken_for_a_time_to_live(recording):
    now_s = time.time()
    storms = [Stretch(now_s % HOUR_S + n * HOUR_S - 1.0, 12.0, READS_PER_S * 0.9) for n in range(1, 8)]
    report = looked(recording, recorded(9 * HOUR_S, storms, queries_per_miss=0.0, now_s=now_s), "--history", "9h")
    (found,) = report["findings"]
    assert (found["check"], said(found)["wound by"]) == (PERIODIC, "clock")
    assert abs(said(found)["period"] - HOUR_S) < 1
    assert said(found)["round period"] == HOUR_S


def test_the_time_to_live_of_an_hour_is_told_with_its_drift(recording):
    storms = [Stretch(1_200.0 + n * 3_612.0, 12.0, READS_PER_S * 0.9) for n in range(6)]
    report = looked(recording, recorded(7 * HOUR_S, storms, queries_per_miss=0.0), "--history", "7h")
    (found,) = report["findings"]
    assert (found["check"], said(found)["wound by"]) == (PERIODIC, "time to live")
    assert abs(said(found)["period"] - 3_612) < 2
    assert abs(said(found)["period less time to live"] - 12) < 2


@pytest.mark.parametrize(
    ("storms", "jobs"), [(STORMS, ()), ((), JOBS), (STORMS, JOBS)], ids=["dips", "jobs", "each by itself"]
)
def test_what_only_happens_on_one_side_is_not_coupled(recording, storms, jobs):
    report = looked(recording, recorded(2 * HOUR_S, storms, queries_per_miss=0.0, jobs=jobs), "--history", "2h")
    assert named(report) == []
    assert outcomes(report)[COUPLING] == "clear"


def test_a_database_in_trouble_first_is_told_at_one_second_and_left_open_at_fifteen(recording):
    fine = tuple(Stretch(ago_s, 12.0, READS_PER_S * 0.9) for ago_s in (1_500.0, 900.0, 310.0))
    report = looked(recording, recorded(1_800.0, fine, scrape_s=1.0, database_first_s=6.0), "--history", "30m")
    assert named(report) == [COUPLING]
    assert said(report["findings"][0])["order"] == "database first"
    report = looked(recording, recorded(2 * HOUR_S, STORMS, database_first_s=6.0), "--history", "2h")
    assert named(report) == [COUPLING]
    assert said(report["findings"][0])["order"] == "not decidable"


def test_queries_a_miss_are_those_of_the_scenario(servers_for):
    from diag.lab.cache_stampede import database_coupling

    servers = servers_for(database_coupling.NEEDS)
    with database_coupling.broken(servers):
        report = diagnosed("cache-stampede", *target("cache-stampede", servers), *database_coupling.OPTIONS)
    (found,) = report["findings"]
    assert said(found)["queries a miss"] == pytest.approx(database_coupling.QUERIES_PER_MISS, rel=0.1)
    assert said(found)["explained"] >= 0.9


@contextmanager
def readers(servers, *, storm_after_s: float, storm_s: float, per_s: float = 250.0) -> Iterator[None]:
    """Read a page of the cache again and again, from the database where it is missed; for a while it always is."""
    done = threading.Event()

    def read() -> None:
        with redis.Redis.from_url(servers.redis.url) as cache, psycopg.connect(servers.postgres.dsn) as database:
            database.autocommit = True
            cache.set("limits:config", "all of them")
            begun, number = time.monotonic(), 0
            while not done.wait(max(0.0, begun + number / per_s - time.monotonic())):
                number += 1
                struck = storm_after_s <= time.monotonic() - begun < storm_after_s + storm_s
                if cache.get("limits:absent" if struck or number % 50 == 0 else "limits:config") is None:
                    database.execute("SELECT count(*) FROM pg_class")
            cache.delete("limits:config")

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield
    finally:
        done.set()
        reader.join()


def test_live_misses_are_tied_to_the_queries_that_they_run(servers_for):
    servers = servers_for(("redis", "postgres"))
    with readers(servers, storm_after_s=14.0, storm_s=6.0):
        only = ("--only", COUPLING, "--samples", "60", "--interval", "0.6", "--deadline", "20")
        report = diagnosed("cache-stampede", *target("cache-stampede", servers), *only)
    (found,) = report["findings"]
    assert said(found)["queries a miss"] == pytest.approx(1.0, rel=0.15)
    assert said(found)["explained"] >= 0.9
    assert said(found)["order"] == "not decidable"
