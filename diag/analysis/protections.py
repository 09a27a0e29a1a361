"""What each protection would make of a measured miss storm: a what-if, by formula and short integration.

One recompute of a key takes s alone, its readers come at lambda a second (Poisson), the database works on
c queries at once. The peak is counted in queries inside the database at once, the wait over the readers who
come from the first recomputation until the cache is filled, staleness in seconds beyond the time to live.
A protection that takes away less than a fifth of recomputations and of the peak, which is as exact as this is,
brings no gain: jitter for one key, and an early refresh that anybody may do.
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from diag.analysis import joint_expiry, one_expiry
from diag.analysis.one_expiry import JITTER_RATIO
from diag.analysis.storm_growth import Effect, Estimate, MeasuredStorm, from_duplicates, from_fill, recomputations
from diag.snapshots.base import Row

__all__ = [
    "Estimate",
    "Forecast",
    "MeasuredStorm",
    "Protection",
    "ProtectionRow",
    "forecast",
    "forecasts",
    "from_duplicates",
    "from_fill",
    "jitter_gain",
    "misses_per_s",
    "protection_rows",
    "ranked",
]
_SEEN_GAIN = 0.8  # of today's figure: what is nearer to it lies within the error of these figures
MOST_LOAD, MOST_WORKERS = 8.0, 64  # of one key: the proved range ends here; a load of 8 is 10,000 recomputations


class Protection(StrEnum):
    """What can be done about a storm of misses; `TODAY` is none of it."""

    TODAY = "nothing"
    PER_PROCESS = "one recompute per process"
    POOL = "bounded pool"
    POOL_RECHECK = "bounded pool, then the cache again"
    LOCK = "lock"
    EARLY_UNGATED = "early refresh by anybody"
    EARLY_LOCK = "early refresh, with a lock"
    EARLY_PROBABILITY = "early refresh, by chance"
    XFETCH = "XFetch"
    JITTER = "jitter"
    STALE = "stale while revalidate"
    LEASE = "lease"


_SPREADING = {Protection.JITTER, Protection.EARLY_PROBABILITY}
_BOUNDING = {Protection.POOL, Protection.POOL_RECHECK}


class Forecast(Struct, frozen=True, kw_only=True):
    """What one protection makes of one expiry (of all keys together), on average, within a fifth.

    A figure that cannot be said so is None; with `at_least`, so many recomputations or more.
    """

    protection: Protection
    recomputations: float
    database_peak_queries: float | None
    added_wait_s: float | None
    staleness_s: float | None
    gain: bool
    at_least: bool = False


def forecasts(storm: MeasuredStorm) -> tuple[Forecast, ...]:
    """Return what each protection would make of the storm, today first; without those that need an unknown."""
    effects = _effects(storm)
    today = effects[Protection.TODAY]
    return tuple(_judged(protection, effect, today) for protection, effect in effects.items())


def _effects(storm: MeasuredStorm) -> dict[Protection, Effect]:
    if storm.keys > 1 and storm.reads_per_s <= 0:
        return {Protection.TODAY: Effect(recomputations=0.0, peak_queries=0.0, added_wait_s=0.0)}
    if storm.keys <= 1 and (storm.load > MOST_LOAD or storm.database_workers > MOST_WORKERS):
        return _beyond(storm)
    of = one_expiry if storm.keys <= 1 else joint_expiry
    made = {
        Protection.TODAY: of.unguarded(storm),
        Protection.PER_PROCESS: of.per_process(storm),
        Protection.POOL: of.pool(storm),
        Protection.POOL_RECHECK: of.pool_recheck(storm),
        Protection.LOCK: of.lock(storm),
        Protection.EARLY_UNGATED: of.early_ungated(storm),
        Protection.EARLY_LOCK: of.early_lock(storm),
        Protection.EARLY_PROBABILITY: of.early_probability(storm),
        Protection.XFETCH: of.xfetch(storm),
        Protection.JITTER: of.jitter(storm),
        Protection.STALE: of.stale(storm),
        Protection.LEASE: of.lease(storm),
    }
    return {protection: effect for protection, effect in made.items() if effect is not None}


def _beyond(storm: MeasuredStorm) -> dict[Protection, Effect]:
    """Return what holds for one key under any load: a lower bound of today's flood, and those that are exact."""
    bound_s = min(storm.recompute_s, MOST_LOAD * storm.database_workers / storm.reads_per_s)
    least = recomputations(storm.reads_per_s, bound_s, storm.database_workers)
    flood = Effect(recomputations=least, at_least=True, peak_queries=None, added_wait_s=None)
    return {
        Protection.TODAY: flood,
        Protection.POOL: one_expiry.pool(storm),
        Protection.POOL_RECHECK: one_expiry.pool_recheck(storm),
        Protection.LOCK: one_expiry.lock(storm),
        Protection.EARLY_UNGATED: flood,
        Protection.JITTER: flood,
        Protection.STALE: one_expiry.stale(storm),
        Protection.LEASE: one_expiry.lease(storm),
    }


