"""A group stands still for longer than its topic keeps records: those it has not read are deleted.

Its member is alive and only stays, so that the broker, by retention.ms, deletes what lies before it.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

from kafka import KafkaConsumer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient

from diag.lab.kafka_lag import _stream, _topics, _traffic
from diag.lab.servers import Servers

NEEDS = ("kafka",)
_RETENTION_S = 300.0
_OLD_S = 600.0


@contextlib.contextmanager
def broken(servers: Servers, *, seed: int = 0) -> Iterator[None]:
    """Have records deleted that a live group has not read, and younger ones come after them."""
    assert servers.kafka is not None
    brokers, chance = servers.kafka.bootstrap_servers, random.Random(seed)  # noqa: S311  a scenario, no secret
    topic, group = _traffic.fresh("card-events"), _traffic.fresh("limits")
    partitions, read = chance.randint(1, 4), chance.randint(20, 200)
    overrun, lost = chance.randrange(partitions), chance.randint(50, 500)
    with contextlib.ExitStack() as undo:
        undo.enter_context(_topics.topic_and_group(brokers, topic, group, partitions=partitions))
        for number in range(partitions):
            _topics.write(brokers, topic, number, read, oldest_s=_OLD_S, newest_s=_OLD_S)
        stop = undo.enter_context(_topics.staying(brokers, topic, group))
        whole = dict.fromkeys(range(partitions), read)
        _stream.wait_for_commits(brokers, group, lambda committed: committed == whole)
        stop()
        _topics.write(brokers, topic, overrun, lost, oldest_s=_OLD_S, newest_s=_OLD_S)
        _shorten_retention(brokers, topic)
        _stream.insist(lambda: _log_start(brokers, topic, overrun), wanted=read + lost)
        _topics.write(brokers, topic, overrun, chance.randint(20, 200), oldest_s=10.0)
        yield


def _shorten_retention(brokers: str, topic: str) -> None:
    """Let the topic keep records for 5 min; the broker looks for older ones each second."""
    kept = {"retention.ms": f"{_RETENTION_S * 1000:.0f}"}
    with contextlib.closing(KafkaAdminClient(bootstrap_servers=brokers)) as admin:
        admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs=kept)])


def _log_start(brokers: str, topic: str, partition: int) -> int:
    on = TopicPartition(topic, partition)
    with contextlib.closing(KafkaConsumer(bootstrap_servers=brokers)) as consumer:
        return int(consumer.beginning_offsets([on])[on])
