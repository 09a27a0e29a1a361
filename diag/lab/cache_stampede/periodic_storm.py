"""A key with a time to live of an hour, recomputed by all its readers for twelve seconds each time it expires."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

from diag.lab import prometheus
from diag.lab.cache_stampede._pasts import READS_PER_S, Stretch, recorded
from diag.lab.servers import Servers

NEEDS = ("redis", "prometheus")
OPTIONS = ("--history", "9h")
TTL_S = 3_600.0
STORM_S = 12.0
_STORMS = 8
_SPAN_S = 9 * 3_600.0


@contextlib.contextmanager
def broken(servers: Servers, seed: int = 0) -> Iterator[None]:
    """Let Prometheus have scraped it until now; the database behind it does not feel the storms."""
    assert servers.prometheus is not None
    chance = random.Random(seed)  # noqa: S311  the same past each time
    period_s = TTL_S + STORM_S
    last_ago_s = chance.uniform(600.0, 3_000.0)
    storms = [
        Stretch(last_ago_s + number * period_s, STORM_S, READS_PER_S * chance.uniform(0.85, 0.95))
        for number in range(_STORMS)
    ]
    with prometheus.recorded(servers.prometheus, recorded(_SPAN_S, storms, queries_per_miss=0.0, seed=seed)):
        yield
