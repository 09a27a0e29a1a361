"""A Redis server of one's own, in memory only.

Source: redis.conf of Redis 7.0; "Redis serialization protocol" (inline commands, bulk strings).
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from diag.errors import DiagError
from diag.lab import folders, launch, process
from diag.lab.servers import MissingServer, RedisServer

if TYPE_CHECKING:
    from collections.abc import Sequence

_READY_S: Final = 30.0
_ANSWER_S: Final = 1.0
_SLOTS: Final = 16_384
_DEBUG_COMMAND_SINCE: Final = 7  # the directive; older servers always allow DEBUG


def start_redis(
    folder: Path, *, requirepass: str = "", directives: Sequence[str] = (), program: str = "", cluster: bool = False
) -> RedisServer:
    """Start a server with its files below `folder`, which is made if need be and is removed by `services.stop`.

    `requirepass` is the password of the default user; `directives` are further lines of
    redis.conf and prevail. `program` is another server than the installed one, such as Valkey's; with `cluster`
    it may be joined to others by `join`. Raises MissingServer without Redis, DiagError when it does not start.
    """
    found = program or shutil.which("redis-server")
    if found is None:
        msg = "Redis (redis-server) is not installed."
        raise MissingServer(msg, hint="make deps")
    version = _version(found)
    workplace = folders.make(folders.make(folder) / "data")
    log, settings = folder / "redis.log", folder / "redis.conf"

    def start(ports: tuple[int, ...]) -> int:
        lines = _settings(ports[0], workplace, version, requirepass)
        lines += ["cluster-enabled yes", f"cluster-port {ports[1]}"] if cluster else []
        folders.write_whole(settings, "\n".join([*lines, *directives, ""]).encode())
        environment = {"PATH": os.environ.get("PATH", os.defpath), "TZ": "UTC"}
        return process.spawn([found, str(settings)], log=log, env=environment, cwd=folder)

    def is_ready(pid: int, ports: tuple[int, ...]) -> bool:
        return f"process_id:{pid}\r\n" in _server_section(ports[0], requirepass)

    pid, ports = launch.on_free_ports("Redis", start, is_ready, ports=2 if cluster else 1, log=log, deadline_s=_READY_S)
    who = process.identity(pid)
    credentials = f":{quote(requirepass, safe='')}@" if requirepass else ""
    return RedisServer(
        pid=pid,
        started_ticks=who.started_ticks if who else 0,
        port=ports[0],
        data_folder=str(workplace),
        log=str(log),
        version=version,
        url=f"redis://{credentials}{launch.HOST}:{ports[0]}/0",
    )


def join(servers: Sequence[RedisServer], *, requirepass: str = "") -> None:
    """Make one cluster of servers that were started for it, each with an equal part of the slots.

    Raises DiagError when they do not find each other in time.
    """
    bounds = [number * _SLOTS // len(servers) for number in range(len(servers) + 1)]
    words = [["AUTH", requirepass]] if requirepass else []
    for server, first, end in zip(servers, bounds, bounds[1:], strict=False):
        slots = ["CLUSTER", "ADDSLOTSRANGE", str(first), str(end - 1)]
        meet = ["CLUSTER", "MEET", launch.HOST, str(servers[0].port), str(_bus_port(servers[0]))]
        _answer(server.port, [*words, slots, meet])
    ask = [*words, ["CLUSTER", "INFO"]]
    known = f"cluster_known_nodes:{len(servers)}"
    settled = process.wait_until(
        lambda: all(
            "cluster_state:ok" in told and known in told for told in (_answer(one.port, ask) for one in servers)
        ),
        _READY_S,
    )
    if not settled:
        msg = f"The cluster did not settle within {_READY_S:.0f} s: {process.last_words(Path(servers[0].log))}"
        raise DiagError(msg)


def _bus_port(server: RedisServer) -> int:
    written = (Path(server.log).parent / "redis.conf").read_text("utf-8")
    found = re.search(r"^cluster-port (\d+)$", written, re.MULTILINE)
    return int(found[1]) if found else server.port + 10_000


def _version(program: str) -> str:
    shown = subprocess.run(  # noqa: S603  argv, no shell; ends at once
        [program, "--version"], capture_output=True, text=True, check=False, timeout=_READY_S
    ).stdout
    found = re.search(r"v=(\d+(?:\.\d+)*)", shown)
    return found.group(1) if found else "0"


def _settings(port: int, workplace: Path, version: str, requirepass: str) -> list[str]:
    lines = [
        f"bind {launch.HOST}",
        f"port {port}",
        "protected-mode yes",
        'save ""',
        "appendonly no",
        "daemonize no",
        f"dir {_quoted(str(workplace))}",
    ]
    if int(version.partition(".")[0]) >= _DEBUG_COMMAND_SINCE:
        lines.append("enable-debug-command local")
    if requirepass:
        lines.append(f"requirepass {_quoted(requirepass)}")
    return lines


def _server_section(port: int, requirepass: str) -> str:
    """Ask for INFO server; empty when there is no such answer (yet)."""
    words = [["AUTH", requirepass]] if requirepass else []
    return _answer(port, [*words, ["INFO", "server"]])


def _answer(port: int, words: Sequence[list[str]]) -> str:
    """Send commands and return all that is said to them; empty when nobody answers (yet)."""
    request = b"".join(_command(command) for command in [*words, ["QUIT"]])
    answer = bytearray()
    try:
        with socket.create_connection((launch.HOST, port), _ANSWER_S) as connection:
            connection.settimeout(_ANSWER_S)
            connection.sendall(request)
            while piece := connection.recv(1 << 16):
                answer += piece
    except OSError:
        return ""
    return answer.decode("utf-8", "replace")


def _command(words: list[str]) -> bytes:
    encoded = [word.encode() for word in words]
    parts = [b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded]
    return b"*%d\r\n" % len(parts) + b"".join(parts)


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
