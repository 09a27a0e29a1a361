"""One hot key expires: what each protection makes of it.

Names as in `storm_growth`: lambda reads a second, s one recompute alone, c workers, x = lambda s / c, f the
share of the time to live in which a refresh may come early, p its chance for each read. A reader who recomputes
does so before it answers. Sources: Vattani, Chierichetti and Lowenstein, "Optimal Probabilistic Cache Stampede
Prevention", VLDB 2015 (XFetch); Nishtala et al., "Scaling Memcache at Facebook", NSDI 2013 (leases);
RFC 5861 (stale-while-revalidate); redis.io, "SET", pattern of a lock.
"""

from __future__ import annotations

import math

from diag.analysis.storm_growth import Effect, MeasuredStorm, flood, unprotected

EARLY_SHARE = 0.1  # of the time to live: one refresh every 0.9 of it costs 11 % more recomputations
JITTER_RATIO = 0.2  # of the time to live, both ways: the spread that ended an hourly storm in practice
REFRESHES_EXPECTED = 7.0  # in the early window: e^-7 = 0.1 % of expiries find nobody who refreshed
LEASE_S = 10.0  # a lease server gives a key's token away once in 10 s (Nishtala et al., section 3.2.1)
BETA = 1.0  # of XFetch, as its paper proposes
_QUANTILES = 48  # of when the first early refresh begins: finer ones move no figure by 1 %


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
    rate, processes = storm.reads_per_s, storm.processes
    one = flood(lambda _, inside: rate * max(0.0, 1 - inside / processes), storm.recompute_s, storm.database_workers)
    return Effect(
        recomputations=one.recomputations,
        peak_queries=one.recomputations,
        added_wait_s=one.waited_s / one.recomputations,
    )


def pool(storm: MeasuredStorm) -> Effect:
    """Return what c connections, first come first served, make of it: 1 + lambda s recomputations, c at a time.

    Reader number i starts when number i - c is done. Valid for every load.
    """
    rate, s, workers = storm.reads_per_s, storm.recompute_s, storm.database_workers
    readers = 1 + rate * s
    rounds, left = divmod(readers, workers)
    waited = s * (workers * rounds * (rounds + 1) / 2 + left * (rounds + 1))  # were all to come at once
    if rounds and rate:
        behind = readers - workers  # who wait for the one `workers` places ahead, who came workers / rate before
        waited -= _ahead(behind, workers) / rate
    return Effect(recomputations=readers, peak_queries=_at_most(workers, rate * s), added_wait_s=waited / readers)


def _ahead(behind: float, workers: int) -> float:
    """Return how many places, in all, the waiting are behind the reader whose connection they get in the end."""
    rounds, left = divmod(behind, workers)
    return workers * (workers * rounds * (rounds + 1) / 2 + left * (rounds + 1))


def pool_recheck(storm: MeasuredStorm) -> Effect:
    """The same pool, and who gets a connection looks at the cache first: only the first c recompute."""
    rate, s, workers = storm.reads_per_s, storm.recompute_s, storm.database_workers
    first = _at_most(workers, rate * s)
    readers = 1 + rate * s
    rest = max(0.0, readers - first)
    waited = first * s + rest * rest / rate / 2 if rate else s
    return Effect(recomputations=first, peak_queries=first, added_wait_s=waited / readers)


def lock(storm: MeasuredStorm) -> Effect:
    """SET NX with a time to live L: 1 + floor(s / L) recomputations; the others wait s / 2 and half a poll."""
    return _locked(storm, storm.lock_ttl_s)


def lease(storm: MeasuredStorm) -> Effect:
    """Return what a token does that the cache gives to one reader every 10 s: a lock of that length."""
    return _locked(storm, LEASE_S)


def _locked(storm: MeasuredStorm, ttl_s: float | None) -> Effect:
    rate, s = storm.reads_per_s, storm.recompute_s
    holders = 1 if not ttl_s else 1 + math.floor(s / ttl_s)
    waiting = rate * s
    waited = holders * s + max(0.0, waiting - holders + 1) * (s / 2 + storm.poll_s / 2)
    return Effect(recomputations=holders, peak_queries=holders, added_wait_s=waited / (1 + waiting))


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
    in_time = (s + rate * late_s * late_s / 2) / (1 + rate * s)
    return Effect(
        recomputations=1.0,
        peak_queries=1.0,
        added_wait_s=(1 - nobody) * in_time + nobody * lock(storm).added_wait_s,
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
    few, all_ = unprotected(rate, s, workers), unguarded(storm)
    nobody = math.exp(-rate * ahead_s)
    recomputed = (1 - nobody) * few.recomputations + nobody * all_.recomputations
    few_wait_s = few.waited_s / (1 + storm.reads_per_s * few.fill_s)
    return Effect(
        recomputations=recomputed,
        peak_queries=recomputed,
        added_wait_s=(1 - nobody) * few_wait_s + nobody * all_.added_wait_s,
    )


def xfetch(storm: MeasuredStorm) -> Effect:
    """A read at g seconds before the expiry refreshes with chance e^(-g / (beta s)): XFetch.

    Where lambda s beta >> 1 that is e^(1 / beta) recomputations. Elsewhere, too: the integral over when the first
    begins, the flood from there (all read through once the key is gone), and today's flood where nobody did.
    """
    rate, s, workers = storm.reads_per_s, storm.recompute_s, storm.database_workers
    expected = rate * s * BETA  # early refreshes, if none of them ended it
    nobody = math.exp(-expected)
    all_ = unguarded(storm)
    recomputed, wait_s = nobody * all_.recomputations, nobody * all_.added_wait_s
    for place in range(_QUANTILES):
        before = -math.log(1 - (1 - nobody) * (place + 0.5) / _QUANTILES)
        ahead_s = BETA * s * math.log(max(1.0, expected / before)) if before else 0.0
        one = flood(lambda at_s, _, a=ahead_s: rate * min(1.0, math.exp((at_s - a) / (BETA * s))), s, workers)  # type: ignore[misc]
        recomputed += (1 - nobody) / _QUANTILES * one.recomputations
        wait_s += (1 - nobody) / _QUANTILES * one.waited_s / (1 + rate * one.fill_s)
    return Effect(recomputations=recomputed, peak_queries=recomputed, added_wait_s=wait_s)


def jitter(storm: MeasuredStorm) -> Effect:
    """One key expires alone already: a time to live that differs by 20 % changes when, and nothing else."""
    return unguarded(storm)


def stale(storm: MeasuredStorm) -> Effect:
    """One reader recomputes (a lock), all others get the old value: s beyond its time to live, and no wait."""
    rate, s = storm.reads_per_s, storm.recompute_s
    return Effect(
        recomputations=1.0,
        peak_queries=1.0,
        added_wait_s=s / (1 + rate * s),
        staleness_s=s + math.exp(-rate * s) / rate if rate else s,
    )


def _at_most(limit: int, mean: float) -> float:
    """Return the mean of min(limit, 1 + N) for a Poisson N."""
    chance, kept, seen = math.exp(-mean), 0.0, 0.0
    for later in range(limit - 1):
        kept += (1 + later) * chance
        seen += chance
        chance *= mean / (later + 1)
    return kept + limit * max(0.0, 1 - seen)
