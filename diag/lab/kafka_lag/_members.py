"""A group at work: topics that have long been written to at a steady pace, and members that take their time.

Members join before anything is written, so they own what they will own from the first record on.
Records carry the time at which the pace puts them: those of the past come at once, the others when due.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeAlias

from kafka import KafkaConsumer, KafkaProducer
from kafka.admin import KafkaAdminClient, NewTopic
from kafka.errors import KafkaError

from diag.lab import process
from diag.lab.kafka_lag import _traffic

_TICK_S: Final = 0.05
_COMMIT_S: Final = 1.0
_BATCH_BYTES: Final = 1_024  # of batches and fetches: a member that is behind soon turns to its next partition
DEADLINE_S: Final = 90.0
_SESSION_MS: Final = 60_000  # a machine that stalls expels nobody
_REFRESH_MS: Final = 500  # kafka-python 3.0.12 can miss a wake-up; the next thing that is due ends its sleep


Handle: TypeAlias = Callable[[Any, threading.Event], None]
"""What a member does with one record. It may take its time, but returns once the event is set."""


def taking(record_s: float) -> Handle:
    """Return a handler that takes so many seconds for a record."""

    def handle(_record: Any, over: threading.Event) -> None:
        over.wait(record_s)

    return handle


def at_once(_record: Any, _over: threading.Event) -> None:
    """Handle a record in no time."""


@contextlib.contextmanager
def group_at_work(  # noqa: PLR0913  a group at work is these
    bootstrap_servers: str,
    group: str,
    topics: dict[str, int],
    handlers: Sequence[Handle],
    *,
    per_s: float,
    oldest_s: float,
) -> Iterator[None]:
    """Have a member for each handler read the topics (name and partitions); remove all of it in the end.

    Each partition gets `per_s` records a second, since `oldest_s` seconds ago. Returns when the records
    of the past are written and every partition has a commit.
    """
    with contextlib.ExitStack() as undo:
        admin = undo.enter_context(contextlib.closing(KafkaAdminClient(bootstrap_servers=bootstrap_servers)))
        admin.create_topics([NewTopic(name, count, 1) for name, count in topics.items()], wait_for_metadata=True)
        undo.callback(_insist, lambda: admin.delete_topics(list(topics)), "the topics are not removed")
        undo.callback(_insist, lambda: admin.delete_groups([group]), "the group is not removed")
        undo.enter_context(_reading(bootstrap_servers, group, list(topics), handlers))
        _wait(lambda: _is_settled(admin, group, len(handlers)), "the members have not joined")
        undo.enter_context(_writing(bootstrap_servers, topics, per_s=per_s, oldest_s=oldest_s))
        _wait(lambda: len(committed(admin, group)) == sum(topics.values()), "some partition has no commit")
        yield


def wait_for_commits(bootstrap_servers: str, group: str, are_so: Callable[[dict[tuple[str, int], int]], bool]) -> None:
    """Wait until what the group has committed, by topic and partition, is so. Raises `TimeoutError`."""
    with contextlib.closing(KafkaAdminClient(bootstrap_servers=bootstrap_servers)) as admin:
        _wait(lambda: are_so(committed(admin, group)), "the group has not read what it should have")


def committed(admin: Any, group: str) -> dict[tuple[str, int], int]:
    """Return what a group has committed."""
    offsets = admin.list_group_offsets({group: None})[group]
    return {(on.topic, on.partition): commit.offset for on, commit in offsets.items()}


@contextlib.contextmanager
def _writing(bootstrap_servers: str, topics: dict[str, int], *, per_s: float, oldest_s: float) -> Iterator[None]:
    producer = KafkaProducer(bootstrap_servers=bootstrap_servers, batch_size=_BATCH_BYTES)
    began_at = time.time() - oldest_s
    over, caught_up = threading.Event(), threading.Event()

    def write() -> None:
        sent = 0
        while not over.wait(_TICK_S):
            while sent < (time.time() - began_at) * per_s and not over.is_set():
                for topic, partitions in topics.items():
                    for number in range(partitions):
                        at_ms = int((began_at + sent / per_s) * 1000)
                        producer.send(topic, b"payment", partition=number, timestamp_ms=at_ms)
                sent += 1
            caught_up.set()

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    try:
        _wait(caught_up.is_set, "the records of the past are not written")
        producer.flush(DEADLINE_S)
        yield
    finally:
        over.set()
        writer.join(DEADLINE_S)
        producer.close(DEADLINE_S)


@contextlib.contextmanager
def _reading(bootstrap_servers: str, group: str, topics: Sequence[str], handlers: Sequence[Handle]) -> Iterator[None]:
    """Have members poll, handle and commit, each in its own thread."""
    over = threading.Event()

    def work(number: int, handle: Handle) -> None:
        consumer = KafkaConsumer(
            *topics,
            bootstrap_servers=bootstrap_servers,
            group_id=group,
            client_id=f"worker-{number}",
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            max_partition_fetch_bytes=_BATCH_BYTES,
            max_poll_records=20,
            heartbeat_interval_ms=300,
            session_timeout_ms=_SESSION_MS,
            metadata_max_age_ms=_REFRESH_MS,
        )
        with contextlib.closing(consumer):
            _traffic.learn(consumer, topics)
            commit_at = 0.0
            while not over.is_set():
                for records in consumer.poll(timeout_ms=100).values():
                    for record in records:
                        handle(record, over)
                if time.monotonic() >= commit_at and consumer.assignment() and not over.is_set():
                    with contextlib.suppress(KafkaError):
                        consumer.commit()
                    commit_at = time.monotonic() + _COMMIT_S

    members = [
        threading.Thread(target=work, args=(number, handle), daemon=True) for number, handle in enumerate(handlers)
    ]
    for member in members:
        member.start()
    try:
        yield
    finally:
        over.set()
        for member in members:
            member.join(DEADLINE_S)


def _is_settled(admin: Any, group: str, members: int) -> bool:
    described = admin.describe_groups([group])[group]
    return described["group_state"] == "Stable" and len(described["members"]) == members


def _insist(act: Callable[[], object], otherwise: str) -> None:
    def is_done() -> bool:
        act()
        return True

    _wait(is_done, otherwise)


def _wait(is_so: Callable[[], bool], otherwise: str) -> None:
    """Wait, also through errors that pass: a group or a coordinator that is on its way."""

    def is_so_by_now() -> bool:
        with contextlib.suppress(KafkaError):
            return is_so()
        return False

    if not process.wait_until(is_so_by_now, DEADLINE_S):
        message = f"after {DEADLINE_S:.0f} s {otherwise}"
        raise TimeoutError(message)
