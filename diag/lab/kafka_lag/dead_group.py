"""The consumers of a group have died; their offsets remain and records pile up behind them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from diag.lab.kafka_lag import _traffic
from diag.lab.servers import Servers

NEEDS = ("kafka",)
RECORDS = 3_000
_SILENT_S = 600.0


@contextlib.contextmanager
def broken(servers: Servers, *, topic: str = "", group: str = "") -> Iterator[None]:
    """Leave a group without members behind ten minutes of records; remove both in the end."""
    assert servers.kafka is not None
    brokers = servers.kafka.bootstrap_servers
    topic, group = topic or _traffic.fresh("events"), group or _traffic.fresh("notifications")
    _traffic.fill(brokers, topic, RECORDS, oldest_s=_SILENT_S)
    consumer = _traffic.reader(brokers, topic, group)
    _traffic.read_some(consumer, 300)
    consumer.close()  # leaves the group, as a stopped deployment does
    try:
        yield
    finally:
        _traffic.forget(brokers, topic, group)
