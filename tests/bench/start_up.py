"""Start-up in CPU time above a bare interpreter, beside a peer, in one interleaved run.

Prints one row for each command: median milliseconds above `python -c pass`, and the ratio to
the peer. `python tests/bench/start_up.py --peer PATH_OF_http`; writes nothing.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
from pathlib import Path

DIAG = str(Path(sys.executable).parent / "diag")
ROUNDS = 15
TARGETS_MS = {"diag --version": 15, "diag --help": 60, "diag pg-locks --help": 80, "diag kafka-lag --help": 80}


def cpu_ms(argv: list[str]) -> float:
    """Return user plus system time of one run, children included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False, env=os.environ)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime) * 1000


def main() -> None:
    """Measure every command once a round, so that noise falls on all of them alike."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--peer", help="path of httpie's http command")
    peer = parser.parse_args().peer
    commands = {
        "bare interpreter": [sys.executable, "-c", "pass"],
        "bare interpreter, again": [sys.executable, "-c", "pass"],
    }
    commands |= {name: [DIAG, *name.split()[1:]] for name in TARGETS_MS}
    commands["diag demo"] = [DIAG, "demo", "-o", "/tmp/diag-bench-report.md"]
    if peer:
        commands["http --version (httpie)"] = [peer, "--version"]
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(ROUNDS):
        for name, argv in commands.items():
            taken[name].append(cpu_ms(argv))
    bare = statistics.median(taken["bare interpreter"])
    above = {name: statistics.median(rounds) - bare for name, rounds in taken.items()}
    reference = above.get("http --version (httpie)")
    print(f"CPU ms (user + system), median of {ROUNDS}, above a bare interpreter ({bare:.1f} ms)")
    for name, ms in above.items():
        target = (
            f"  target {TARGETS_MS[name]} ms: {'met' if ms <= TARGETS_MS[name] else 'MISSED'}"
            if name in TARGETS_MS
            else ""
        )
        ratio = f"  {ms / reference:.2f} of httpie" if reference else ""
        print(f"  {name:<26}{ms:8.1f} ms{ratio}{target}")


if __name__ == "__main__":
    main()
