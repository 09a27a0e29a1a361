"""A client that asks a Redis server so often a second whatever becomes of it, and how long each request took.

Latency counts from when a request was due, so that a stall is felt by every request that falls into it.
Run as a script, in a process of its own: `open_loop.py PORT`; each line on stdin is a span in seconds, and each
answer on stdout the latencies in microseconds, as one JSON list.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

RATE = 2_000
_FIRST, _SECOND = 10, 5
_ASK = b"*2\r\n$3\r\nGET\r\n$6\r\npage:1\r\n"
_SPIN_S = 0.00003  # what a sleep may be late by


def prefer(pid: int, *, before_all: bool = True) -> bool:
    """Give a process the processor before all ordinary ones, or just behind those; False where it is not permitted."""
    try:
        os.sched_setscheduler(pid, os.SCHED_RR, os.sched_param(_FIRST if before_all else _SECOND))
    except OSError:
        return False
    return True


class OpenLoop:
    """The client's other end."""

    def __init__(self, child: subprocess.Popen[str]) -> None:
        self._child = child

    def begin(self, span_s: float) -> None:
        """Let it ask for so long from now on."""
        assert self._child.stdin
        self._child.stdin.write(f"{span_s}\n")
        self._child.stdin.flush()

    def latencies_us(self) -> list[float]:
        """Wait until it has ended; return what every request took."""
        assert self._child.stdout
        return json.loads(self._child.stdout.readline())


@contextlib.contextmanager
def open_loop(port: int) -> Iterator[OpenLoop]:
    """Start the client, and stop it afterwards."""
    words = [sys.executable, str(Path(__file__).resolve()), str(port)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        yield OpenLoop(child)
        child.terminate()


def percentile(values: list[float], share: float) -> float:
    """Return the value that so large a share does not exceed."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def _asked(connection: socket.socket, span_s: float) -> list[float]:
    started, taken = time.monotonic(), []
    for number in range(int(span_s * RATE)):
        due = started + number / RATE
        left_s = due - time.monotonic()
        if left_s > _SPIN_S:
            time.sleep(left_s - _SPIN_S)
        while time.monotonic() < due:
            pass
        connection.sendall(_ASK)
        connection.recv(1024)
        taken.append(round((time.monotonic() - due) * 1e6, 1))
    return taken


def main() -> None:
    """Ask for every span that is written on stdin."""
    prefer(os.getpid())
    with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for line in sys.stdin:
            print(json.dumps(_asked(connection, float(line))), flush=True)  # noqa: T201  its answer


if __name__ == "__main__":
    main()
