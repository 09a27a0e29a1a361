"""A late group is given more members, and they find nothing to do.

Either there are more members than partitions, or there are several topics of one partition, and the
range assignor, the default of many clients, deals each of them to the first member.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

from diag.lab.kafka_lag import _members, _traffic
from diag.lab.servers import Servers

NEEDS = ("kafka",)
_BEHIND_S = 180.0
_PER_S = 10.0


@contextlib.contextmanager
def broken(servers: Servers, *, seed: int = 0) -> Iterator[None]:
    """Let a group that is three minutes behind have members without partitions."""
    assert servers.kafka is not None
    chance = random.Random(str(seed))  # noqa: S311  a scenario, no secret
    if chance.random() < 0.5:  # noqa: PLR2004  a coin
        partitions = chance.randint(2, 6)
        topics, members = {_traffic.fresh("orders"): partitions}, partitions + chance.randint(1, 2)
    else:
        topics, members = {_traffic.fresh(name): 1 for name in ("orders", "payments", "refunds")}, chance.randint(2, 3)
    with _members.group_at_work(
        servers.kafka.bootstrap_servers,
        _traffic.fresh("shipping"),
        topics,
        [_members.taking(1 / _PER_S)] * members,  # just as much as is written to one partition
        per_s=_PER_S,
        oldest_s=_BEHIND_S,
    ):
        yield
