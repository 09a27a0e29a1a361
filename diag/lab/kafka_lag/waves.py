"""A group falls behind every few minutes, and has caught up again whenever somebody looks.

An hour of it is written into the past in a second: a job's bursts, or members that pause, by the
seed. Now all is read, a member is there and waits.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final

from diag.lab.kafka_lag import _past, _traffic
from diag.lab.servers import Servers

NEEDS = ("kafka",)
OPTIONS = ("--history", "60m")
_SPAN_S: Final = 3_700  # a little more than is looked at
_CALM_S: Final = 10  # between the end of the newest wave and that of the past


@contextlib.contextmanager
def broken(servers: Servers, *, seed: int = 0) -> Iterator[None]:
    """Give a new topic and group an hour of waves and a member; remove both in the end."""
    assert servers.kafka is not None
    brokers = servers.kafka.bootstrap_servers
    chance = random.Random(str(seed))  # noqa: S311  a scenario, no secret
    topic, group = _traffic.fresh("payments"), _traffic.fresh("antifraud")
    rhythm = _bursts if seed % 2 == 0 else _pauses
    period_s, waves = chance.randint(200, 420), chance.randint(5, 8)
    written_per_s, read_per_s = rhythm(period_s, _SPAN_S - waves * period_s + _CALM_S)
    begins_at = time.time() - _SPAN_S
    past = _past.lived(begins_at, _SPAN_S, written_per_s, read_per_s)
    pasts = [past] * chance.randint(1, 3)
    _past.write(brokers, topic, group, pasts)
    consumer = _traffic.reader(brokers, topic, group)
    over = threading.Event()

    def stay() -> None:
        while not over.is_set():
            consumer.poll(timeout_ms=200)  # there is nothing left to read

    poller = threading.Thread(target=stay, daemon=True)
    poller.start()
    try:
        yield
    finally:
        over.set()
        poller.join(10.0)
        consumer.close()
        _traffic.forget(brokers, topic, group)


def _bursts(period_s: int, since_s: int) -> tuple[Callable[[int], float], Callable[[int], float]]:
    """A job writes twelve times what can be read for a twentieth of its period."""

    def written_per_s(second: int) -> float:
        return 36.0 if second >= since_s and (second - since_s) % period_s < period_s // 20 else 0.5

    return written_per_s, lambda _: 3.0


def _pauses(period_s: int, since_s: int) -> tuple[Callable[[int], float], Callable[[int], float]]:
    """The readers stand still for a quarter of each period."""

    def read_per_s(second: int) -> float:
        return 0.0 if second >= since_s and (second - since_s) % period_s < period_s // 4 else 5.0

    return lambda _: 2.0, read_per_s
