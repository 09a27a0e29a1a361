"""How fast keys may be looked at on one connection, by what our own round trips say of the server.

A look that hurts shows first in its own round trips: they share the server's one thread with everybody else's.
The rate is halved when their p95 doubles, and the look ends with what it has when they stay
5 ms above what a bare round trip took before.
"""

from __future__ import annotations

import math
import statistics
import time
from collections import deque
from pathlib import Path

from diag.sources.redis.connection import Session, ask
from diag.wire.probe import Probe

BATCH_KEYS = 50
"""Keys of one SCAN and of one batch of look-ups: 0.1 ms each; the batch, not the rate, is what others may wait for."""
_SCHEDULED = Path("/proc/thread-self/schedstat")  # nanoseconds run, nanoseconds queued, times run
AHEAD = 4
"""Batches under way in a full pass: the server works on one while we read another."""
_KEYS_PER_S = 20_000
_BARE_TRIPS, _BARE_S = 5, 0.02  # cheap round trips before, as many as fit: a far server gets one
_RECENT = 20  # batches: 0.05 s at full rate
_P95 = 0.95
_SOME = 5  # batches that make a state of what could be one hiccup
_MOST_HALVINGS = 3  # 2,500 keys/s; from there on it is the machine between that is slow, or we stop
_DOUBLED = 2.0
_FELT_S = 0.0005  # half a millisecond: below, a doubling is the scheduler's
_SUFFERING_S = 0.005
_LEAST_TIME = 0.25  # of the command's deadline, left for whatever comes after the sample
_TOGETHER = 20  # most batches under way at a time, to a server so far away that one would leave it idle


class Pace:
    """Counts what may be sent next; says when to stop and why."""

    def __init__(self, probe: Probe, bare_s: float, names_per_s: float = 0, keys_per_s: float = _KEYS_PER_S) -> None:
        """Begin at full rate; `bare_s` is a bare round trip, `names_per_s` how many names may be looked through.

        With a rate without bounds, for a full pass that a person asked for, the time alone ends it.
        """
        self._probe = probe
        self.bare_s = bare_s
        self._keys_per_s = float(keys_per_s)
        self._names_per_s = float(names_per_s or keys_per_s)
        self._usual_s = 0.0
        self._recent: deque[float] = deque(maxlen=_RECENT)
        self.halved = 0
        self.why = ""

    @property
    def together(self) -> int:
        """Batches that are under way at a time: one, unless the server is so far away that it would idle."""
        return max(1, min(_TOGETHER, int(self.bare_s / self.rest_s))) if self.rest_s else AHEAD

    @property
    def rest_s(self) -> float:
        """Seconds from one batch to the next, when it looks up few keys."""
        return BATCH_KEYS / self._names_per_s

    @property
    def stopped(self) -> bool:
        """True when nothing more may be asked; `why` says it in words."""
        if not self.why and self._probe.deadline.remaining_s < _LEAST_TIME * self._probe.deadline.allowed_s:
            self.why = "the time was up"
        return bool(self.why)

    def took(self, trip_s: float) -> None:
        """Note how long a batch took from its sending to its last reply."""
        if math.isinf(self._keys_per_s):
            return
        self._recent.append(trip_s)
        if len(self._recent) < _SOME:
            return
        lately_s = statistics.median(list(self._recent)[-_SOME:])
        if lately_s > self.bare_s + max(_SUFFERING_S, self.bare_s / 2):  # a long way varies by itself
            self.why = f"round trips rose from {self.bare_s * 1000:.1f} to {lately_s * 1000:.1f} ms"
        if len(self._recent) < _RECENT:
            return
        high_s = sorted(self._recent)[math.ceil(_P95 * _RECENT) - 1]
        if not self._usual_s:
            self._usual_s = high_s
        elif high_s > max(_DOUBLED * self._usual_s, self._usual_s + _FELT_S) and self.halved < _MOST_HALVINGS:
            self._keys_per_s /= 2
            self._names_per_s /= 2
            self.halved += 1
            self._recent.clear()

    def rest(self, since: float, keys: int = 0) -> None:
        """Wait until the batch after one that was sent at `since` (monotonic) and looked up so many keys."""
        left_s = max(self.rest_s, keys / self._keys_per_s) - (time.monotonic() - since)
        if left_s > 0:
            self._probe.wait(left_s)


def clock_s() -> float:
    """Return a monotonic time that stands still while this thread waits for a processor: no server is to blame."""
    try:
        queued_ns = int(_SCHEDULED.read_bytes().split()[1])
    except (OSError, ValueError, IndexError):  # not Linux, or a kernel that does not count it
        queued_ns = 0
    return time.monotonic() - queued_ns / 1e9


def bare_trip_s(session: Session) -> float:
    """Time a few round trips that ask for nothing; return the median."""
    taken: list[float] = []
    while len(taken) < _BARE_TRIPS and sum(taken) < _BARE_S:
        started_s = clock_s()
        ask(session, [("TIME",)])
        taken.append(clock_s() - started_s)
    return statistics.median(taken)
