"""A simulated database: queries of one length, workers that share the processor or serve in turn.

Processor sharing: with n queries at once on c workers each gets min(1, c/n) of a worker; queries of one
length finish in the order in which they came. First come, first served: c at a time, the rest waits.
Source: Kleinrock, "Queueing Systems" vol. 2, ch. 4 (processor sharing).
"""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

Asked = TypeVar("Asked")


class SharedDatabase(Generic[Asked]):
    """Every query runs at once, and slows down all others."""

    def __init__(self, query_s: float, workers: int) -> None:
        """`query_s` is a query on a worker of its own."""
        self._query_s, self._workers = query_s, workers
        self._running: deque[tuple[float, Asked]] = deque()
        self._worked_s = 0.0  # by each running query, since the start
        self._at = 0.0
        self.queries = 0

    def ask(self, at: float, asked: Asked) -> None:
        """Begin a query at a moment not before the last one."""
        self._advance(at)
        self._running.append((self._worked_s + self._query_s, asked))
        self.queries += 1

    def done(self, at: float) -> list[Asked]:
        """Return what has been answered by then, in order."""
        answered: list[Asked] = []
        while self._running:
            rate = min(1.0, self._workers / len(self._running))
            ends_at = self._at + (self._running[0][0] - self._worked_s) / rate
            if ends_at > at:
                break
            self._advance(ends_at)
            answered.append(self._running.popleft()[1])
        self._advance(at)
        return answered

    def _advance(self, at: float) -> None:
        if self._running and at > self._at:
            self._worked_s += (at - self._at) * min(1.0, self._workers / len(self._running))
        self._at = max(self._at, at)


class QueueingDatabase(Generic[Asked]):
    """As many queries at once as there are workers; the rest waits in the order in which it came."""

    def __init__(self, query_s: float, workers: int) -> None:
        """`query_s` is a query on a worker of its own."""
        self._query_s = query_s
        self._free_at = [0.0] * workers
        self._running: deque[tuple[float, Asked]] = deque()
        self.queries = 0

    def ask(self, at: float, asked: Asked) -> None:
        """Begin a query, or let it wait for the first free worker."""
        worker = min(range(len(self._free_at)), key=self._free_at.__getitem__)
        self._free_at[worker] = max(at, self._free_at[worker]) + self._query_s
        self._running.append((self._free_at[worker], asked))
        self.queries += 1

    def done(self, at: float) -> list[Asked]:
        """Return what has been answered by then, in order: queries of one length end as they began."""
        answered: list[Asked] = []
        while self._running and self._running[0][0] <= at:
            answered.append(self._running.popleft()[1])
        return answered
