"""One hot key expires: what each protection makes of it.

Names as in `storm_growth`: lambda reads a second, s one recompute alone, c workers, x = lambda s / c, f the
share of the time to live in which a refresh may come early, p its chance for each read. A reader who recomputes
does so before it answers. Sources: Vattani, Chierichetti and Lowenstein, "Optimal Probabilistic Cache Stampede
Prevention", VLDB 2015 (XFetch); Nishtala et al., "Scaling Memcache at Facebook", NSDI 2013 (leases);
RFC 5861 (stale-while-revalidate); redis.io, "SET", pattern of a lock.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from diag.analysis import xfetch as xfetch_paths
from diag.analysis.storm_growth import (
    Effect,
    Flood,
    MeasuredStorm,
    floods,
    joined_s,
    poisson,
    share_of_first,
    unprotected,
)

EARLY_SHARE = 0.1  # of the time to live: one refresh every 0.9 of it costs 11 % more recomputations
JITTER_RATIO = 0.2  # of the time to live, both ways: the spread that ended an hourly storm in practice
REFRESHES_EXPECTED = 7.0  # in the early window: e^-7 = 0.1 % of expiries find nobody who refreshed
LEASE_S = 10.0  # a lease server gives a key's token away once in 10 s (Nishtala et al., section 3.2.1)
_HARDLY_READ = 1e-6  # reads in one recompute: nobody refreshes early, and nobody recomputes twice
_DEVIATIONS, _COUNTS = 6, 200  # how far from its mean a Poisson count is followed, and in how many steps


def unguarded(storm: MeasuredStorm) -> Effect:
    """Everybody recomputes until the first is done, and the database shares itself: exact mean, see `storm_growth`."""
    all_ = unprotected(storm.reads_per_s, storm.recompute_s, storm.database_workers)
    return Effect(
        recomputations=all_.recomputations,
        peak_queries=all_.recomputations,
        added_wait_s=all_.waited_s / all_.recomputations,
    )


def per_process(storm: MeasuredStorm) -> Effect | None:
    """Each process recomputes once and its other readers wait for that: at most as many as there are processes."""
    if not storm.processes:
        return None
    rate, processes, s = storm.reads_per_s, storm.processes, storm.recompute_s
    both = floods(lambda _, inside: rate * max(0.0, 1 - inside / processes), s, storm.database_workers)
    recomputed = sum(one.recomputations for one in both) / 2
    waits_s = [
        (one.waited_s + joined_s(one, rate / processes, s, storm.database_workers)) / (1 + rate * one.fill_s)
        for one in both
    ]
    return Effect(recomputations=recomputed, peak_queries=recomputed, added_wait_s=sum(waits_s) / 2)


def pool(storm: MeasuredStorm) -> Effect:
    """Return what c connections, first come first served, make of it: 1 + lambda s recomputations, c at a time.

    Reader number i starts when number i - c is done. Exact for every load.
    """
    mean, workers = storm.reads_per_s * storm.recompute_s, storm.database_workers

    def waits(readers: int) -> float:
        rounds, left = divmod(readers, workers)
        behind = workers * rounds * (rounds - 1) / 2 + left * rounds  # whole rounds before one's own, summed
        return storm.recompute_s * (1 + behind * (1 - workers / readers) / readers)

    return Effect(
        recomputations=1 + mean,
        peak_queries=_over_chance(mean, lambda readers: min(workers, readers)),
        added_wait_s=_over_chance(mean, waits),
    )


def pool_recheck(storm: MeasuredStorm) -> Effect:
    """The same pool, and who gets a connection looks at the cache first: only the first c recompute. Exact."""
    mean, workers = storm.reads_per_s * storm.recompute_s, storm.database_workers
    first = _over_chance(mean, lambda readers: min(workers, readers))

    def waits(readers: int) -> float:
        served = max(0, readers - workers)
        return storm.recompute_s * (readers - served + served * (served + 1) / 2 / readers) / readers

    return Effect(recomputations=first, peak_queries=first, added_wait_s=_over_chance(mean, waits))


def lock(storm: MeasuredStorm) -> Effect:
    """SET NX with a time to live L: 1 + floor(s / L) recomputations; the others wait s / 2 and half a poll."""
    return _locked(storm, storm.lock_ttl_s)


def lease(storm: MeasuredStorm) -> Effect:
    """Return what a token does that the cache gives to one reader every 10 s: a lock of that length."""
    return _locked(storm, LEASE_S)


def _locked(storm: MeasuredStorm, ttl_s: float | None) -> Effect:
    s = storm.recompute_s
    holders = 1 if not ttl_s else 1 + math.floor(s / ttl_s)
    return Effect(recomputations=holders, peak_queries=holders, added_wait_s=_behind_lock_s(storm))


def _behind_lock_s(storm: MeasuredStorm) -> float:
    """Return the mean wait: all of the recompute for the first, half of it and half a poll for the others."""
    s = storm.recompute_s
    others_s = s / 2 + storm.poll_s / 2
    return others_s + (s - others_s) * share_of_first(storm.reads_per_s * s)


def early_ungated(storm: MeasuredStorm) -> Effect:
    """Everybody who reads below f of the time to live refreshes: the same flood, only sooner."""
    return unguarded(storm)


def early_lock(storm: MeasuredStorm) -> Effect | None:
    """Return what one refresh before the end makes of it: nobody waits but who refreshes.

    With chance e^(-lambda f TTL) nobody reads in time, and it is a lock at the expiry.
    """
    if not storm.ttl_s:
        return None
    rate, s = storm.reads_per_s, storm.recompute_s
    ahead_s = EARLY_SHARE * storm.ttl_s
    nobody = math.exp(-rate * ahead_s)
    late_s = max(0.0, s - max(0.0, ahead_s - 1 / rate)) if rate else s  # still at it when the key expires
    in_time = s * share_of_first(rate * s) + (rate * late_s * late_s / 2) / (1 + rate * s)
    return Effect(
        recomputations=1.0,
        peak_queries=1.0,
        added_wait_s=(1 - nobody) * in_time + nobody * _behind_lock_s(storm),
    )


def early_probability(storm: MeasuredStorm) -> Effect | None:
    """Each read below f of the time to live refreshes with chance p = 7 / (lambda f TTL).

    While one refreshes, others do at the rate p lambda: the flood of so many fewer readers. With chance
    e^(-p lambda f TTL) nobody did, and it is as today; p is at most 1, which is the ungated refresh.
    """
    if not storm.ttl_s or storm.reads_per_s <= 0:
        return None
    s, workers = storm.recompute_s, storm.database_workers
    ahead_s = EARLY_SHARE * storm.ttl_s
    rate = min(storm.reads_per_s, REFRESHES_EXPECTED / ahead_s)
    few, all_ = unprotected(rate, s, workers), unprotected(storm.reads_per_s, s, workers)
    nobody = math.exp(-rate * ahead_s)
    recomputed = (1 - nobody) * few.recomputations + nobody * all_.recomputations
    few_wait_s = _among_readers_s(few, rate / storm.reads_per_s, storm.reads_per_s)
    return Effect(
        recomputations=recomputed,
        peak_queries=recomputed,
        added_wait_s=(1 - nobody) * few_wait_s + nobody * all_.waited_s / all_.recomputations,
    )


def xfetch(storm: MeasuredStorm) -> Effect:
    """Refresh by a chance that grows towards the expiry, see `xfetch`: about e, where they fit into the database."""
    if storm.reads_per_s * storm.recompute_s < _HARDLY_READ:
        return unguarded(storm)
    flood = unprotected(storm.reads_per_s, storm.recompute_s, storm.database_workers)
    return xfetch_paths.effect(storm, flood)


def jitter(storm: MeasuredStorm) -> Effect:
    """One key expires alone already: a time to live that differs by 20 % changes when, and nothing else."""
    return unguarded(storm)


def stale(storm: MeasuredStorm) -> Effect:
    """One reader recomputes (a lock), all others get the old value: s beyond its time to live, and no wait."""
    rate, s = storm.reads_per_s, storm.recompute_s
    return Effect(
        recomputations=1.0,
        peak_queries=1.0,
        added_wait_s=s * share_of_first(rate * s),
        staleness_s=s + math.exp(-rate * s) / rate if rate else s,
    )


def _among_readers_s(one: Flood, share: float, reads_per_s: float) -> float:
    """Spread what those inside wait over all readers who come meanwhile, of whom the first and a `share` are inside."""
    first = share_of_first(reads_per_s * one.fill_s)
    return one.waited_s / one.recomputations * (share + (1 - share) * first)


def _over_chance(mean: float, figure: Callable[[int], float]) -> float:
    """Return the mean of `figure(1 + N)` for a Poisson N, from counts up to six standard deviations off."""
    least = max(0, math.floor(mean - _DEVIATIONS * math.sqrt(mean)))
    most = math.ceil(mean + _DEVIATIONS * math.sqrt(mean) + _DEVIATIONS)
    counts = range(least, most + 1, max(1, (most - least) // _COUNTS))
    chances = [poisson(count, mean) for count in counts]
    return sum(chance * figure(1 + count) for chance, count in zip(chances, counts, strict=True)) / sum(chances)
