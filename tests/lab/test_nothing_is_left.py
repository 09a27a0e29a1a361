"""kill -9 of whoever owns the servers leaves no process, whatever the servers were doing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from psycopg.pq import PGconn

from diag.lab import folders, process
from diag.lab.keeper import environment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from diag.lab.process import Identity
    from diag.lab.servers import Servers

_GONE_S = 30.0
_PREPARED_S = 60.0

# Starts the servers that its arguments name, says who they are, pauses them if asked, and waits to be killed.
_OWNER = """
import sys, time
import msgspec
from diag.lab import folders, process, services
folder = folders.private_folder()
kinds = [word for word in sys.argv[1:] if word != "paused"]
servers = [services.start(kind, folder / kind) for kind in kinds]
if "paused" in sys.argv:
    for server in servers:
        services.pause(server)
print(msgspec.json.encode([str(folder), servers]).decode(), flush=True)
while True:
    time.sleep(1)
"""


class _Owned:
    """The servers of a process that is about to be killed."""

    def __init__(self, line: str) -> None:
        folder, servers = json.loads(line)
        self.folder = Path(folder)
        self.dsns = [server["dsn"] for server in servers if server["kind"] == "postgres"]
        self.roots = [server["pid"] for server in servers]

    def members(self) -> list[Identity]:
        """Every process of every server, as of now."""
        return [member for pid in self.roots for member in process.family(pid)]


@contextmanager
def _owner(*words: str) -> Iterator[tuple[subprocess.Popen[str], _Owned]]:
    owner = subprocess.Popen(
        [sys.executable, "-c", _OWNER, *words], stdout=subprocess.PIPE, text=True, env=environment()
    )
    try:
        assert owner.stdout is not None
        line = owner.stdout.readline()
        assert line, "the owner ended before its servers were up"
        owned = _Owned(line)
        yield owner, owned
        folders.remove(owned.folder)
    finally:
        owner.kill()
        owner.communicate()


def _kill_and_see(owner: subprocess.Popen[str], members: list[Identity]) -> None:
    os.kill(owner.pid, signal.SIGKILL)
    owner.wait()
    process.wait_until(lambda: not any(process.is_alive(member) for member in members), _GONE_S)
    assert [member for member in members if process.is_alive(member)] == []


def test_all_three_servers_end_with_a_killed_owner(lab_servers: Servers) -> None:
    kinds = [server.kind for server in lab_servers.running]  # asked for so that a missing server skips this, too
    with _owner(*kinds) as (owner, owned):
        members = owned.members()
        assert len(members) > len(kinds)  # PostgreSQL is several processes
        _kill_and_see(owner, members)


def test_a_backend_that_computes_ends_too(lab_servers: Servers) -> None:
    assert lab_servers.postgres is not None
    with _owner("postgres") as (owner, owned):
        client = PGconn.connect(owned.dsns[0].encode())
        busy = client.backend_pid
        client.send_query(b"SELECT count(*) FROM generate_series(1, 1000000000000)")
        assert process.wait_until(lambda: "SELECT" in _command_line(busy), _PREPARED_S)
        members = owned.members()
        assert busy in {member.pid for member in members}
        _kill_and_see(owner, members)
        client.finish()


def test_paused_servers_end_although_a_stopped_process_obeys_nothing_but_a_kill(lab_servers: Servers) -> None:
    kinds = [server.kind for server in lab_servers.running]
    with _owner(*kinds, "paused") as (owner, owned):
        _kill_and_see(owner, owned.members())


def test_the_files_of_a_killed_owner_go_when_the_next_folder_is_made(lab_servers: Servers) -> None:
    assert lab_servers.redis is not None
    with _owner("redis") as (owner, owned):
        _kill_and_see(owner, owned.members())
        assert owned.folder.is_dir()
        folders.remove(folders.private_folder())
        assert not owned.folder.exists()


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text("utf-8", "replace")
    except OSError:
        return ""
