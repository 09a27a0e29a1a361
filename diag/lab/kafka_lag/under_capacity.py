"""Two members read all the time, and the topic gets more than they can handle."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

from diag.lab.kafka_lag import _members, _traffic
from diag.lab.servers import Servers

NEEDS = ("kafka",)
OPTIONS = ("--samples", "6", "--interval", "3.1")
_MEMBERS = 2
_BEHIND_S = 90.0


@contextlib.contextmanager
def broken(servers: Servers, *, seed: int = 0) -> Iterator[None]:
    """Let each member handle half to two thirds of what is written for it, a minute and a half behind."""
    assert servers.kafka is not None
    chance = random.Random(str(seed))  # noqa: S311  a scenario, no secret
    partitions, per_s = _MEMBERS * chance.randint(1, 3), chance.uniform(15, 30)
    member_per_s = per_s * partitions / _MEMBERS * chance.uniform(0.5, 0.65)
    with _members.group_at_work(
        servers.kafka.bootstrap_servers,
        _traffic.fresh("scoring"),
        {_traffic.fresh("transactions"): partitions},
        [_members.taking(1 / member_per_s)] * _MEMBERS,
        per_s=per_s,
        oldest_s=_BEHIND_S,
    ):
        yield
