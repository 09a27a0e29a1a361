"""A Redis server of one's own, in memory only.

Source: redis.conf of Redis 7.0; "Redis serialization protocol" (inline commands, bulk strings).
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from diag.lab import folders, launch, process
from diag.lab.servers import MissingServer, RedisServer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_READY_S: Final = 30.0
_ANSWER_S: Final = 1.0
_DEBUG_COMMAND_SINCE: Final = 7  # the directive; older servers always allow DEBUG


def start_redis(folder: Path, *, requirepass: str = "", directives: Sequence[str] = ()) -> RedisServer:
    """Start a server with its files below `folder`, which is made if need be and is removed by `services.stop`.

    `requirepass` is the password of the default user; `directives` are further lines of
    redis.conf and prevail. Raises MissingServer without Redis, DiagError when it does not start.
    """
    program = shutil.which("redis-server")
    if program is None:
        msg = "Redis (redis-server) is not installed."
        raise MissingServer(msg, hint="make deps")
    version = _version(program)
    workplace = folders.make(folders.make(folder) / "data")
    log, settings = folder / "redis.log", folder / "redis.conf"

    def start(ports: tuple[int, ...]) -> int:
        lines = _settings(ports[0], workplace, version, requirepass)
        folders.write_whole(settings, "\n".join([*lines, *directives, ""]).encode())
        environment = {"PATH": os.environ.get("PATH", os.defpath), "TZ": "UTC"}
        return process.spawn([program, str(settings)], log=log, env=environment, cwd=folder)

    def is_ready(pid: int, ports: tuple[int, ...]) -> bool:
        return f"process_id:{pid}\r\n" in _server_section(ports[0], requirepass)

    pid, (port,) = launch.on_free_ports("Redis", start, is_ready, ports=1, log=log, deadline_s=_READY_S)
    who = process.identity(pid)
    credentials = f":{quote(requirepass, safe='')}@" if requirepass else ""
    return RedisServer(
        pid=pid,
        started_ticks=who.started_ticks if who else 0,
        port=port,
        data_folder=str(workplace),
        log=str(log),
        version=version,
        url=f"redis://{credentials}{launch.HOST}:{port}/0",
    )


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
    words = ([["AUTH", requirepass]] if requirepass else []) + [["INFO", "server"], ["QUIT"]]
    request = b"".join(_command(command) for command in words)
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
