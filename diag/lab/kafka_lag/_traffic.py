"""Topics, records and groups of the lab, written with ordinary clients."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable
from typing import Any

from kafka import KafkaConsumer, KafkaProducer
from kafka.admin import KafkaAdminClient, NewTopic

from diag.lab import process

_PARTITIONS = 3
_ANSWER_MS = 10_000
_LEARN_S = 90.0


def fill(bootstrap_servers: str, topic: str, records: int, *, oldest_s: float, newest_s: float = 0.0) -> None:
    """Make a topic and write `records` evenly over the span from `oldest_s` to `newest_s` seconds ago."""
    admin = KafkaAdminClient(bootstrap_servers=bootstrap_servers)
    admin.create_topics([NewTopic(topic, _PARTITIONS, 1)])
    admin.close()
    producer = KafkaProducer(bootstrap_servers=bootstrap_servers)
    now = time.time()
    for number in range(records):
        written_at = now - oldest_s + (oldest_s - newest_s) * number / records
        producer.send(topic, b"notification", partition=number % _PARTITIONS, timestamp_ms=int(written_at * 1000))
    producer.flush()
    producer.close()


def reader(bootstrap_servers: str, topic: str, group: str) -> Any:
    """Return a consumer of the group that commits only when told to."""
    consumer = KafkaConsumer(
        topic,
        bootstrap_servers=bootstrap_servers,
        group_id=group,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        max_poll_records=50,
    )
    learn(consumer, [topic])
    return consumer


def learn(consumer: Any, topics: Iterable[str]) -> None:
    """Wait until the consumer knows the partitions of its topics. Raises `TimeoutError`.

    kafka-python 3.0.12 may join before that, own nothing, join again and lose its first member id,
    for which the group then waits a whole session timeout (2 of 25 groups on a loaded machine).
    """
    if not process.wait_until(lambda: all(map(consumer.partitions_for_topic, topics)), _LEARN_S):
        message = f"after {_LEARN_S:.0f} s a consumer does not know its topics"
        raise TimeoutError(message)


def read_some(consumer: Any, records: int) -> None:
    """Read and commit at least `records` records. Raises `TimeoutError` when they do not come."""
    seen, ends = 0, time.monotonic() + _ANSWER_MS / 1000
    while seen < records:
        seen += sum(map(len, consumer.poll(timeout_ms=500).values()))
        if time.monotonic() > ends:
            message = f"only {seen} of {records} records came"
            raise TimeoutError(message)
    consumer.commit()


def fresh(name: str) -> str:
    """Return a name nobody has used in this lab."""
    return f"{name}-{uuid.uuid4().hex[:6]}"


def forget(bootstrap_servers: str, topic: str, group: str) -> None:
    """Remove a topic and a group without members."""
    admin = KafkaAdminClient(bootstrap_servers=bootstrap_servers)
    admin.delete_groups([group])
    admin.delete_topics([topic])
    admin.close()
