"""What to do about a miss storm, for one hot key and for many: safest first, with what each step would buy."""

from diag.analysis.protections import Forecast, MeasuredStorm, Protection, forecasts
from diag.findings import Phrase, Quantity, Risk, Step, say


def against_one_key(storm: MeasuredStorm) -> tuple[Step, ...]:
    """Return the steps for one key that all its readers recompute; those without gain are not in it."""
    return _steps(
        storm,
        (
            (Protection.POOL, _POOL, Risk.REVERSIBLE),
            (Protection.STALE, _STALE, Risk.REVERSIBLE),
            (Protection.LOCK, _LOCK, Risk.REVERSIBLE),
            (Protection.EARLY_LOCK, _EARLY_LOCK, Risk.REVERSIBLE),
            (Protection.EARLY_PROBABILITY, _early_by_chance(storm), Risk.REVERSIBLE),
        ),
    )


def against_many_keys(storm: MeasuredStorm) -> tuple[Step, ...]:
    """Return the steps for keys that expire together: a bound first, then the spread, which alone ends it."""
    return _steps(
        storm,
        (
            (Protection.POOL_RECHECK, _POOL_RECHECK, Risk.REVERSIBLE),
            (Protection.JITTER, _JITTER, Risk.REVERSIBLE),
            (Protection.STALE, _STALE, Risk.REVERSIBLE),
            (Protection.LOCK, _LOCK, Risk.REVERSIBLE),
        ),
    )


_POOL = say("Cap the service's database pool at the cores of the database; new readers wait for a connection")
_POOL_RECHECK = say(
    "Cap the service's database pool at the cores of the database, and look at the cache once connected"
)
_STALE = say("Keep the value beyond its time to live: one reader refreshes it, the others get the old one"
             " (templates/cache_pattern.py, shipped with diag)")  # fmt: skip
_LOCK = say(
    "Let one reader recompute: SET {example}; release it only by its token", example="key:lock token NX PX 5000"
)
_EARLY_LOCK = say(
    "Refresh in the last 10 % of the time to live, under the same lock; without one it only moves the storm"
)
_JITTER = say("Write each time to live with 20 % of chance both ways: TTL * (0.8 + 0.4 * random)")


def _early_by_chance(storm: MeasuredStorm) -> Phrase:
    if not storm.ttl_s or storm.reads_per_s <= 0:
        return _EARLY_LOCK
    chance = min(1.0, 7 / (storm.reads_per_s * 0.1 * storm.ttl_s))
    return say(
        "Without a lock: each read in the last 10 % refreshes with a chance of {chance}", chance=round(chance, 6)
    )


def _steps(storm: MeasuredStorm, plan: tuple[tuple[Protection, Phrase, Risk], ...]) -> tuple[Step, ...]:
    made = {one.protection: one for one in forecasts(storm)}
    now = made[Protection.TODAY]
    return tuple(
        Step(title=title, risk=risk, expect=_buys(now, made[protection]))
        for protection, title, risk in plan
        if protection in made and made[protection].gain
    )


def _buys(now: Forecast, then: Forecast) -> Phrase:
    """Say what the step changes, in what one can count at the next expiry; old values only where they are served."""
    values = {
        "before": Quantity(_seen(now.recomputations), "recomputations"),
        "after": Quantity(_seen(then.recomputations), "recomputations"),
        "peak": Quantity(_seen(then.database_peak_queries), "queries"),
        "wait": Quantity(then.added_wait_s, "s"),
    }
    if not then.staleness_s:
        return say("the next expiry costs {after} instead of {before}, {peak} at once; a reader waits {wait}", **values)
    return say(
        "the next expiry costs {after} instead of {before}, {peak} at once; a reader waits {wait}"
        " and a value is served {stale} too long",
        **values,
        stale=Quantity(then.staleness_s, "s"),
    )


def _seen(count: float) -> float:
    """Leave out what is finer than the forecast."""
    return float(round(count)) if count >= 1 else round(count, 1)
