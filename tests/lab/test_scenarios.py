"""Every check's fault, really in effect on a real server, is named first; before and after, nothing is."""

from __future__ import annotations

import importlib

import pytest
from running import diagnosed, target

from diag import catalog


@pytest.mark.parametrize("slug", catalog.slugs())
def test_the_fault_is_named_first(slug, lab_servers):
    command = slug.partition("/")[0]
    scenario = importlib.import_module(f"diag.lab.{slug.replace('-', '_').replace('/', '.')}")
    with scenario.broken(lab_servers):
        report = diagnosed(command, *target(command, lab_servers))
    assert [found["check"] for found in report["findings"]][:1] == [slug]
    assert report["verdict"] in {"warning", "critical"}
    assert report["gaps"] == []


@pytest.mark.parametrize("command", catalog.commands())
def test_a_healthy_server_is_clear(command, lab_servers):
    report = diagnosed(command, *target(command, lab_servers))
    assert (report["verdict"], report["findings"], report["gaps"]) == ("clear", [], [])


def test_the_lock_queue_is_told_as_it_is(lab_servers):
    scenario = importlib.import_module("diag.lab.pg_locks.lock_queue")
    with scenario.broken(lab_servers):
        report = diagnosed("pg-locks", *target("pg-locks", lab_servers))
    (found,) = report["findings"]
    waits = report["facts"]["waits"]
    root, migration = found["subject"]["pid"], waits[0]["pid"]
    assert len(waits) == 1 + scenario.READERS
    assert (waits[0]["kind"], waits[0]["blocked_by"]) == ("hard", [root])
    assert all((wait["kind"], wait["blocked_by"]) == ("soft", [migration]) for wait in waits[1:])
    assert {wait["root_pid"] for wait in waits} == {root}
    assert "@" not in str(report), "a literal of the statements got through"


def test_the_dead_group_is_measured_as_it_is(lab_servers):
    scenario = importlib.import_module("diag.lab.kafka_lag.dead_group")
    with scenario.broken(lab_servers):
        report = diagnosed("kafka-lag", *target("kafka-lag", lab_servers), "--samples", "1")
    rows = report["facts"]["partitions"]
    assert sum(row["lag_records"] for row in rows) == scenario.RECORDS - 300
    assert 500 < max(row["lag_s"] for row in rows) < 640
    assert report["findings"][0]["explained"][0]["check"] == "kafka-lag/time-lag"


def test_the_cliff_is_foreseen_to_the_second(lab_servers):
    scenario = importlib.import_module("diag.lab.cache_stampede.expiry_cliff")
    with scenario.broken(lab_servers):
        report = diagnosed("cache-stampede", *target("cache-stampede", lab_servers))
    keys = {one["name"]: one["value"] for one in report["findings"][0]["evidence"]}
    assert keys["at least"] * 0.97 <= scenario.CLIFF_KEYS <= keys["at most"] * 1.03
    assert [row["pattern"] for row in report["facts"]["expiry_clusters"]] == ["product:page:{n}", "session:{hash}"]
