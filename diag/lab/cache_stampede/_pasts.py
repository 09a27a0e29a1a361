"""What Prometheus has scraped of a cache and of the database behind it: each miss of a storm is a query."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from diag.lab.openmetrics import Sample

SCRAPE_S = 15.0
READS_PER_S = 400.0
_MISS_RATIO = 0.02
_NOISE = 0.05  # of each step: more than Poisson's, as real traffic has
_CACHE, _DATABASE = {"instance": "cache-1:9121"}, {"instance": "db-1:9187"}


class Stretch(NamedTuple):
    """Time from `ago_s` before now on, in which so much more happens each second."""

    ago_s: float
    length_s: float
    per_s: float

    def within(self, from_ago_s: float, to_ago_s: float) -> float:
        """Return how much of it falls between two moments before now."""
        begin, end = min(from_ago_s, self.ago_s), max(to_ago_s, self.ago_s - self.length_s)
        return self.per_s * max(0.0, begin - end)


def recorded(  # noqa: PLR0913  a past has these sides
    span_s: float,
    storms: Sequence[Stretch],
    *,
    queries_per_miss: float = 1.0,
    jobs: Sequence[Stretch] = (),
    queries_per_s: float = 250.0,
    scrape_s: float = SCRAPE_S,
    database_first_s: float = 0.0,
    now_s: float | None = None,
    seed: int = 0,
) -> Iterator[Sample]:
    """Yield the scrapes of the last `span_s` seconds; database and cache are scraped at moments of their own."""
    chance, now_s = random.Random(seed), time.time() if now_s is None else now_s  # noqa: S311  the same past each time
    totals = {"hits": 9e6, "misses": 2e5, "queries": 7e6}
    for place in range(int(span_s / scrape_s)):
        ago_s = span_s - place * scrape_s
        missed = sum(storm.within(ago_s, ago_s - scrape_s) for storm in storms)
        usual = READS_PER_S * scrape_s * chance.gauss(1.0, _NOISE)
        rare = usual * _MISS_RATIO * chance.gauss(1.0, _NOISE)
        totals["misses"] += round(missed + rare)
        totals["hits"] += round(max(0.0, usual - missed - rare))
        at_s = now_s - ago_s + scrape_s
        if at_s > now_s:
            return
        yield Sample("redis_keyspace_hits_total", _CACHE, at_s, totals["hits"])
        yield Sample("redis_keyspace_misses_total", _CACHE, at_s, totals["misses"])
        late_s = 0.4 * scrape_s  # the database is scraped that much before the cache
        begun_s, ended_s = ago_s + late_s, ago_s + late_s - scrape_s
        asked = sum(
            storm.within(begun_s - database_first_s, ended_s - database_first_s) for storm in storms
        ) * queries_per_miss + sum(job.within(begun_s, ended_s) for job in jobs)
        totals["queries"] += round(asked + queries_per_s * scrape_s * chance.gauss(1.0, _NOISE))
        yield Sample("pg_stat_database_xact_commit_total", _DATABASE, at_s - late_s, totals["queries"])
