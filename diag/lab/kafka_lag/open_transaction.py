"""A producer has a transaction open and does not end it; what others write piles up behind it.

The group reads with isolation.level=read_committed and has read all that is committed.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from typing import Any

from kafka import KafkaProducer

from diag.lab.kafka_lag import _stream, _topics, _traffic
from diag.lab.servers import Servers

NEEDS = ("kafka",)
OPTIONS = ("--limit", "kafka-lag/open-transaction.open_s=1")
"""A minute, the default, is too long to wait for; its records say they are older, but it began just now."""
_TIMEOUT_MS = 900_000  # transaction.max.timeout.ms, the longest that a broker grants by default
_WRITTEN_S = 120.0
_DEADLINE_S = 20.0


@contextlib.contextmanager
def broken(servers: Servers, *, seed: int = 0) -> Iterator[None]:
    """Leave a transaction open with records behind it, until the block ends: then it is aborted."""
    assert servers.kafka is not None
    brokers, chance = servers.kafka.bootstrap_servers, random.Random(seed)  # noqa: S311  a scenario, no secret
    topic, group = _traffic.fresh("ledger-entries"), _traffic.fresh("balances")
    partitions, before = chance.randint(1, 4), chance.randint(20, 200)
    held = chance.randrange(partitions)
    with contextlib.ExitStack() as undo:
        undo.enter_context(_topics.topic_and_group(brokers, topic, group, partitions=partitions))
        producer = undo.enter_context(_transactional(brokers))
        producer.begin_transaction()
        for number in range(partitions):
            _topics.send(producer, topic, number, before, oldest_s=600.0, newest_s=_WRITTEN_S)
        producer.commit_transaction()  # takes one offset of each partition for its marker
        undo.enter_context(_topics.staying(brokers, topic, group, isolation_level="read_committed"))
        whole = dict.fromkeys(range(partitions), before + 1)
        _stream.wait_for_commits(brokers, group, lambda committed: committed == whole)
        producer.begin_transaction()
        _topics.send(producer, topic, held, chance.randint(1, 20), oldest_s=_WRITTEN_S, newest_s=_WRITTEN_S)
        producer.flush(_DEADLINE_S)
        _topics.write(brokers, topic, held, chance.randint(20, 500), oldest_s=_WRITTEN_S)
        yield


@contextlib.contextmanager
def _transactional(brokers: str) -> Iterator[Any]:
    """Give a producer that may write in transactions; in the end abort the one it has open."""
    name = _traffic.fresh("ledger-writer")
    producer = KafkaProducer(bootstrap_servers=brokers, transactional_id=name, transaction_timeout_ms=_TIMEOUT_MS)
    try:
        producer.init_transactions()
        yield producer
        producer.abort_transaction()
    finally:
        producer.close(_DEADLINE_S)
