"""Topics made to measure, records dated as wanted, and members that only stay where they are."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from kafka import KafkaConsumer, KafkaProducer
from kafka.admin import KafkaAdminClient, NewTopic

from diag.lab.kafka_lag import _traffic

_DEADLINE_S = 60.0
_POLL_MS = 200
_QUIET_POLLS = 5  # a second: after a rebalance there may come another at once, with newer metadata
_BUSY_MS = 3_600_000  # max.poll.interval.ms: an hour with one record does not cost the membership


@contextlib.contextmanager
def topic_and_group(
    brokers: str, topic: str, group: str, *, partitions: int, settings: Mapping[str, str] | None = None
) -> Iterator[None]:
    """Make a topic; in the end remove it, and the group that read it."""
    with contextlib.closing(KafkaAdminClient(bootstrap_servers=brokers)) as admin:
        admin.create_topics([NewTopic(topic, partitions, 1, topic_configs=dict(settings or {}))])
    try:
        yield
    finally:
        _traffic.forget(brokers, topic, group)


def write(  # noqa: PLR0913  a record has these sides
    brokers: str, topic: str, partition: int, records: int, *, oldest_s: float, newest_s: float = 0.0
) -> None:
    """Write so many records, dated evenly from `oldest_s` to `newest_s` seconds ago; negative is ahead of now."""
    with contextlib.closing(KafkaProducer(bootstrap_servers=brokers)) as producer:
        send(producer, topic, partition, records, oldest_s=oldest_s, newest_s=newest_s)
        producer.flush(_DEADLINE_S)


def send(  # noqa: PLR0913  a record has these sides
    producer: Any, topic: str, partition: int, records: int, *, oldest_s: float, newest_s: float = 0.0
) -> None:
    """Send the same with a producer that may be in a transaction."""
    now = time.time()
    for number in range(records):
        written_at = now - oldest_s + (oldest_s - newest_s) * number / records
        producer.send(topic, b"payment", partition=partition, timestamp_ms=int(written_at * 1000))


@contextlib.contextmanager
def staying(brokers: str, topic: str, group: str, **settings: Any) -> Iterator[Callable[[], None]]:
    """Have one member read and commit whatever comes. What is yielded makes it stop, once it has nothing to do.

    From then on it polls no more, as one that is busy with a record: its heartbeats keep it in the
    group with what it owns, and it neither reads nor takes part in another rebalance.
    """
    consumer = KafkaConsumer(
        topic,
        bootstrap_servers=brokers,
        group_id=group,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        max_poll_interval_ms=_BUSY_MS,
        **settings,
    )
    over, asked_to_stop, stopped = threading.Event(), threading.Event(), threading.Event()

    def stay() -> None:
        quiet, owned = 0, frozenset[Any]()
        while not over.is_set() and not (asked_to_stop.is_set() and quiet >= _QUIET_POLLS):
            came = any(consumer.poll(timeout_ms=_POLL_MS).values())
            if came:
                consumer.commit()
            before, owned = owned, frozenset(consumer.assignment())
            quiet = quiet + 1 if owned and owned == before and not came else 0
        stopped.set()

    def stop() -> None:
        asked_to_stop.set()
        if not stopped.wait(_DEADLINE_S):
            message = f"after {_DEADLINE_S:.0f} s the member of {group} still has something to do"
            raise TimeoutError(message)

    member = threading.Thread(target=stay, daemon=True)
    member.start()
    try:
        yield stop
    finally:
        over.set()
        member.join(_DEADLINE_S)
        consumer.close()
