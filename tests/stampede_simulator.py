"""Readers, a cache and a database, event by event: what one joint expiry comes to under each protection.

The oracle of `diag.analysis.protections`; it shares no formula with it. Reads come at random (Poisson); the database
serves all queries at once, sharing its workers, or as many as it has connections, first come first served; each
protection is what a client does when it reads, and when it has a connection.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from dataclasses import dataclass, field
from itertools import count
from math import exp, inf, log, sqrt

from diag.analysis.protections import MeasuredStorm, Protection

EARLY_SHARE, JITTER, LEASE_S, REFRESHES = 0.1, 0.2, 10.0, 7.0


@dataclass
class Query:
    """One recomputation: for which key, by which reader, and since when it waits."""

    key: Key
    reader: Reader
    ends: float = 0.0


@dataclass
class Reader:
    came: float
    process: int = 0


@dataclass
class Key:
    """When it expires, whether it has been written since, who holds its lock until when, who waits for it."""

    expires: float
    filled: bool = False
    began: float = inf
    locked_until: float = -inf
    busy: set[int] = field(default_factory=set)
    joined: list[Reader] = field(default_factory=list)
    served_stale: float = 0.0


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
        self.done, self.now = 0.0, 0.0
        self.queries: deque[Query] = deque()

    def _rate(self) -> float:
        return min(1.0, self.workers / len(self.queries)) if self.queries else 1.0

    def pass_to(self, now: float) -> None:
        self.done += (now - self.now) * self._rate()
        self.now = now

    def begin(self, query: Query) -> None:
        query.ends = self.done + self.work
        self.queries.append(query)

    def next_end(self) -> float:
        return self.now + max(0.0, self.queries[0].ends - self.done) / self._rate() if self.queries else inf

    def end(self) -> Query:
        return self.queries.popleft()

    def __len__(self) -> int:
        return len(self.queries)


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
        width = storm.width_s
        self.keys = [Key(self.chance.uniform(0, width) if width else 0.0) for _ in range(storm.keys)]
        if protection is Protection.JITTER and storm.ttl_s:
            for key in self.keys:
                key.expires += storm.ttl_s * JITTER * self.chance.uniform(-1, 1)
        pooled = protection in {Protection.POOL, Protection.POOL_RECHECK}
        recheck = protection is Protection.POOL_RECHECK
        self.database = (
            Pooled(storm.recompute_s, storm.database_workers, recheck=recheck)
            if pooled
            else Shared(storm.recompute_s, storm.database_workers)
        )
        self.seen, self.polls, self.order = Seen(), [], count()

    def run(self) -> Seen:
        read, now = self._first_read(), 0.0
        self.left = len(self.keys)
        while self.left or self.database.queries or self.polls:
            poll = self.polls[0][0] if self.polls else inf
            end = self.database.next_end()
            arrives = read if self.left else inf
            now = min(arrives, poll, end)
            self.database.pass_to(now)
            if end <= now:
                self._ended(self.database.end(), now)
            elif poll <= now:
                _, _, key, reader = heapq.heappop(self.polls)
                self._wait_or_recompute(key, reader, now)
            else:
                read = now + self.chance.expovariate(self.storm.reads_per_s)
                self._read(self.chance.choice(self.keys), now)
            self.seen.peak = max(self.seen.peak, len(self.database))
        self.seen.staleness = sum(key.served_stale for key in self.keys) / len(self.keys)
        self.seen.early = self.keys[0].began < self.keys[0].expires
        return self.seen

    def _first_read(self) -> float:
        begin = min(key.expires for key in self.keys)
        if self.protection in {Protection.EARLY_UNGATED, Protection.EARLY_LOCK, Protection.EARLY_PROBABILITY}:
            begin -= EARLY_SHARE * self.storm.ttl_s
        if self.protection is Protection.XFETCH:
            begin -= self.storm.recompute_s * (log(1 + self.storm.reads_per_s * self.storm.recompute_s) + 8)
        self.database.now = begin
        return begin + self.chance.expovariate(self.storm.reads_per_s)

    def _read(self, key: Key, now: float) -> None:
        if key.filled:
            return
        reader = Reader(now, self.chance.randrange(self.storm.processes or 1))
        early = now < key.expires
        if early and not self._refreshes(key, now):
            self.seen.readers += key.began < inf
            return
        self.seen.readers += 1
        match self.protection:
            case Protection.LOCK | Protection.LEASE:
                self._wait_or_recompute(key, reader, now)
            case Protection.EARLY_LOCK:
                if early and key.locked_until > now:
                    return
                self._wait_or_recompute(key, reader, now)
            case Protection.STALE:
                if key.locked_until > now:
                    key.served_stale = max(key.served_stale, now - key.expires)
                else:
                    key.served_stale = max(key.served_stale, now - key.expires)
                    self._recompute(key, reader, now)
            case Protection.PER_PROCESS if reader.process in key.busy:
                key.joined.append(reader)
            case _:
                self._recompute(key, reader, now)

    def _refreshes(self, key: Key, now: float) -> bool:
        ahead, storm = key.expires - now, self.storm
        match self.protection:
            case Protection.EARLY_UNGATED | Protection.EARLY_LOCK:
                return ahead <= EARLY_SHARE * storm.ttl_s
            case Protection.EARLY_PROBABILITY:
                each = storm.reads_per_s / storm.keys
                chance = REFRESHES / (each * EARLY_SHARE * storm.ttl_s)
                return ahead <= EARLY_SHARE * storm.ttl_s and self.refreshed is not False and self._by(chance)
            case Protection.XFETCH:
                return self._by(exp(-ahead / storm.recompute_s))
        return False

    def _by(self, chance: float) -> bool:
        return self.chance.random() < chance

    def _recompute(self, key: Key, reader: Reader, now: float) -> None:
        key.began = min(key.began, now)
        ttl = self.storm.lock_ttl_s if self.protection is not Protection.LEASE else LEASE_S
        key.locked_until = now + (ttl or inf)
        key.busy.add(reader.process)
        self.database.begin(Query(key, reader))

    def _wait_or_recompute(self, key: Key, reader: Reader, now: float) -> None:
        if key.filled:
            self.seen.waited += now - reader.came
        elif key.locked_until > now:
            heapq.heappush(self.polls, (now + self.storm.poll_s, next(self.order), key, reader))
        else:
            self._recompute(key, reader, now)

    def _ended(self, query: Query, now: float) -> None:
        self.seen.recomputations += 1
        self.seen.waited += now - query.reader.came
        if not query.key.filled:
            query.key.filled = True
            self.left -= 1
        here = query.reader.process
        for reader in [one for one in query.key.joined if one.process == here]:
            self.seen.waited += now - reader.came
            query.key.joined.remove(reader)
        if isinstance(self.database, Pooled):
            self.database.admit()
            for passed in self.database.passed:
                self.seen.waited += now - passed.reader.came
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
LEAST_RUNS = 24


def mean(storm: MeasuredStorm, protection: Protection, *, runs: int, seed: int = 0, settled: float = 0.0) -> Mean:
    """Run it up to `runs` times, fewer where the standard errors have come below the share `settled` of the means.

    Refreshes by chance come in two kinds of expiry, one of them too rare to meet by waiting for it.
    """
    rarely = protection is Protection.EARLY_PROBABILITY and storm.keys == 1
    missed = exp(-REFRESHES) if rarely else 0.0  # what p is chosen for: no read of the window refreshes
    sums, squares = [0.0] * 4, [0.0] * 4
    made = Mean((), (), 0)
    for run in range(1, runs + 1):
        one = _figures(storm, protection, seed + 7919 * run, rarely or None)
        if rarely:
            other = _figures(storm, protection, seed + 7919 * run, False)
            one = tuple((1 - missed) * usual + missed * rare for usual, rare in zip(one, other, strict=True))
        for place, figure in enumerate(one):
            sums[place] += figure
            squares[place] += figure * figure
        if run == runs or (run >= LEAST_RUNS and run % LEAST_RUNS == 0):
            figures = tuple(total / run for total in sums)
            errors = tuple(sqrt(max(0.0, s / run - m * m) / run) for s, m in zip(squares, figures, strict=True))
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
