"""On a standby the reader is the root: there the server's own `pg_blocking_pids` names nobody for the replay."""

from __future__ import annotations

import pytest
from conftest import every_major
from running import diagnosed

from diag.lab import folders, services
from diag.lab.sessions import sessions


@pytest.fixture(params=every_major())
def standby(request):
    """A standby of each major version, with its primary."""
    folder = folders.private_folder()
    server = services.start_standby(folder / "standby", major=request.param)
    yield server
    services.stop(server)
    folders.remove(folder)


def test_the_reader_is_the_root_and_never_the_startup_process(standby):
    with sessions(standby.primary_dsn) as primary, sessions(standby.dsn) as lab:
        primary.setup("CREATE TABLE shipments (id bigint PRIMARY KEY, place text)")
        lab.until("SELECT to_regclass('shipments') IS NOT NULL", "the standby does not follow")
        reader = lab.hold("reporting", "BEGIN", "SELECT count(*) FROM shipments").info.backend_pid
        primary.setup("ALTER TABLE shipments ADD COLUMN carrier text")
        lab.until("SELECT count(*) > 0 FROM pg_locks WHERE NOT granted", "replay does not wait")
        lab.crowd(3, "tracking-api", "SELECT count(*) FROM shipments WHERE place = 'Bergen'")
        asked = "SELECT pid, pg_blocking_pids(pid) FROM pg_stat_activity WHERE backend_type = 'startup'"
        ((startup, theirs),) = lab.watcher.execute(asked).fetchall()
        look = ("pg-locks", "--dsn", standby.dsn)
        report = diagnosed(*look, "--limit", "pg-locks/standby-conflict.waited_s=0")
        queue = diagnosed(*look, "--only", "pg-locks/lock-queue", "--limit", "pg-locks/lock-queue.waited_s=0")
    assert theirs == [], "the server has learnt it: the special case can go"
    waits = report["facts"]["waits"]
    assert len(waits) == 4
    assert {wait["root_pid"] for wait in waits} == {reader}
    assert [wait["blocked_by"] for wait in waits if wait["pid"] == startup] == [[reader]]
    found = report["findings"][0]
    assert (found["check"], found["subject"]["pid"]) == ("pg-locks/standby-conflict", reader)
    both = [*report["findings"], *queue["findings"]]
    commands = " ".join(str(step.get("command")) for each in both for step in each["steps"])
    assert len(both) == 2
    assert f"({startup})" not in commands
