"""A member retries one record for ever, and goes on with its other partitions as if nothing were."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator
from typing import Any

from kafka import TopicPartition

from diag.lab.kafka_lag import _stream, _traffic
from diag.lab.servers import Servers

NEEDS = ("kafka",)
OPTIONS = ("--samples", "6", "--interval", "3.1", "--deadline", "30")
_AGE_S = 600.0
_OLD_RECORDS = 40


@contextlib.contextmanager
def broken(servers: Servers, *, seed: int = 0) -> Iterator[None]:
    """Have one or two members of which one does not get past one offset, until the block ends."""
    assert servers.kafka is not None
    brokers, chance = servers.kafka.bootstrap_servers, random.Random(str(seed))  # noqa: S311  a scenario, no secret
    topic, group = _traffic.fresh("payments"), _traffic.fresh("ledger")
    members = chance.randint(1, 2)
    partitions = members * chance.randint(2, 4)
    poison = TopicPartition(topic, chance.randrange(partitions))
    offset = chance.randrange(5, _OLD_RECORDS - 5)
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
        for _ in range(members):
            consumer = undo.enter_context(contextlib.closing(_stream.member(brokers, topic, group)))
            undo.enter_context(_stream.repeated(_reading(consumer, poison, offset), every_s=0.1))
        _stream.wait_for_commits(
            brokers,
            group,
            lambda committed: all(
                committed.get(number) == offset
                if number == poison.partition
                else committed.get(number, 0) > _OLD_RECORDS
                for number in range(partitions)
            ),
        )
        yield


def _reading(consumer: Any, poison: TopicPartition, offset: int) -> Callable[[int], None]:
    """Return how a member handles what there is; at the record it cannot handle, it goes back for the next try."""

    def read(_turn: int) -> None:
        for on, records in consumer.poll(timeout_ms=200).items():
            if on == poison and records[-1].offset >= offset:
                consumer.seek(on, offset)
        if consumer.assignment():
            consumer.commit()

    return read
