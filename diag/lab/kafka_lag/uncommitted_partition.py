"""Partitions are added to a topic, producers use them at once, and the group has not noticed.

Its member is busy: it takes part in no rebalance, hence nobody owns the new partitions.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

from kafka.admin import KafkaAdminClient

from diag.lab.kafka_lag import _stream, _topics, _traffic
from diag.lab.servers import Servers

NEEDS = ("kafka",)
_UNNOTICED_S = 900.0


@contextlib.contextmanager
def broken(servers: Servers, *, seed: int = 0) -> Iterator[None]:
    """Add partitions behind the back of a live group and fill them with records of the last 15 min."""
    assert servers.kafka is not None
    brokers, chance = servers.kafka.bootstrap_servers, random.Random(seed)  # noqa: S311  a scenario, no secret
    topic, group = _traffic.fresh("device-status"), _traffic.fresh("alarms")
    before, added = chance.randint(1, 4), chance.randint(1, 3)
    with contextlib.ExitStack() as undo:
        undo.enter_context(_topics.topic_and_group(brokers, topic, group, partitions=before))
        records = {number: chance.randint(20, 200) for number in range(before)}
        for number, count in records.items():
            _topics.write(brokers, topic, number, count, oldest_s=1_800.0, newest_s=_UNNOTICED_S)
        stop = undo.enter_context(_topics.staying(brokers, topic, group))
        _stream.wait_for_commits(brokers, group, lambda committed: committed == records)
        stop()
        with contextlib.closing(KafkaAdminClient(bootstrap_servers=brokers)) as admin:
            admin.create_partitions({topic: before + added})
        for number in range(before, before + added):
            _topics.write(brokers, topic, number, chance.randint(20, 200), oldest_s=_UNNOTICED_S)
        yield
