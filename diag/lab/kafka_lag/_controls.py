"""What looks like a fault and is none: with each of these in effect, every check has to stay silent."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Iterator
from typing import Any

from kafka import KafkaProducer, OffsetAndMetadata, TopicPartition

from diag.lab.kafka_lag import _stream, _topics, _traffic
from diag.lab.servers import Servers

_COMMIT_S = 5.0  # the default of auto.commit.interval.ms
_OLD_RECORDS = 10
_WATCHED = ("--samples", "6", "--interval", "3.1")


@contextlib.contextmanager
def commit_sawtooth(servers: Servers, seed: int = 0) -> Iterator[None]:
    """A reader that keeps up and commits every five seconds: its lag rises and falls with each commit."""
    brokers, chance = _brokers(servers), random.Random(seed)  # noqa: S311  a scenario, no secret
    topic, group = _traffic.fresh("clicks"), _traffic.fresh("counters")
    partitions, per_s = chance.randint(1, 4), chance.uniform(50, 200)
    with (
        _stream.topic_in_use(
            brokers, topic, group, partitions=partitions, old_records=_OLD_RECORDS, age_s=600.0, per_s=per_s
        ),
        contextlib.closing(_stream.member(brokers, topic, group, session_timeout_ms=60_000)) as reader,
    ):
        committed_at = 0.0

        def read(_turn: int) -> None:
            nonlocal committed_at
            reader.poll(timeout_ms=50)
            if reader.assignment() and time.monotonic() >= committed_at + _COMMIT_S:
                reader.commit()
                committed_at = time.monotonic()

        with _stream.repeated(read, every_s=0.001):
            _stream.wait_for_commits(
                brokers,
                group,
                lambda at: len(at) == partitions and all(offset > _OLD_RECORDS for offset in at.values()),
            )
            yield


@contextlib.contextmanager
def transaction_markers(servers: Servers, seed: int = 0) -> Iterator[None]:
    """A topic whose last offset is a transaction marker: nobody can read it, so one offset is left for ever."""
    brokers, chance = _brokers(servers), random.Random(seed)  # noqa: S311  a scenario, no secret
    topic, group = _traffic.fresh("invoices"), _traffic.fresh("ledger")
    partitions, records = chance.randint(1, 3), chance.randint(5, 50)
    with _topics.topic_and_group(brokers, topic, group, partitions=partitions):
        producer = KafkaProducer(bootstrap_servers=brokers, transactional_id=_traffic.fresh("writer"))
        with contextlib.closing(producer):
            producer.init_transactions()
            producer.begin_transaction()
            for number in range(partitions):
                _topics.send(producer, topic, number, records, oldest_s=900.0, newest_s=600.0)
            producer.commit_transaction()
        reader = _traffic.reader(brokers, topic, group)
        _traffic.read_some(reader, records * partitions)
        at_markers = dict.fromkeys(range(partitions), records)
        _commit_at(reader, topic, at_markers)
        reader.close()  # the group is Empty, and still nothing waits for it
        yield


@contextlib.contextmanager
def abandoned_topic(servers: Servers, seed: int = 0) -> Iterator[None]:
    """A group at work that has left one of its topics: its old commits there fall ever further behind."""
    brokers, chance = _brokers(servers), random.Random(seed)  # noqa: S311  a scenario, no secret
    left, read, group = _traffic.fresh("orders-v1"), _traffic.fresh("orders-v2"), _traffic.fresh("billing")
    with (
        _topics.topic_and_group(brokers, left, _traffic.fresh("nobody"), partitions=2),
        _topics.topic_and_group(brokers, read, group, partitions=2),
    ):
        for number in range(2):
            _topics.write(brokers, left, number, chance.randint(50, 500), oldest_s=900.0)
            _topics.write(brokers, read, number, chance.randint(5, 50), oldest_s=60.0, newest_s=20.0)
        before = _stream.member(brokers, left, group)
        _traffic.read_some(before, 10)
        before.close()
        with _topics.staying(brokers, read, group):
            _stream.wait_for_commits(brokers, group, lambda at: len(at) == 2)  # noqa: PLR2004  both partitions
            yield


@contextlib.contextmanager
def draining_bursts(servers: Servers, seed: int = 0) -> Iterator[None]:
    """A producer that writes in bursts; each is read before the next one comes."""
    brokers, chance = _brokers(servers), random.Random(seed)  # noqa: S311  a scenario, no secret
    topic, group = _traffic.fresh("batches"), _traffic.fresh("importer")
    burst = chance.randint(50, 300)
    with (
        _stream.topic_in_use(brokers, topic, group, partitions=2, old_records=5, age_s=60.0, per_s=0.1),
        contextlib.closing(KafkaProducer(bootstrap_servers=brokers)) as producer,
        contextlib.closing(_stream.member(brokers, topic, group, session_timeout_ms=60_000)) as reader,
    ):

        def write(_turn: int) -> None:
            for number in range(burst):
                producer.send(topic, b"batch", partition=number % 2)

        def read(_turn: int) -> None:
            if reader.poll(timeout_ms=50, max_records=20):
                reader.commit()

        with _stream.repeated(read, every_s=0.02), _stream.repeated(write, every_s=4.0):
            _stream.wait_for_commits(brokers, group, lambda at: sum(at.values()) > burst)
            yield


for control in (commit_sawtooth, draining_bursts):
    control.OPTIONS = _WATCHED  # type: ignore[attr-defined]  # functions take one; mypy does not know

CONTROLS = (commit_sawtooth, transaction_markers, abandoned_topic, draining_bursts)


def _brokers(servers: Servers) -> str:
    assert servers.kafka is not None
    return servers.kafka.bootstrap_servers


def _commit_at(reader: Any, topic: str, offsets: dict[int, int]) -> None:
    """Commit before the markers, as a reader does that commits what it has handled and not where it is."""
    reader.commit({TopicPartition(topic, number): OffsetAndMetadata(at, "", -1) for number, at in offsets.items()})