def _judged(protection: Protection, effect: Effect, today: Effect) -> Forecast:
    fewer = not effect.at_least and effect.recomputations < _SEEN_GAIN * today.recomputations
    if today.peak_queries is not None:
        lower = effect.peak_queries is not None and effect.peak_queries < _SEEN_GAIN * today.peak_queries
    else:  # the database does not keep up today: with these it does, or is bounded
        lower = protection in _SPREADING and not effect.at_least and today.at_least
        lower = lower or (protection in _BOUNDING and effect.peak_queries is not None)
    return Forecast(
        protection=protection,
        recomputations=effect.recomputations,
        database_peak_queries=effect.peak_queries,
        added_wait_s=effect.added_wait_s,
        staleness_s=effect.staleness_s,
        gain=fewer or lower,
        at_least=effect.at_least,
    )


def forecast(storm: MeasuredStorm, protection: Protection) -> Forecast | None:
    """Return what one protection would make of the storm; None where that needs what is not known."""
    return next((one for one in forecasts(storm) if one.protection is protection), None)


_ONE_KEY = (
    Protection.STALE,  # nobody waits, and an unplanned expiry or a slow recompute is covered, too
    Protection.EARLY_LOCK,  # nobody waits and nothing is stale, as long as the recompute fits into the early window
    Protection.LOCK,  # the others wait for one recompute
    Protection.LEASE,
    Protection.EARLY_PROBABILITY,  # needs no lock, but the rate of the reads must be known
    Protection.XFETCH,  # the same, and for keys that are read often
    Protection.POOL_RECHECK,
    Protection.PER_PROCESS,
    Protection.POOL,
)
_MANY_KEYS = (
    Protection.JITTER,  # the only one that spreads the work: all others only take duplicates away
    Protection.EARLY_PROBABILITY,
    Protection.POOL_RECHECK,
    Protection.POOL,
    Protection.STALE,
    Protection.EARLY_LOCK,
    Protection.LOCK,
    Protection.LEASE,
)


def ranked(storm: MeasuredStorm) -> tuple[Forecast, ...]:
    """Return the protections worth having, the one to begin with first; those without gain are not in it.

    For one hot key by what its readers feel: no wait and no duplicates before a wait, a wait before duplicates.
    For many keys by what the database feels: spread first, then bounded, then without duplicates.
    """
    order = _ONE_KEY if storm.keys <= 1 else _MANY_KEYS
    made = {one.protection: one for one in forecasts(storm)}
    return tuple(made[one] for one in order if one in made and made[one].gain)


def misses_per_s(keys: float, width_s: float) -> float:
    """Return the misses a second when `keys` that are all read often expire evenly over `width_s`.

    At least one second is taken: keys with the same second to live are missed as they are read.
    """
    return keys / max(1.0, width_s)


def jitter_gain(spread_s: float, width_s: float) -> float:
    """Return by how much jitter of 20 % both ways on `spread_s` lowers the misses a second: 2 j T / w; at least 1."""
    return max(1.0, 2 * JITTER_RATIO * spread_s / max(1.0, width_s))


class ProtectionRow(Row, frozen=True, kw_only=True):
    """One row of `facts.protections[]`: one expiry of `subject` under one protection, on average.

    `database_peak_queries` counts queries at once; `added_wait_s` is the mean over readers who come from the
    first recomputation until the cache is filled; `staleness_s` is how far beyond its time to live a value is
    served; `gain` is "no gain" where it changes too little to be worth it, "unknown" where no peak can be said.
    None: not to be forecast within a fifth; `bound` is "at least" where so many recomputations, or more, are all
    that can be said.
    """

    protection: str
    recomputations: float
    bound: str
    database_peak_queries: float | None
    added_wait_s: float | None
    staleness_s: float | None
    gain: str


def protection_rows(storm: MeasuredStorm, target: str = "default") -> tuple[ProtectionRow, ...]:
    """Return one row for each protection, today first."""
    return tuple(
        ProtectionRow(
            target=target,
            protection=one.protection.value,
            recomputations=round(one.recomputations, 1),
            bound="at least" if one.at_least else "",
            database_peak_queries=_rounded(one.database_peak_queries, 1),
            added_wait_s=_rounded(one.added_wait_s, 4),
            staleness_s=_rounded(one.staleness_s, 4),
            gain=_gain(storm, one),
        )
        for one in forecasts(storm)
    )


def _gain(storm: MeasuredStorm, one: Forecast) -> str:
    if one.protection is Protection.TODAY:
        return "today"
    if one.gain:
        return "yes"
    nothing = {Protection.EARLY_UNGATED} if storm.keys > 1 else {Protection.EARLY_UNGATED, Protection.JITTER}
    return "no gain" if one.protection in nothing or one.database_peak_queries is not None else "unknown"


def _rounded(figure: float | None, places: int) -> float | None:
    return None if figure is None else round(figure, places)
