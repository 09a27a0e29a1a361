"""Somebody resets a group to the beginning of a topic it had nearly read, and starts its member again."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator
from typing import Any

from kafka import OffsetAndMetadata, TopicPartition
from kafka.admin import KafkaAdminClient

from diag.lab.kafka_lag import _stream, _traffic
from diag.lab.servers import Servers

NEEDS = ("kafka",)
OPTIONS = ("--history", "10m", "--deadline", "30")  # the reset is over when somebody looks
_AGE_S = 900.0
_OLD_RECORDS = 10_000
_POLL_RECORDS = 20


@contextlib.contextmanager
def broken(servers: Servers, *, seed: int = 0) -> Iterator[None]:
    """Reset a stopped group to the earliest offsets; from there its member reads on until the block ends."""
    assert servers.kafka is not None
    brokers, chance = servers.kafka.bootstrap_servers, random.Random(str(seed))  # noqa: S311  a scenario, no secret
    topic, group = _traffic.fresh("orders"), _traffic.fresh("mailer")
    partitions, read = chance.randint(1, 4), chance.randint(_OLD_RECORDS // 2, _OLD_RECORDS)
    with contextlib.ExitStack() as undo:
        undo.enter_context(
            _stream.topic_in_use(
                brokers,
                topic,
                group,
                partitions=partitions,
                old_records=_OLD_RECORDS,
                age_s=_AGE_S,
                per_s=chance.uniform(5, 20),
            )
        )
        everywhere = [TopicPartition(topic, number) for number in range(partitions)]
        with contextlib.closing(_stream.member(brokers, topic, group)) as consumer:
            _stream.insist(lambda: bool(consumer.poll(timeout_ms=200)), wanted=True)
            consumer.commit({on: OffsetAndMetadata(read, "", -1) for on in everywhere})
        with contextlib.closing(KafkaAdminClient(bootstrap_servers=brokers)) as admin:
            admin.alter_group_offsets(group, {on: OffsetAndMetadata(0, "", -1) for on in everywhere})
        consumer = undo.enter_context(contextlib.closing(_stream.member(brokers, topic, group)))
        undo.enter_context(_stream.repeated(_reading(consumer), every_s=0.5))
        _stream.wait_for_commits(brokers, group, lambda committed: 0 < sum(committed.values()) < read)
        yield


def _reading(consumer: Any) -> Callable[[int], None]:
    """Return how a member reads on, and commits what it has read."""

    def read(_turn: int) -> None:
        if consumer.poll(timeout_ms=200, max_records=_POLL_RECORDS):
            consumer.commit()

    return read
