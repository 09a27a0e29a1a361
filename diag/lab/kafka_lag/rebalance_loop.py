"""Members take longer for a poll than max.poll.interval.ms: they are expelled, come back, and read some of it again."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from kafka.errors import KafkaError

from diag.lab.kafka_lag import _stream, _traffic
from diag.lab.servers import Servers

NEEDS = ("kafka",)
OPTIONS = ("--samples", "6", "--interval", "3.1", "--deadline", "30")
_AGE_S = 600.0
_OLD_RECORDS = 2_000
_POLL_INTERVAL_S = 1.2
_QUICK_S, _SLOW_S = 0.5, 2.2
_PAUSE_S, _POLL_RECORDS = 0.1, 2  # slower than what is written, so that the backlog lasts


@contextlib.contextmanager
def broken(servers: Servers, *, seed: int = 0) -> Iterator[None]:
    """Have two or three members that overrun their poll interval again and again, until the block ends."""
    assert servers.kafka is not None
    brokers, chance = servers.kafka.bootstrap_servers, random.Random(str(seed))  # noqa: S311  a scenario, no secret
    topic, group = _traffic.fresh("invoices"), _traffic.fresh("billing")
    members = chance.randint(2, 3)
    partitions = members * chance.randint(1, 2)
    over = threading.Event()
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
        for number in range(members):
            consumer = _stream.member(
                brokers,
                topic,
                group,
                session_timeout_ms=6_000,
                heartbeat_interval_ms=200,
                max_poll_interval_ms=int(_POLL_INTERVAL_S * 1000),
            )
            undo.enter_context(contextlib.closing(consumer))
            undo.enter_context(_stream.repeated(_reading(consumer, over), every_s=0.1 + 0.3 * number))
        undo.callback(over.set)
        _stream.wait_for_commits(brokers, group, lambda committed: sum(offset > 0 for offset in committed.values()) > 1)
        yield


def _reading(consumer: Any, over: threading.Event) -> Callable[[int], None]:
    """Return how a member handles some records quickly, and then takes too long for one."""

    def read(_turn: int) -> None:
        slow_at = time.monotonic() + _QUICK_S
        while consumer.poll(timeout_ms=200, max_records=_POLL_RECORDS):
            with contextlib.suppress(KafkaError):  # expelled already: somebody reads it again
                consumer.commit()
            over.wait(_PAUSE_S)
            if time.monotonic() > slow_at:
                over.wait(_SLOW_S)
                break

    return read
