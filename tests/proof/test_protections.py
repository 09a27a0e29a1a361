"""What each protection would buy, over a grid of loads and workers and over drawn storms, against the simulation."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from proof.progress import Progress
from what_ifs import ALLOWED, MANY_EXTREME, ONE_KEY, bearable, drawn, held, many_keys, off, one_key, tried

from diag.analysis.protections import MeasuredStorm, Protection, forecast

pytestmark = [pytest.mark.proof, pytest.mark.timeout(7200)]

DRAWN = 40
RUNS, XFETCH_RUNS = 3_000, 12_000  # of XFetch a few decide: refreshes still at it when the key expires
QUERIES = 400_000  # of all runs on one point, about: seconds of ours


@pytest.fixture(scope="module")
def progress() -> Iterator[Progress]:
    """What was tried; the figures are written when this module ends, also when it is interrupted."""
    progress = Progress("protections")
    yield progress
    progress.publish(_words(progress))


@pytest.mark.parametrize("protection", Protection)
@pytest.mark.parametrize(("load", "workers", "ttl_s"), [(*point, ttl_s) for point, ttl_s in ONE_KEY.items()])
def test_one_hot_key(load: float, workers: int, ttl_s: float, protection: Protection, progress: Progress) -> None:
    storm = one_key(load, workers, ttl_s=ttl_s)
    heavy = protection in {Protection.EARLY_PROBABILITY, Protection.EARLY_UNGATED, Protection.JITTER, Protection.TODAY}
    queries = forecast(storm, Protection.TODAY if heavy else protection).recomputations
    most = XFETCH_RUNS if protection is Protection.XFETCH else RUNS
    runs = min(most, max(24, round(QUERIES / queries)))
    _try(progress, f"{protection.name} {load} x {workers}", storm, protection, runs)


@pytest.mark.parametrize("protection", Protection)
@pytest.mark.parametrize("number", range(DRAWN))
def test_many_keys(number: int, protection: Protection, progress: Progress) -> None:
    storm = drawn(number)
    _try(progress, f"{protection.name} many {number}", storm, protection, max(3, min(100, 30_000 // storm.keys)))


@pytest.mark.parametrize("protection", Protection)
@pytest.mark.parametrize("kind", MANY_EXTREME)
def test_many_keys_at_the_corners(kind: str, protection: Protection, progress: Progress) -> None:
    storm = many_keys(*MANY_EXTREME[kind])
    _try(progress, f"{protection.name} many {kind}", storm, protection, 24 if storm.keys < 1_000 else 3)


def _try(progress: Progress, name: str, storm: MeasuredStorm, protection: Protection, runs: int) -> None:
    if name not in progress.trials:
        if not bearable(storm, protection):
            pytest.skip("duplicates multiply without end: only a lower bound is said")
        trial = tried(storm, protection, runs=runs)
        if trial is None:
            pytest.skip("nothing is said")
        progress.add(name, **trial)
    assert held(progress.trials[name]), progress.trials[name]


def _words(progress: Progress) -> str:
    lines = [
        "## What each protection buys\n",
        "Worst error of a figure against the mean of the simulation (standard error 4 % where runs allow it).",
        f"One key: loads 0.05 to 8, 1 to 64 workers, {len(ONE_KEY)} points. Many keys: {DRAWN} storms drawn from",
        "100 to 20,000 keys, 1 to 10 s wide, 0.05 to 20 reads of a key a second, recomputes of 5 to 200 ms,",
        "2 to 16 workers, first reads 0.05 to 20 times what the database can do; and the corners, with 200,000 keys.",
        f"Allowed: {ALLOWED:.0%}. In brackets: figures said, of all. What is not said stands as null in the rows: the",
        'database between 0.6 and 1.5 of what it can do, and duplicates in a full one, which have "at least" only.\n',
        "| protection | keys | trials | held | recomputations | at least | peak | added wait | staleness |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for protection in Protection:
        for many in (False, True):
            trials = [
                trial
                for name, trial in progress.trials.items()
                if name.split()[0] == protection.name and (" many " in name) == many
            ]
            if trials:
                said = "one" if not many else "many"
                lines.append(f"| {protection.value} | {said} | {_row(trials)} |")
    return "\n".join(lines)


def _row(trials: list[dict]) -> str:
    errors = [off(trial) for trial in trials]
    exact = [one[0] for one, trial in zip(errors, trials, strict=True) if not trial["at_least"]]
    bounds = [one[0] for one, trial in zip(errors, trials, strict=True) if trial["at_least"]]
    figures = [_worst(exact, len(trials)), f"{sum(not one for one in bounds)} of {len(bounds)}" if bounds else "–"]
    figures += [_worst([one[place] for one in errors], len(trials)) for place in (1, 2, 3)]
    return " | ".join([str(len(trials)), str(sum(map(held, trials))), *figures])


def _worst(errors: list[float | None], trials: int) -> str:
    said = [one for one in errors if one is not None]
    share = "" if len(said) == trials else f" ({len(said)} of {trials})"
    return f"{max(said):.1%}{share}" if said else "–"
