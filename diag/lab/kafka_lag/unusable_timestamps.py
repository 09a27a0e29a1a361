"""One producer's clock is a day ahead, and the topic lets it date its records so; a group is behind there."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

from diag.lab.kafka_lag import _stream, _topics, _traffic
from diag.lab.servers import Servers

NEEDS = ("kafka",)
GAPS = ("record_times",)
"""How late the group is on that partition is not known, and diag says so."""
_AHEAD_S = 86_400.0
_LETS_IT = {"message.timestamp.after.max.ms": str(2**63 - 1)}  # the default before 4.0; now it is an hour


@contextlib.contextmanager
def broken(servers: Servers, *, seed: int = 0) -> Iterator[None]:
    """Have one partition hold records of tomorrow that a group has still to read."""
    assert servers.kafka is not None
    brokers, chance = servers.kafka.bootstrap_servers, random.Random(seed)  # noqa: S311  a scenario, no secret
    topic, group = _traffic.fresh("sensor-readings"), _traffic.fresh("trends")
    partitions, read = chance.randint(1, 4), chance.randint(20, 200)
    with contextlib.ExitStack() as undo:
        undo.enter_context(_topics.topic_and_group(brokers, topic, group, partitions=partitions, settings=_LETS_IT))
        for number in range(partitions):
            _topics.write(brokers, topic, number, read, oldest_s=600.0)
        stop = undo.enter_context(_topics.staying(brokers, topic, group))
        whole = dict.fromkeys(range(partitions), read)
        _stream.wait_for_commits(brokers, group, lambda committed: committed == whole)
        stop()
        wrong = chance.randrange(partitions)
        _topics.write(brokers, topic, wrong, chance.randint(20, 500), oldest_s=-_AHEAD_S, newest_s=-_AHEAD_S)
        yield
