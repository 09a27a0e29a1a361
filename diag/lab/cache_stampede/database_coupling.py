"""Now and then most reads of a cache miss for some seconds, and each of them becomes two queries of the database."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

from diag.lab import prometheus
from diag.lab.cache_stampede._pasts import READS_PER_S, Stretch, recorded
from diag.lab.servers import Servers

NEEDS = ("redis", "prometheus")
OPTIONS = ("--history", "2h")
QUERIES_PER_MISS = 2.0
_STORMS_AGO_S = (6_300.0, 4_900.0, 2_750.0, 1_130.0)  # four, and in no rhythm
_SPAN_S = 7_200.0


@contextlib.contextmanager
def broken(servers: Servers, seed: int = 0) -> Iterator[None]:
    """Let Prometheus have scraped both sides until now."""
    assert servers.prometheus is not None
    chance = random.Random(seed)  # noqa: S311  the same past each time
    storms = [
        Stretch(ago_s + chance.uniform(-60.0, 60.0), chance.uniform(10.0, 15.0), READS_PER_S * 0.9)
        for ago_s in _STORMS_AGO_S
    ]
    past = recorded(_SPAN_S, storms, queries_per_miss=QUERIES_PER_MISS, seed=seed)
    with prometheus.recorded(servers.prometheus, past):
        yield
