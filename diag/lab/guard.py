"""End a stopped server when its owner ends: a stopped process cannot act on a signal to shut down.

Run by path, isolated: ``python -I -S guard.py PID STARTED_TICKS``, standard input a pipe
from the owner. A byte means "it runs again, go"; the end of the pipe means the owner is gone.
"""

import os
import signal
import sys
from pathlib import Path


def family(root_pid: int) -> list[int]:
    """List the pids of `root_pid` and of everything it started, parents first."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text("utf-8", "replace")
            except OSError:  # it ended while we looked
                continue
            parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    pids = [root_pid]
    for pid in pids:  # grows while it is walked
        pids.extend(child for child, parent in parents.items() if parent == pid)
    return pids


def main(pid: int, started_ticks: int) -> None:
    """Wait for the owner's word or end; in the second case kill the server, unless its pid is another's now."""
    if sys.stdin.buffer.read(1):
        return
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except OSError:
        return
    if int(stat.rpartition(")")[2].split()[19]) != started_ticks:
        return
    for member in family(pid):
        try:
            os.kill(member, signal.SIGKILL)
        except ProcessLookupError:
            continue


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
