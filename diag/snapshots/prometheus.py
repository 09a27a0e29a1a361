"""Facts that Prometheus recorded. Nouns: Prometheus documentation, "Querying basics", "Data model"."""

from __future__ import annotations

import statistics

from msgspec import Struct

from diag.snapshots.base import Snapshot
from diag.text import ServerText


class CounterSeries(Struct, frozen=True, kw_only=True):
    """One counter as it was scraped, or the sum of several scraped together.

    `at_s` are the times of the samples (seconds since 1970, rising), `totals` the counter's value at each;
    it falls only where the counter began anew. `metric` is the name it was found under.
    """

    metric: ServerText
    at_s: tuple[float, ...]
    totals: tuple[float, ...]

    @property
    def scrape_s(self) -> float:
        """Usual seconds between two samples; 0 when there are fewer than two."""
        steps = [later - earlier for earlier, later in zip(self.at_s, self.at_s[1:], strict=False)]
        return statistics.median(steps) if steps else 0.0


class CacheHistory(Snapshot, frozen=True, kw_only=True):
    """What a cache and the database behind it did over the last `span_s` seconds; None: no such series was found.

    `queries` counts the database's statements, or its transactions where statements are not counted.
    """

    span_s: float
    hits: CounterSeries | None = None
    misses: CounterSeries | None = None
    queries: CounterSeries | None = None
    warnings: tuple[ServerText, ...] = ()
