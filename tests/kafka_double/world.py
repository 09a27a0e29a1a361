"""The made-up cluster: its partitions with a week of records, and its groups with what they committed.

Everything follows from the shape and a seed, so two doubles of one shape answer alike, except
for their clock. Records come in a daily wave with bursts, as interpolating in time is too easy
where records come evenly.
"""

from __future__ import annotations

import bisect
import itertools
import math
import random
import time
from dataclasses import dataclass

_SEED = 709
_DAY_MINUTES, _DAYS, _MINUTE_MS = 1440, 7, 60_000
_BURST_EVERY_MINUTES, _BURST_TIMES = 97, 20.0
_RECORDS = 200_000
_MOST_LAG_RECORDS = 20_000
_EMPTY_EVERY = 5  # of the lagging groups, one in five has lost its members

Place = tuple[str, int]
"""Topic and partition."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """How large the cluster is. `in_flight` is how many records a healthy group may be behind."""

    brokers: int = 3
    topics: int = 1000
    partitions: int = 10
    groups: int = 1000
    commits: int = 100
    members: int = 3
    lagging: float = 0.05
    modern: float = 0.0
    in_flight: int = 0


@dataclass(frozen=True, kw_only=True)
class Group:
    """A group, where its coordinator is, and its commits."""

    name: str
    coordinator: int
    kind: str
    state: str
    members: int
    commits: dict[Place, int]

    def assigned(self, member: int) -> list[Place]:
        """Return what a member owns: the partitions go round."""
        return list(self.commits)[member :: self.members]


@dataclass(frozen=True, kw_only=True)
class Log:
    """A partition with `start` ≤ offset < `end`."""

    leader: int
    start: int
    end: int


class World:
    """A cluster of a `shape`."""

    def __init__(self, shape: Shape) -> None:
        chance = random.Random(_SEED)
        self.shape = shape
        self.newest_ms = int(time.time() * 1000)
        self.oldest_ms = self.newest_ms - _DAYS * _DAY_MINUTES * _MINUTE_MS
        self._curve = _cumulated_share(chance)
        self.topics = {f"topic-{number:04}": shape.partitions for number in range(shape.topics)}
        self.logs: dict[Place, Log] = {}
        for number, topic in enumerate(self.topics):
            for partition in range(shape.partitions):
                start = chance.randrange(1_000_000)
                end = start + _RECORDS + chance.randrange(_RECORDS)
                leader = 1 + (number + partition) % shape.brokers
                self.logs[topic, partition] = Log(leader=leader, start=start, end=end)
        self.groups = {group.name: group for group in self._groups(chance)}

    def written_ms(self, log: Log, offset: int) -> int:
        """Return when the record at `offset` was written."""
        share = (offset - log.start) / (log.end - log.start)
        after = bisect.bisect_right(self._curve, share)
        if after == len(self._curve):
            return self.newest_ms
        before = self._curve[after - 1]
        minutes = after - 1 + (share - before) / (self._curve[after] - before)
        return self.oldest_ms + int(minutes * _MINUTE_MS)

    def first_since(self, log: Log, moment_ms: int) -> tuple[int, int] | None:
        """Return offset and timestamp of the first record written at or after a moment, None when there is none."""
        minute, rest_ms = divmod(moment_ms - self.oldest_ms, _MINUTE_MS)
        if minute < 0:
            return log.start, self.written_ms(log, log.start)
        if minute >= len(self._curve) - 1:
            return None
        share = self._curve[minute] + (self._curve[minute + 1] - self._curve[minute]) * rest_ms / _MINUTE_MS
        offset = log.start + int(share * (log.end - log.start))
        while offset > log.start and self.written_ms(log, offset - 1) >= moment_ms:
            offset -= 1
        while offset < log.end and self.written_ms(log, offset) < moment_ms:
            offset += 1
        return (offset, self.written_ms(log, offset)) if offset < log.end else None

    def _groups(self, chance: random.Random) -> list[Group]:
        shape, topics = self.shape, list(self.topics)
        lagging = set(chance.sample(range(shape.groups), round(shape.groups * shape.lagging)))
        empty = set(sorted(lagging)[::_EMPTY_EVERY])
        modern = set(chance.sample(range(shape.groups), round(shape.groups * shape.modern)))
        groups = []
        for number in range(shape.groups):
            first = number * math.ceil(shape.commits / shape.partitions)
            read = itertools.islice(
                (
                    (topics[nth % len(topics)], partition)
                    for nth in itertools.count(first)
                    for partition in range(shape.partitions)
                ),
                shape.commits,
            )
            behind = _MOST_LAG_RECORDS if number in lagging else shape.in_flight
            groups.append(
                Group(
                    name=f"group-{number:04}",
                    coordinator=1 + number % shape.brokers,
                    kind="consumer" if number in modern else "classic",
                    state="Empty" if number in empty else "Stable",
                    members=0 if number in empty else shape.members,
                    commits={
                        on: self.logs[on].end - (chance.randint(min(1, behind), behind) if behind else 0) for on in read
                    },
                )
            )
        return groups


def _cumulated_share(chance: random.Random) -> list[float]:
    """Return which share of a week's records was written before each minute of it."""
    rates = [
        (1.2 + math.sin(2 * math.pi * minute / _DAY_MINUTES)) * (1.0 if minute % _BURST_EVERY_MINUTES else _BURST_TIMES)
        + chance.random()
        for minute in range(_DAYS * _DAY_MINUTES)
    ]
    total = sum(rates)
    return [0.0, *(min(1.0, so_far / total) for so_far in itertools.accumulate(rates))]
