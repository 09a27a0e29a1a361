"""Consumer groups that have committed, so that a look at Kafka has something to read."""

from __future__ import annotations

import contextlib
import uuid
from typing import TYPE_CHECKING

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.admin import NewTopic
from kafka.structs import OffsetAndMetadata, TopicPartition

if TYPE_CHECKING:
    from collections.abc import Iterator

_PARTITIONS = 3


@contextlib.contextmanager
def committed_groups(bootstrap_servers: str, count: int) -> Iterator[None]:
    """Make a topic and `count` groups that lag nowhere; they are gone afterwards."""
    topic = f"faults-{uuid.uuid4().hex[:8]}"
    groups = [f"{topic}-group-{number}" for number in range(count)]
    admin = KafkaAdminClient(bootstrap_servers=bootstrap_servers)
    admin.create_topics([NewTopic(topic, _PARTITIONS, 1)])
    producer = KafkaProducer(bootstrap_servers=bootstrap_servers)
    for number in range(_PARTITIONS):
        producer.send(topic, b"x", partition=number).get(10)
    producer.close()
    for group in groups:
        consumer = KafkaConsumer(bootstrap_servers=bootstrap_servers, group_id=group, enable_auto_commit=False)
        ends = {TopicPartition(topic, number): OffsetAndMetadata(1, "", -1) for number in range(_PARTITIONS)}
        consumer.commit(ends)
        consumer.close()
    try:
        yield
    finally:
        admin.delete_groups(groups)
        admin.delete_topics([topic])
        admin.close()
