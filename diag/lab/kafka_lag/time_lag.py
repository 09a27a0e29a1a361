"""A group is alive and reads, but it is minutes behind."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from diag.lab.kafka_lag import _traffic
from diag.lab.servers import Servers

NEEDS = ("kafka",)
RECORDS = 3_000
_BEHIND_S = 420.0


@contextlib.contextmanager
def broken(servers: Servers) -> Iterator[None]:
    """Keep a member polling without progress, seven minutes behind, until the block ends."""
    assert servers.kafka is not None
    brokers = servers.kafka.bootstrap_servers
    topic, group = _traffic.fresh("orders"), _traffic.fresh("antifraud")
    _traffic.fill(brokers, topic, RECORDS, oldest_s=_BEHIND_S)
    consumer = _traffic.reader(brokers, topic, group)
    _traffic.read_some(consumer, 300)
    consumer.pause(*consumer.assignment())  # it stays a member, heartbeats, and handles nothing
    over = threading.Event()

    def stay() -> None:
        while not over.is_set():
            consumer.poll(timeout_ms=200)

    poller = threading.Thread(target=stay, daemon=True)
    poller.start()
    try:
        yield
    finally:
        over.set()
        poller.join(10.0)
        consumer.close()
        _traffic.forget(brokers, topic, group)
