"""A Kafka cluster that is not there: as many brokers, groups and partitions as a test wants, in one process.

Made for what a real broker cannot be made for in seconds: scale, a slow network, old releases.
Whatever it says of Kafka's behaviour is only what we know; facts are shown on the real one.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_TESTS = Path(__file__).resolve().parent.parent
_END_S = 10.0


@dataclass(frozen=True, kw_only=True)
class Counted:
    """What the double was asked since it began, or since the last `forget`; `seen_s` has first and last by name."""

    requests: Mapping[str, Mapping[str, int]]
    cpu_s: float
    seen_s: Mapping[str, tuple[float, float]]

    @property
    def names(self) -> set[str]:
        """The APIs that were asked for."""
        return {name for counted in self.requests.values() for name in counted}

    @property
    def most_for_one_broker(self) -> int:
        """How many requests the busiest broker had."""
        return max(sum(counted.values()) for counted in self.requests.values())


class Double:
    """A running double."""

    def __init__(self, process: subprocess.Popen[str], bootstrap_servers: str) -> None:
        self._process = process
        self.bootstrap_servers = bootstrap_servers

    def count(self) -> Counted:
        """Ask what was asked."""
        return self._told("count")

    def forget(self) -> None:
        """Begin to count anew."""
        self._told("reset")

    def _told(self, word: str) -> Counted:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()
        told: dict[str, Any] = json.loads(self._process.stdout.readline())
        return Counted(**told)


@contextlib.contextmanager
def kafka_double(*words: str) -> Iterator[Double]:
    """Run a double with these command line words; it ends with the context, and with this process."""
    with subprocess.Popen(
        [sys.executable, "-m", "kafka_double", *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=_TESTS,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield Double(process, json.loads(process.stdout.readline())["bootstrap_servers"])
        finally:
            process.stdin.close()
            process.stdout.read()
            process.wait(_END_S)
