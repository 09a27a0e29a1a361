"""Readers, a cache and a database, event by event: what one joint expiry comes to under each protection.

The oracle of `diag.analysis.protections`; it shares no formula with it. Reads come at random (Poisson), key by key, as
long as they can change something; the database serves all queries at once, sharing its workers, or as many as it has
connections, first come first served; each protection is what a client does when it reads, and when it has a connection.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from dataclasses import dataclass
from itertools import count
from math import ceil, exp, inf, log, sqrt

from diag.analysis.protections import MeasuredStorm, Protection

EARLY_SHARE, JITTER, LEASE_S, REFRESHES = 0.1, 0.2, 10.0, 7.0
_EARLY = {Protection.EARLY_UNGATED, Protection.EARLY_LOCK, Protection.EARLY_PROBABILITY}
_LOCKS = {Protection.LOCK, Protection.LEASE}


class Query:
    """One recomputation: for which key, by which reader's process, and since when it waits."""

    __slots__ = ("came", "ends", "key", "process")

    def __init__(self, key: Key, came: float, process: int) -> None:
        self.key, self.came, self.process, self.ends = key, came, process, 0.0


class Key:
    """When it expires, whether it has been written since, who holds its lock until when, who waits for it."""

    __slots__ = ("began", "busy", "expires", "filled", "joined", "locked_until", "served_stale")

    def __init__(self, expires: float) -> None:
        self.expires, self.filled, self.began = expires, False, inf
        self.locked_until, self.served_stale = -inf, 0.0
        self.busy: set[int] = set()
        self.joined: list[tuple[float, int]] = []


@dataclass
class Seen:
    recomputations: int = 0
    peak: int = 0
    readers: int = 0
    waited: float = 0.0
    staleness: float = 0.0
    early: bool = False

    @property
    def added_wait_s(self) -> float:
        return self.waited / max(1, self.readers)


class Shared:
    """A database that works on all its queries at once, each at min(1, workers / queries)."""

    def __init__(self, work: float, workers: int) -> None:
        self.work, self.workers = work, workers
        self.done, self.now = 0.0, -inf
        self.queries: deque[Query] = deque()

    def pass_to(self, now: float) -> None:
        inside = len(self.queries)
        if inside:
            self.done += (now - self.now) * (self.workers / inside if inside > self.workers else 1.0)
        self.now = now

    def begin(self, query: Query) -> None:
        query.ends = self.done + self.work
        self.queries.append(query)

    def next_end(self) -> float:
        inside = len(self.queries)
        if not inside:
            return inf
        left = max(0.0, self.queries[0].ends - self.done)
        return self.now + (left * inside / self.workers if inside > self.workers else left)


class Pooled(Shared):
    """A database behind a pool: as many at once as it has workers, the others in a queue."""

    def __init__(self, work: float, workers: int, *, recheck: bool) -> None:
        super().__init__(work, workers)
        self.queue: deque[Query] = deque()
        self.recheck = recheck
        self.passed: list[Query] = []

    def begin(self, query: Query) -> None:
        self.queue.append(query)
        self.admit()

    def admit(self) -> None:
        while self.queue and len(self.queries) < self.workers:
            query = self.queue.popleft()
            if self.recheck and query.key.filled:
                self.passed.append(query)
            else:
                super().begin(query)


