"""`diag lab`: up, break, heal, down, and what happens when somebody or something interferes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import psycopg
import pytest

from diag.errors import DiagError, UsageError
from diag.lab import process, scenario, services, supervisor
from diag.lab import state as states
from diag.lab.keeper import environment
from diag.lab.process import Identity
from diag.lab.servers import MissingServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from diag.lab.servers import PostgresServer, RedisServer
    from diag.lab.state import LabState

_SCENARIOS = Path(__file__).parent / "scenarios_for_tests"
_LOCKED = "pg-locks/sleeping-holder"
_GONE_S = 30.0


@pytest.fixture(autouse=True)
def no_lab_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A state folder of the test's own; afterwards a lab that is still up goes down."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    yield
    if supervisor.state() is not None:
        supervisor.request("down")


@pytest.fixture
def lab(postgres: PostgresServer, redis_server: RedisServer) -> LabState:
    """A detached lab of PostgreSQL and Redis (asking for the shared ones skips the test when these are missing)."""
    return supervisor.up((postgres.kind, redis_server.kind), detached=True, scenarios=_SCENARIOS)


def _members(lab: LabState) -> list[Identity]:
    return [lab.supervisor, *(member for server in lab.servers.running for member in process.family(server.pid))]


def _is_locked(lab: LabState) -> bool | None:
    """Whether the table of the test scenario is locked; None when it is not there."""
    assert lab.servers.postgres is not None
    with psycopg.connect(lab.servers.postgres.dsn) as connection:
        try:
            connection.execute("LOCK TABLE orders NOWAIT")
        except psycopg.errors.LockNotAvailable:
            return True
        except psycopg.errors.UndefinedTable:
            return None
    return False


def test_a_lab_comes_up_breaks_heals_and_goes_down(lab: LabState) -> None:
    assert supervisor.state() == lab
    assert states.state_file().stat().st_mode & 0o777 == 0o600
    assert Path(lab.socket).stat().st_mode & 0o777 == 0o600
    assert all(services.is_running(server) for server in lab.servers.running)

    broken = supervisor.request("break", _LOCKED)
    assert [fault.slug for fault in broken.broken] == [_LOCKED]
    assert _is_locked(lab) is True
    assert supervisor.request("status") == broken == supervisor.state()

    healed = supervisor.request("heal")
    assert healed.broken == ()
    assert _is_locked(lab) is None  # the scenario's own clearing up ran

    members = _members(lab)
    supervisor.request("down")
    assert [member for member in members if process.is_alive(member)] == []
    assert not Path(lab.folder).exists()
    assert not states.state_file().exists()
    assert supervisor.state() is None


def test_going_down_heals_first(lab: LabState) -> None:
    fault = supervisor.request("break", _LOCKED).broken[0]
    supervisor.request("down")
    assert not process.is_alive(fault.holder)
    assert not Path(lab.folder).exists()


def test_killing_the_supervisor_leaves_no_process_and_the_next_lab_says_so(lab: LabState) -> None:
    fault = supervisor.request("break", _LOCKED).broken[0]
    members = [*_members(lab), fault.holder]
    os.kill(lab.supervisor.pid, signal.SIGKILL)
    process.wait_until(lambda: not any(process.is_alive(member) for member in members), _GONE_S)
    assert [member for member in members if process.is_alive(member)] == []

    assert supervisor.state() is None
    with pytest.raises(UsageError, match="ended without cleaning up"):
        supervisor.request("status")
    fresh = supervisor.up(("redis",), detached=True, scenarios=_SCENARIOS)
    assert f"supervisor pid {lab.supervisor.pid}" in fresh.note
    assert not Path(lab.folder).exists()


def test_a_second_supervisor_refuses_and_the_first_stays(lab: LabState) -> None:
    with pytest.raises(UsageError, match=f"up already .supervisor pid {lab.supervisor.pid}"):
        supervisor.up(("redis",), detached=True)
    with pytest.raises(UsageError, match="up already"):
        supervisor.up(("redis",), detached=False)
    assert supervisor.request("status") == lab


def test_a_foreign_pid_in_the_state_file_is_never_signalled(lab: LabState) -> None:
    assert lab.servers.redis is not None
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as foreign:
        who = process.identity(foreign.pid)
        assert who is not None
        swapped = msgspec.structs.replace(lab.servers.redis, pid=who.pid, started_ticks=who.started_ticks)
        states.write(msgspec.structs.replace(lab, servers=msgspec.structs.replace(lab.servers, redis=swapped)))
        with pytest.raises(DiagError, match="changed by somebody else"):
            supervisor.request("break", _LOCKED)
        supervisor.request("down")
        assert foreign.poll() is None
        foreign.communicate(b"\n")
    assert not services.is_running(lab.servers.redis)  # the real one is stopped all the same


def test_a_foreign_process_named_as_supervisor_is_neither_believed_nor_signalled(lab: LabState) -> None:
    supervisor.request("down")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as foreign:
        states.write(msgspec.structs.replace(lab, supervisor=Identity(foreign.pid, 1)))  # its pid, not its start
        assert supervisor.state() is None
        with pytest.raises(UsageError, match="No lab is up"):
            supervisor.request("down")
        assert f"pid {foreign.pid}" in supervisor.up(("redis",), detached=True).note
        assert foreign.poll() is None
        foreign.communicate(b"\n")


def test_a_stale_state_file_cannot_have_a_folder_removed_that_is_not_the_labs(lab: LabState, tmp_path: Path) -> None:
    supervisor.request("down")
    precious = tmp_path / "precious"
    precious.mkdir()
    states.write(msgspec.structs.replace(lab, folder=str(precious)))
    supervisor.up(("redis",), detached=True)
    assert precious.is_dir()


def test_a_state_file_that_others_may_write_is_not_believed(lab: LabState) -> None:
    states.state_file().chmod(0o666)
    with pytest.raises(DiagError, match="could have been written by somebody else"):
        supervisor.state()
    states.write(lab)


def test_an_order_without_the_nonce_is_refused(lab: LabState) -> None:
    wrong = msgspec.structs.replace(lab, nonce="0" * 32)
    for order in (b"hello\n", b"\n", msgspec.json.encode({"nonce": wrong.nonce, "command": "down"}) + b"\n"):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(lab.socket)
            client.sendall(order)
            assert b'"kind":"usage"' in client.recv(1 << 16)
    assert supervisor.request("status") == lab


def test_a_scenario_that_fails_is_told_and_leaves_the_lab_up(lab: LabState) -> None:
    with pytest.raises(DiagError, match="fails-to-start failed"):
        supervisor.request("break", "pg-locks/fails-to-start")
    assert "no luck today" in (Path(lab.folder) / "scenario.log").read_text()
    assert supervisor.request("status").broken == ()


def test_a_scenario_whose_server_this_lab_lacks_is_told(lab: LabState) -> None:
    assert lab.servers.kafka is None
    with pytest.raises(DiagError, match="needs kafka, which this lab does not run"):
        supervisor.request("break", "kafka-lag/needs-kafka")


def test_a_scenario_that_is_killed_is_noticed(lab: LabState) -> None:
    fault = supervisor.request("break", _LOCKED).broken[0]
    os.kill(fault.holder.pid, signal.SIGKILL)
    process.wait_until(lambda: not process.is_alive(fault.holder), _GONE_S)
    seen = supervisor.request("status")
    assert seen.broken == ()
    assert f"{_LOCKED} ended on its own" in seen.note
    assert seen.servers == lab.servers


def test_wrong_slugs_are_usage_errors(lab: LabState) -> None:
    assert lab.broken == ()
    with pytest.raises(UsageError, match="no scenario called pg-locks/nonsense"):
        supervisor.request("break", "pg-locks/nonsense")
    with pytest.raises(UsageError, match="not in effect"):
        supervisor.request("heal", _LOCKED)
    supervisor.request("break", _LOCKED)
    with pytest.raises(UsageError, match="in effect already"):
        supervisor.request("break", _LOCKED)


def test_in_the_foreground_it_stays_until_a_signal_and_then_cleans_up(redis_server: RedisServer) -> None:
    body = (
        "from diag.lab import supervisor\n"
        f"supervisor.up(({redis_server.kind!r},), detached=False, ready=lambda lab: print(lab.folder, flush=True))\n"
        "print('left in order')\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", body], stdout=subprocess.PIPE, text=True, env=environment()
    ) as foreground:
        assert foreground.stdout is not None
        folder = Path(foreground.stdout.readline().strip())
        lab = supervisor.state()
        assert lab is not None
        assert lab.supervisor.pid == foreground.pid
        foreground.send_signal(signal.SIGTERM)
        assert foreground.stdout.read() == "left in order\n"
    assert foreground.returncode == 0
    assert not folder.exists()
    assert not any(services.is_running(server) for server in lab.servers.running)


def test_without_a_lab_orders_are_usage_errors() -> None:
    assert supervisor.state() is None
    with pytest.raises(UsageError, match=r"^No lab is up\.$"):
        supervisor.request("status")


def test_an_unknown_server_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="no server called mongo"):
        supervisor.up(("mongo",), detached=True)


def test_a_missing_server_is_told_by_a_detached_lab_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingServer, match="redis-server") as caught:
        supervisor.up(("redis",), detached=True)
    assert caught.value.hint == "make deps"
    assert supervisor.state() is None


def test_scenarios_are_the_files_there_are() -> None:
    assert scenario.slugs(_SCENARIOS) == ("kafka-lag/needs-kafka", "pg-locks/fails-to-start", _LOCKED)
    assert scenario.file_of(_LOCKED, _SCENARIOS).is_file()
