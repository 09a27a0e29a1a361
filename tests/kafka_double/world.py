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
_RECORDS = 200_000  # of each partition
_MOST_EARLIER_MS = 600_000
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
    """A partition with `start` ≤ offset < `end`, whose records came `earlier_ms` before those of the others."""

    leader: int
    start: int
    end: int
    earlier_ms: int


class World:
    """A cluster of a `shape`."""

    def __init__(self, shape: Shape) -> None:
        chance = random.Random(_SEED)
        self.shape = shape
        self.oldest_ms = int(time.time() * 1000) - _DAYS * _DAY_MINUTES * _MINUTE_MS
        self._written_ms = _written_ms(chance, self.oldest_ms)
        self.topics = {f"topic-{number:04}": shape.partitions for number in range(shape.topics)}
        self.logs = {
            (topic, partition): Log(
                leader=1 + (number + partition) % shape.brokers,
                start=(start := chance.randrange(1_000_000)),
                end=start + len(self._written_ms),
                earlier_ms=chance.randrange(_MOST_EARLIER_MS),
            )
            for number, topic in enumerate(self.topics)
            for partition in range(shape.partitions)
        }
        self.groups = {group.name: group for group in self._groups(chance)}

    def written_ms(self, log: Log, offset: int) -> int:
        """Return when the record at `offset` was written."""
        return self._written_ms[offset - log.start] - log.earlier_ms

    def first_since(self, log: Log, moment_ms: int) -> tuple[int, int] | None:
        """Return offset and timestamp of the first record written at or after a moment, None when there is none."""
        nth = bisect.bisect_left(self._written_ms, moment_ms + log.earlier_ms)
        if nth == len(self._written_ms):
            return None
        return log.start + nth, self._written_ms[nth] - log.earlier_ms

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


def _written_ms(chance: random.Random, oldest_ms: int) -> list[int]:
    """Return when each of a partition's records was written: all partitions have this week, a little shifted."""
    rates = [
        (1.2 + math.sin(2 * math.pi * minute / _DAY_MINUTES)) * (1.0 if minute % _BURST_EVERY_MINUTES else _BURST_TIMES)
        + chance.random()
        for minute in range(_DAYS * _DAY_MINUTES)
    ]
    whole, moments, due = sum(rates), [], 0.0
    for minute, rate in enumerate(rates):
        due += rate / whole * _RECORDS
        count = round(due) - len(moments)
        start_ms = oldest_ms + minute * _MINUTE_MS
        moments += [start_ms + nth * _MINUTE_MS // count for nth in range(count)]
    return moments