class Storm:
    """One expiry of all keys, from before the first early refresh until all is written and the database is idle."""

    def __init__(self, storm: MeasuredStorm, protection: Protection, seed: int, *, refreshed: bool | None = None):
        self.storm, self.protection = storm, protection
        self.refreshed = refreshed  # force that somebody, or nobody, refreshes early: both are rare somewhere
        self.chance = random.Random(seed)
        self.each_per_s = storm.reads_per_s / storm.keys
        self.ahead_s = self._ahead_s()
        spread_s = storm.ttl_s * JITTER if protection is Protection.JITTER and storm.ttl_s else 0.0
        self.keys = [
            Key(self.chance.uniform(0, storm.width_s) + spread_s * self.chance.uniform(-1, 1))
            for _ in range(storm.keys)
        ]
        pooled = protection in {Protection.POOL, Protection.POOL_RECHECK}
        recheck = protection is Protection.POOL_RECHECK
        self.database = (
            Pooled(storm.recompute_s, storm.database_workers, recheck=recheck)
            if pooled
            else Shared(storm.recompute_s, storm.database_workers)
        )
        self.order = count()
        self.reads = [(self._next(key.expires - self.ahead_s), next(self.order), key) for key in self.keys]
        heapq.heapify(self.reads)
        self.polls: list[tuple[float, int, Key, float]] = []
        self.seen = Seen()

    def _ahead_s(self) -> float:
        storm = self.storm
        if self.protection in _EARLY:
            return EARLY_SHARE * storm.ttl_s
        if self.protection is Protection.XFETCH:
            return storm.recompute_s * (log(1 + self.each_per_s * storm.recompute_s) + 8)
        return 0.0

    def _next(self, now: float) -> float:
        return now + self.chance.expovariate(self.each_per_s)

    def run(self) -> Seen:
        database, seen, reads, polls = self.database, self.seen, self.reads, self.polls
        while reads or polls or database.queries:
            read = reads[0][0] if reads else inf
            poll = polls[0][0] if polls else inf
            end = database.next_end()
            if end <= read and end <= poll:
                database.pass_to(end)
                self._ended(database.queries.popleft(), end)
            elif poll <= read:
                _, _, key, came = heapq.heappop(polls)
                database.pass_to(poll)
                self._wait_or_recompute(key, came, poll)
            else:
                key = reads[0][2]
                if key.filled:
                    heapq.heappop(reads)
                    continue
                heapq.heapreplace(reads, (self._next(read), next(self.order), key))
                database.pass_to(read)
                self._read(key, read)
            seen.peak = max(seen.peak, len(database.queries))
        seen.staleness = sum(key.served_stale for key in self.keys) / len(self.keys)
        seen.early = self.keys[0].began < self.keys[0].expires
        return seen

    def _read(self, key: Key, now: float) -> None:
        early = now < key.expires
        if early and not self._refreshes(key, now):
            self.seen.readers += key.began < inf
            return
        self.seen.readers += 1
        match self.protection:
            case Protection.LOCK | Protection.LEASE:
                self._wait_or_recompute(key, now, now)
            case Protection.EARLY_LOCK:
                if not early or key.locked_until <= now:
                    self._wait_or_recompute(key, now, now)
            case Protection.STALE:
                key.served_stale = max(key.served_stale, now - key.expires)
                if key.locked_until <= now:
                    self._recompute(key, now, now)
            case Protection.PER_PROCESS:
                process = self.chance.randrange(self.storm.processes or 1)
                if process in key.busy:
                    key.joined.append((now, process))
                else:
                    self._recompute(key, now, now, process)
            case _:
                self._recompute(key, now, now)

    def _refreshes(self, key: Key, now: float) -> bool:
        match self.protection:
            case Protection.EARLY_UNGATED | Protection.EARLY_LOCK:
                return True
            case Protection.EARLY_PROBABILITY:
                return self.refreshed is not False and self._by(REFRESHES / (self.each_per_s * self.ahead_s))
            case Protection.XFETCH:
                return self._by(exp((now - key.expires) / self.storm.recompute_s))
        return False

    def _by(self, chance: float) -> bool:
        return self.chance.random() < chance

    def _lock_s(self) -> float:
        return LEASE_S if self.protection is Protection.LEASE else self.storm.lock_ttl_s or inf

    def _recompute(self, key: Key, came: float, now: float, process: int = 0) -> None:
        key.began = min(key.began, now)
        key.locked_until = now + self._lock_s()
        key.busy.add(process)
        self.database.begin(Query(key, came, process))

    def _wait_or_recompute(self, key: Key, came: float, now: float) -> None:
        if key.filled:
            self.seen.waited += now - came
        elif key.locked_until == inf:
            key.joined.append((came, -1))  # it polls in vain until the key is filled, see `_ended`
        elif key.locked_until > now:
            heapq.heappush(self.polls, (now + self.storm.poll_s, next(self.order), key, came))
        else:
            self._recompute(key, came, now)

    def _ended(self, query: Query, now: float) -> None:
        seen, key, poll_s = self.seen, query.key, self.storm.poll_s
        seen.recomputations += 1
        seen.waited += now - query.came
        key.filled = True
        if key.joined:
            here = query.process
            for came, process in key.joined:
                if process == here:
                    seen.waited += now - came
                elif process < 0:
                    seen.waited += ceil((now - came) / poll_s) * poll_s
            key.joined = [one for one in key.joined if one[1] not in {here, -1}]
        if isinstance(self.database, Pooled):
            self.database.admit()
            for passed in self.database.passed:
                seen.waited += now - passed.came
            self.database.passed.clear()


@dataclass(frozen=True)
class Mean:
    """The means over runs, in the order of `FIGURES`, and their standard errors."""

    figures: tuple[float, ...]
    errors: tuple[float, ...]
    runs: int

    def settled(self, share: float) -> bool:
        return all(error <= share * figure for figure, error in zip(self.figures, self.errors, strict=True))


FIGURES = ("recomputations", "database_peak_queries", "added_wait_s", "staleness_s")
LEAST_RUNS, LEAST_KEYS = 24, 2_000


def mean(storm: MeasuredStorm, protection: Protection, *, runs: int, seed: int = 0, settled: float = 0.0) -> Mean:
    """Run it up to `runs` times, fewer where the standard errors have come below the share `settled` of the means.

    Refreshes by chance come in two kinds of expiry, one of them too rare to meet by waiting for it.
    """
    rarely = protection is Protection.EARLY_PROBABILITY and storm.keys == 1
    missed = exp(-REFRESHES) if rarely else 0.0  # what p is chosen for: no read of the window refreshes
    sums, squares = [0.0] * 4, [0.0] * 4
    made = Mean((), (), 0)
    few = max(3, min(LEAST_RUNS, LEAST_RUNS * LEAST_KEYS // (storm.keys * 10)))
    for run in range(1, runs + 1):
        one = _figures(storm, protection, seed + 7919 * run, rarely or None)
        if rarely:
            other = _figures(storm, protection, seed + 7919 * run, False)
            one = tuple((1 - missed) * usual + missed * rare for usual, rare in zip(one, other, strict=True))
        for place, figure in enumerate(one):
            sums[place] += figure
            squares[place] += figure * figure
        if run == runs or run % few == 0:
            figures = tuple(total / run for total in sums)
            spreads = (max(0.0, square / run - one * one) for square, one in zip(squares, figures, strict=True))
            errors = tuple(sqrt(spread / max(1, run - 1)) for spread in spreads)
            made = Mean(figures, errors, run)
            if made.settled(settled):
                break
    return made


def _figures(storm: MeasuredStorm, protection: Protection, seed: int, refreshed: bool | None) -> tuple[float, ...]:
    one = Storm(storm, protection, seed, refreshed=refreshed).run()
    while refreshed and not one.early:  # that is the other kind
        seed += 1
        one = Storm(storm, protection, seed, refreshed=refreshed).run()
    return one.recomputations, one.peak, one.added_wait_s, one.staleness
