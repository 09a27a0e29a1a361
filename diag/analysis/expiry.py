"""Keys that will expire together: the scan statistic, per key family.

A sample of n times to live, uniform over a span T, puts mu = n w / T of them in a window of
width w. The chance that the best of all windows holds k or more is bounded by
ln p <= -mu + k - k ln(k / mu) + ln(2 T / w x families) (Chernoff's bound for a Poisson count,
with a union over half-overlapping windows). Only after that test is a share estimated.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from datetime import datetime, timedelta

from msgspec import Struct

from diag.snapshots.base import Row
from diag.snapshots.redis import KeyFamily, RedisExpiry
from diag.text import KeyText

_CENTURY_S = 3_155_760_000.0
_NEAR_S, _AROUND_S = 10.0, 60.0  # the minute on either side of a window, past what may be its own flanks
_STRAYS, _APART = 40, 10  # one key in 40 at either end, a tenth of the window from the rest, is not of the cluster
_Z95 = 1.959964  # normal quantile of a two-sided 95 % interval


class Cluster(Struct, frozen=True, kw_only=True):
    """The densest window of one family's expiries.

    `sampled_keys` of the family's `family_keys` sampled ones fall into it; `from_s` and `width_s`
    place it after `observed_at`, without strays of the background before and after it; `log_p` is the bound
    of chance; `burst_factor` is its rate over that of the minute beside it.
    """

    pattern: KeyText
    sampled_keys: int
    family_keys: int
    from_s: float
    width_s: float
    log_p: float
    burst_factor: float


def densest_window(family: KeyFamily, window_s: float, families: int) -> Cluster | None:
    """Return the window of `window_s` seconds with most expiries, or None when nothing expires."""
    times = family.expires_in_s
    if not times:
        return None
    best, best_start, start = 0, 0, 0
    for end, at in enumerate(times):
        while at - times[start] > window_s:
            start += 1
        if end - start + 1 > best:
            best, best_start = end - start + 1, start
    first, last = _without_strays(times[best_start : best_start + best], window_s)
    span = max(times[-1], window_s)
    return Cluster(
        pattern=family.pattern,
        sampled_keys=best,
        family_keys=family.sampled,
        from_s=first,
        width_s=last - first,
        log_p=log_chance(best, len(times), window_s, span, families),
        burst_factor=_burst_factor(times, best, window_s, (first, last)),
    )


def _without_strays(inside: tuple[float, ...], window_s: float) -> tuple[float, float]:
    """Return when the keys of a window begin and end to expire; a few that stand apart at its ends do not say so."""
    most, apart_s = len(inside) // _STRAYS, window_s / _APART
    begin = max((at for at in range(1, most + 1) if inside[at] - inside[at - 1] > apart_s), default=0)
    end = max((at for at in range(1, most + 1) if inside[-at] - inside[-at - 1] > apart_s), default=0)
    return inside[begin], inside[len(inside) - 1 - end]


def log_chance(inside: int, sampled: int, window_s: float, span_s: float, families: int) -> float:
    """Return the bound on ln p that chance alone fills some window so; 0 when it is no surprise."""
    expected = sampled * min(1.0, window_s / span_s)
    if inside <= expected:
        return 0.0
    windows = max(1.0, 2 * span_s / window_s)
    return min(0.0, -expected + inside - inside * math.log(inside / expected) + math.log(windows * max(1, families)))


def _burst_factor(times: tuple[float, ...], inside: int, window_s: float, window: tuple[float, float]) -> float:
    """Compare the window with the busier of the minutes before and after it; an empty minute counts as one key.

    Keys renewed on use pile up towards their full time to live, and short times to live fill every
    window: there the minute beside is as busy. A cliff stands alone.
    """
    first, last = window
    sides = ((first - _NEAR_S - _AROUND_S, first - _NEAR_S), (last + _NEAR_S, last + _NEAR_S + _AROUND_S))
    busiest = 0.0
    for begin, end in sides:
        begin_seen = max(0.0, begin)
        if end > begin_seen:
            count = bisect_right(times, end) - bisect_left(times, begin_seen)
            busiest = max(busiest, count * window_s / (end - begin_seen))
    return inside / max(1.0, busiest)


def share_interval(inside: int, sampled: int) -> tuple[float, float]:
    """Return the 95 % interval of a share of 0-1 (Wilson 1927, without continuity correction)."""
    if not sampled:
        return 0.0, 1.0
    share, z2 = inside / sampled, _Z95**2
    centre = (share + z2 / (2 * sampled)) / (1 + z2 / sampled)
    half = _Z95 / (1 + z2 / sampled) * math.sqrt(share * (1 - share) / sampled + z2 / (4 * sampled**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def moment(facts: RedisExpiry, cluster: Cluster) -> datetime:
    """Return when the window of a cluster begins; a time beyond the calendar is as good as its last century."""
    return facts.observed_at + timedelta(seconds=min(cluster.from_s, _CENTURY_S))


def keys_in(cluster: Cluster, facts: RedisExpiry) -> int:
    """Scale a cluster from the sample to the whole database."""
    return round(cluster.sampled_keys / max(1, facts.sampled_keys) * facts.total_keys)


def keys_interval(cluster: Cluster, facts: RedisExpiry) -> tuple[int, int]:
    """Return the 95 % interval of `keys_in`; both ends are equal when every key was seen."""
    if facts.exhaustive:
        return cluster.sampled_keys, cluster.sampled_keys
    low, high = share_interval(cluster.sampled_keys, facts.sampled_keys)
    return round(low * facts.total_keys), round(high * facts.total_keys)


class ClusterRow(Row, frozen=True, kw_only=True):
    """One row of `facts.expiry_clusters[]`."""

    pattern: KeyText
    keys: int
    share: float
    expires_at: datetime
    width_s: float


def cluster_rows(facts: RedisExpiry, window_s: float) -> tuple[ClusterRow, ...]:
    """Return the densest window of every family, most keys first."""
    rows = [
        ClusterRow(
            target=facts.target.name,
            pattern=cluster.pattern,
            keys=keys_in(cluster, facts),
            share=round(cluster.sampled_keys / cluster.family_keys, 4),
            expires_at=moment(facts, cluster),
            width_s=round(cluster.width_s, 3),
        )
        for family in facts.families
        if (cluster := densest_window(family, window_s, len(facts.families)))
    ]
    return tuple(sorted(rows, key=lambda row: -row.keys))
