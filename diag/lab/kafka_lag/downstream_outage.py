"""What all members write to stops answering: they wait, each in its handler, and heartbeat on."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Iterator
from typing import Any

from diag.lab.kafka_lag import _members, _traffic
from diag.lab.servers import Servers

NEEDS = ("kafka",)
OPTIONS = ("--samples", "6", "--interval", "3.1")
_BEFORE_S = 20.0


@contextlib.contextmanager
def broken(servers: Servers, *, seed: int = 0) -> Iterator[None]:
    """Let two or three members keep up until some minutes ago, and stand still from then on."""
    assert servers.kafka is not None
    brokers, chance = servers.kafka.bootstrap_servers, random.Random(str(seed))  # noqa: S311  a scenario, no secret
    members, per_s, since_s = chance.randint(2, 3), chance.uniform(5, 20), chance.uniform(90, 240)
    partitions, down_at = members * chance.randint(1, 2), time.time() - since_s
    group, topic = _traffic.fresh("notifications"), _traffic.fresh("events")
    waiting = [threading.Event() for _ in range(members)]

    def handler(waits: threading.Event) -> _members.Handle:
        def write_to_the_sink(record: Any, over: threading.Event) -> None:
            if record.timestamp >= down_at * 1000:
                waits.set()
                over.wait()

        return write_to_the_sink

    with _members.group_at_work(
        brokers,
        group,
        {topic: partitions},
        [handler(one) for one in waiting],
        per_s=per_s,
        oldest_s=since_s + _BEFORE_S,
    ):
        for one in waiting:
            assert one.wait(_members.DEADLINE_S), "a member has not come to the outage"
        yield
