"""Storms on which the forecasts are tried, and how far a forecast is off the simulated mean."""

from __future__ import annotations

import random
from math import exp, expm1, log

from stampede_simulator import FIGURES, mean

from diag.analysis.protections import MeasuredStorm, Protection, forecast

ALLOWED = 0.2  # of the simulated mean
SETTLED = 0.04  # the standard error of that mean
CHANCE = 3  # standard errors that a lower bound may lie above a mean
S = 0.1

ONE_KEY = {  # load, workers: the time to live
    **{(load, workers): 20.0 for load in (0.05, 0.3, 1.0, 3.0, 8.0) for workers in (2, 4, 16)},
    (0.3, 1): 20.0,
    (3.0, 1): 20.0,
    (5.0, 8): 20.0,
    (1.0, 64): 20.0,
    (3.0, 64): 20.0,
    (0.3, 4): 2.0,
    (2.0, 8): 2.0,  # an early window two recomputes long
}
MANY_EXTREME = {  # keys, width, reads of a key a second, recompute, workers
    "hot, and full at once": (20_000, 1.0, 20.0, 0.2, 16),
    "cold": (20_000, 5.0, 0.05, 0.005, 16),
    "few, slow": (100, 10.0, 1.0, 0.2, 8),
    "quick": (20_000, 10.0, 20.0, 0.005, 16),
    "two hundred thousand": (200_000, 5.0, 0.5, 0.02, 8),
}
_DUPLICATING = {
    Protection.TODAY,
    Protection.EARLY_UNGATED,
    Protection.EARLY_PROBABILITY,
    Protection.POOL,
    Protection.JITTER,
}
_READS_AT_MOST = 400_000  # of a run: seconds of ours


def one_key(load: float, workers: int, *, ttl_s: float = 20.0, **more) -> MeasuredStorm:
    """One key under a load."""
    given = {"processes": 12, "ttl_s": ttl_s, "poll_s": 0.02, **more}
    return MeasuredStorm(reads_per_s=load * workers / S, recompute_s=S, database_workers=workers, **given)


def many_keys(keys: int, width_s: float, each_per_s: float, recompute_s: float, workers: int) -> MeasuredStorm:
    return MeasuredStorm(
        reads_per_s=each_per_s * keys,
        recompute_s=recompute_s,
        database_workers=workers,
        ttl_s=100.0,
        keys=keys,
        width_s=width_s,
        poll_s=0.02,
    )


def drawn(number: int) -> MeasuredStorm:
    """One of many storms of 100 to 20,000 keys, between idle and twenty times what the database can do."""
    chance = random.Random(number)

    def between(least: float, most: float) -> float:
        return exp(chance.uniform(log(least), log(most)))

    while True:
        keys, width_s, each = round(between(100, 20_000)), between(1, 10), between(0.05, 20)
        recompute_s, workers = between(0.005, 0.2), chance.choice((2, 4, 8, 16))
        first = -expm1(-each * width_s) * keys / width_s * recompute_s / workers
        if 0.05 < first < 20:
            return many_keys(keys, width_s, each, recompute_s, workers)


def bearable(storm: MeasuredStorm, protection: Protection) -> bool:
    """Tell whether a run ends soon: where the database is full, duplicates multiply without end."""
    each, work_s = storm.reads_per_s / storm.keys, storm.keys * storm.recompute_s / storm.database_workers
    if storm.keys == 1:
        return True
    if protection not in _DUPLICATING:
        return storm.reads_per_s * (storm.width_s + work_s) < _READS_AT_MOST
    load = work_s / storm.width_s * (1 + each * storm.recompute_s)
    return load < 0.9 or not forecast(storm, protection).at_least


def tried(storm: MeasuredStorm, protection: Protection, *, runs: int) -> dict | None:
    """Return what was said and what was found, as JSON has it; None where nothing is said."""
    said = forecast(storm, protection)
    if said is None:
        return None
    found = mean(storm, protection, runs=runs, settled=SETTLED)
    return {
        "said": [getattr(said, figure) for figure in FIGURES],
        "at_least": said.at_least,
        "found": list(found.figures),
        "errors": list(found.errors),
        "runs": found.runs,
    }


def off(trial: dict) -> list[float | None]:
    """Return how far each figure is off, None where it is not said; a bound is off by what it lies too high."""
    made: list[float | None] = []
    for place, (said, found) in enumerate(zip(trial["said"], trial["found"], strict=True)):
        if said is None:
            made.append(None)
        elif place == 0 and trial["at_least"]:
            made.append(float(said > found + CHANCE * trial["errors"][0]))
        else:
            made.append(abs(said / found - 1) if found else float(said != found))
    return made


def held(trial: dict) -> bool:
    return all(one is None or one <= ALLOWED for one in off(trial))
