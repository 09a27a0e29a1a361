"""The real command, run as its user runs it, and what every ending of it has to hold."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

GRACE_S = 0.5
"""How much later than its deadline a command may end."""
NO_TARGET, UNKNOWN, CLEAR = 69, 3, 0
_CLOCK = time.CLOCK_BOOTTIME  # what /proc counts in, to 10 ms
_START_TIME = 19  # field 22 of /proc/PID/task/TID/stat, counted from the third
_POLL_S = 0.005
_OUTER_LIMIT_S = 15.0  # a command that outlives this is killed: the test fails, and does not hang
_WORDS = {
    "postgres": ("pg-locks", "--dsn", "postgresql://postgres@{address}/postgres"),
    "redis": ("cache-stampede", "--redis-url", "redis://{address}/0"),
    "kafka": ("kafka-lag", "--bootstrap-servers", "{address}"),
}
KINDS = tuple(_WORDS)


def words_for(kind: str, address: str) -> tuple[str, ...]:
    """Return the command line that looks at one server of a kind, one sample only."""
    return (*(word.format(address=address) for word in _WORDS[kind]), "--samples", "1")


@dataclass(frozen=True, kw_only=True)
class Ran:
    """How a command ended."""

    code: int
    stdout: str
    stderr: str
    started_at: float
    began_at: float
    ended_at: float

    @property
    def start_s(self) -> float:
        """From the start of the process until the first look began: interpreter and command line."""
        return self.began_at - self.started_at

    @property
    def took_s(self) -> float:
        """From the beginning of the first look, just after the clock began to run, to the end of the process."""
        return self.ended_at - self.began_at

    @property
    def report(self) -> dict[str, Any]:
        """The one JSON object on stdout. Raises `ValueError` for anything else, also for a second one."""
        return json.loads(self.stdout, parse_constant=_refuse)

    @property
    def gap(self) -> dict[str, Any]:
        """The only gap of the report."""
        (gap,) = self.report["gaps"]
        return gap


def run(words: Sequence[str], deadline_s: float, home: Path, *, before: Sequence[str] = ()) -> Ran:
    """Run `diag` with a clean environment; `before` is put in front of the interpreter's command line."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8"}
    argv = [*before, sys.executable, "-m", "diag", *words, "--format", "json", "--deadline", str(deadline_s)]
    started_at = time.clock_gettime(_CLOCK)
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as child:
        began_at = _began_at(child) or started_at
        try:
            stdout, stderr = child.communicate(timeout=_OUTER_LIMIT_S)
        except subprocess.TimeoutExpired:
            child.kill()
            stdout, stderr = child.communicate()
            stderr += f"\nstill running after {_OUTER_LIMIT_S:.0f} s: {argv}"
    ended_at = time.clock_gettime(_CLOCK)
    times = {"started_at": started_at, "began_at": began_at, "ended_at": ended_at}
    return Ran(code=child.returncode, stdout=stdout, stderr=stderr, **times)


def _began_at(child: subprocess.Popen[str]) -> float | None:
    """Wait for the first thread beside the main one, that of a look, and return when the kernel started it.

    None when the process ends before one was seen.
    """
    tasks = Path(f"/proc/{child.pid}/task")
    while child.poll() is None:
        with contextlib.suppress(OSError):  # it has just ended
            others = [task / "stat" for task in tasks.iterdir() if task.name != str(child.pid)]
            ticks = [int(stat.read_text().rpartition(")")[2].split()[_START_TIME]) for stat in others]
            if ticks:
                return min(ticks) / os.sysconf("SC_CLK_TCK")
        time.sleep(_POLL_S)
    return None


def _refuse(word: str) -> None:
    message = f"{word} is not JSON"
    raise ValueError(message)
