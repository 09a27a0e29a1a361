"""A topic with a past and a present: old records are there, and new ones keep coming while a story lasts."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

from kafka import KafkaConsumer, KafkaProducer
from kafka.admin import KafkaAdminClient, NewTopic
from kafka.errors import RetriableError

from diag.lab import process
from diag.lab.kafka_lag import _traffic

_DEADLINE_S = 90.0


@contextlib.contextmanager
def topic_in_use(  # noqa: PLR0913  a stream has these sides
    brokers: str, topic: str, group: str, *, partitions: int, old_records: int, age_s: float, per_s: float
) -> Iterator[None]:
    """Make a topic with `old_records` a partition, `age_s` old, and write `per_s` to each; remove it and the group."""
    with contextlib.closing(KafkaAdminClient(bootstrap_servers=brokers)) as admin:
        admin.create_topics([NewTopic(topic, partitions, 1)], wait_for_metadata=True)
        try:
            with contextlib.closing(KafkaProducer(bootstrap_servers=brokers)) as producer:
                then_ms = int((time.time() - age_s) * 1000)
                for number in range(old_records * partitions):
                    producer.send(topic, b"payment %d" % number, partition=number % partitions, timestamp_ms=then_ms)
                producer.flush(_DEADLINE_S)

                def write(turn: int) -> None:
                    for partition in range(partitions):
                        producer.send(topic, b"payment %d" % turn, partition=partition)

                with repeated(write, every_s=1 / per_s):
                    yield
        finally:
            insist(lambda: "NonEmpty" in repr(admin.delete_groups([group])), wanted=False)  # a killed member is one yet
            insist(lambda: admin.delete_topics([topic]))


@contextlib.contextmanager
def repeated(act: Callable[[int], None], *, every_s: float) -> Iterator[None]:
    """Call `act` with 0, 1, 2, … in a thread of its own until the block ends."""
    over = threading.Event()

    def go_on() -> None:
        turn = 0
        while not over.wait(every_s):
            with contextlib.suppress(RetriableError):
                act(turn)
            turn += 1

    thread = threading.Thread(target=go_on, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(_DEADLINE_S)


def member(brokers: str, topic: str, group: str, **settings: object) -> KafkaConsumer:
    """Return a member of the group that commits only when told to."""
    consumer = KafkaConsumer(
        topic,
        bootstrap_servers=brokers,
        group_id=group,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        **settings,
    )
    _traffic.learn(consumer, [topic])
    return consumer


def wait_for_commits(brokers: str, group: str, is_so: Callable[[dict[int, int]], bool]) -> None:
    """Wait until the group's committed offsets, by partition, are as wanted. Raises `TimeoutError`."""
    with contextlib.closing(KafkaAdminClient(bootstrap_servers=brokers)) as admin:

        def is_so_by_now() -> bool:
            committed = admin.list_group_offsets({group: None})[group]
            return is_so({on.partition: commit.offset for on, commit in committed.items()})

        insist(is_so_by_now, wanted=True)


def insist(ask: Callable[[], object], *, wanted: object = None) -> None:
    """Ask until there is an answer, or the wanted one, also through errors that pass. Raises `TimeoutError`."""

    def is_answered() -> bool:
        with contextlib.suppress(RetriableError):
            return ask() == wanted or wanted is None
        return False

    if not process.wait_until(is_answered, _DEADLINE_S):
        message = f"after {_DEADLINE_S:.0f} s Kafka has not come to where the scenario begins, or ends"
        raise TimeoutError(message)
