"""What to do about a miss storm, for one hot key and for many: safest first, with what each step would buy."""

import math

from diag.analysis.protections import Forecast, MeasuredStorm, Protection, forecasts
from diag.findings import Command, NoCommand, Phrase, Quantity, Risk, ShellCommand, Step, say
from diag.text import KeyText

_LEAST_LOCK_MS, _LOCK_RECOMPUTES = 5_000, 10  # under load a recompute takes far longer than alone: p99.9 is safe
_PATTERN = ShellCommand(("diag", "runbook", "pattern"))


def against_one_key(storm: MeasuredStorm, key: KeyText | None = None) -> tuple[Step, ...]:
    """Return the steps for one key that all its readers recompute; those without gain are not in it."""
    lock = _lock_command(storm, key)
    return _steps(
        storm,
        (
            (Protection.POOL, _POOL, None),
            (Protection.STALE, _STALE, _PATTERN),
            (Protection.LOCK, _LOCK, lock),
            (Protection.EARLY_LOCK, _EARLY_LOCK, lock),
            (Protection.EARLY_PROBABILITY, _early_by_chance(storm), None),
        ),
    )


def against_many_keys(storm: MeasuredStorm) -> tuple[Step, ...]:
    """Return the steps for keys that expire together: a bound first, then the spread, which alone ends it."""
    return _steps(
        storm,
        (
            (Protection.POOL_RECHECK, _POOL_RECHECK, None),
            (Protection.JITTER, _JITTER, None),
            (Protection.STALE, _STALE, _PATTERN),
            (Protection.LOCK, _LOCK, _lock_command(storm, None)),
        ),
    )


_POOL = say("Cap the service's database pool at the cores of the database; new readers wait for a connection")
_POOL_RECHECK = say(
    "Cap the service's database pool at the cores of the database, and look at the cache once connected"
)
_STALE = say(
    "In the service: keep the value beyond its time to live; one reader refreshes it, the others get the old one"
    " (the command prints tested Python for it)"
)
_LOCK = say(
    "In the service: only the reader to whom Redis answers OK recomputes; TOKEN is random, and only its owner"
    " deletes the lock"
)
_EARLY_LOCK = say(
    "Refresh in the last 10 % of the time to live, under the same lock; without one it only moves the storm"
)
_JITTER = say("Write each time to live with 20 % of chance both ways: TTL * (0.8 + 0.4 * random)")


def _lock_command(storm: MeasuredStorm, key: KeyText | None) -> NoCommand:
    """Return what the service sends before it recomputes: in a shell it would take the lock from those who need it."""
    lives_ms = max(_LEAST_LOCK_MS, _LOCK_RECOMPUTES * math.ceil(storm.recompute_s * 1000))
    return NoCommand(
        say(
            "the service sends SET {lock} TOKEN NX PX {lives_ms}; from a shell it would take the lock",
            lock=KeyText(f"{key.raw}:lock") if key else KeyText("KEY:lock"),
            lives_ms=lives_ms,
        )
    )


def _early_by_chance(storm: MeasuredStorm) -> Phrase:
    if not storm.ttl_s or storm.reads_per_s <= 0:
        return _EARLY_LOCK
    chance = min(1.0, 7 / (storm.reads_per_s * 0.1 * storm.ttl_s))
    return say(
        "Without a lock: each read in the last 10 % refreshes with a chance of {chance}", chance=round(chance, 6)
    )


def _steps(storm: MeasuredStorm, plan: tuple[tuple[Protection, Phrase, Command | None], ...]) -> tuple[Step, ...]:
    made = {one.protection: one for one in forecasts(storm)}
    now = made[Protection.TODAY]
    return tuple(
        Step(title=title, risk=Risk.REVERSIBLE, command=command, expect=_buys(now, made[protection]))
        for protection, title, command in plan
        if protection in made and made[protection].gain
    )


def _buys(now: Forecast, then: Forecast) -> Phrase:
    """Say what the step changes, in what one can count at the next expiry; what cannot be forecast is not said."""
    values = {
        "after": Quantity(_seen(then.recomputations), "recomputations"),
        "before": Quantity(_least(now.recomputations) if now.at_least else _seen(now.recomputations), ""),
    }
    if now.at_least:
        said = say("the next expiry costs {after} instead of at least {before}", **values)
    else:
        said = say("the next expiry costs {after} instead of {before}", **values)
    if then.database_peak_queries is not None and then.recomputations > 1:
        said = say("{said}, {peak} of them at once", said=said, peak=Quantity(_seen(then.database_peak_queries), ""))
    if then.added_wait_s is not None:
        said = say("{said}; a reader waits {wait}", said=said, wait=Quantity(then.added_wait_s, "s"))
    if then.staleness_s:
        said = say("{said}; a value is served {stale} too long", said=said, stale=Quantity(then.staleness_s, "s"))
    return said


def _seen(count: float) -> float:
    """Leave out what is finer than the forecast."""
    return round(count) if count >= 1 else round(count, 1)


def _least(count: float) -> float:
    """Leave out what is finer than two digits, downwards: it is a lower bound."""
    finer = math.pow(10, max(0, len(str(int(count))) - 2))
    return math.floor(count / finer) * finer
