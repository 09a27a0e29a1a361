"""One of the members handles a third of what the others do: its host is busy with something else."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

from diag.lab.kafka_lag import _members, _traffic
from diag.lab.servers import Servers

NEEDS = ("kafka",)
_BEHIND_S = 120.0


@contextlib.contextmanager
def broken(servers: Servers, *, seed: int = 0) -> Iterator[None]:
    """Let one member of two to four fall two minutes behind, while the others read to the end."""
    assert servers.kafka is not None
    brokers, chance = servers.kafka.bootstrap_servers, random.Random(str(seed))  # noqa: S311  a scenario, no secret
    members, each, per_s = chance.randint(2, 4), chance.randint(1, 2), chance.uniform(10, 25)
    handlers: list[_members.Handle] = [_members.at_once] * members
    handlers[chance.randrange(members)] = _members.taking(1 / (per_s * each * chance.uniform(0.2, 0.6)))
    group, topic = _traffic.fresh("antifraud"), _traffic.fresh("payments")
    with _members.group_at_work(brokers, group, {topic: members * each}, handlers, per_s=per_s, oldest_s=_BEHIND_S):
        read = int(_BEHIND_S * per_s)
        _members.wait_for_commits(
            brokers, group, lambda offsets: sum(at >= read for at in offsets.values()) == (members - 1) * each
        )
        yield
