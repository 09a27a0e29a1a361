"""Every situation of a cache, on a real server in five sizes and names, is called what it is; controls never are.

A trial whose situation could not be set up is no trial: it is tried again.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from cache_situations import SITUATIONS, duplicates_error, looked_at, problem
from proof.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import StartRedis

pytestmark = [pytest.mark.proof, pytest.mark.timeout(3600)]

_SEEDS = range(5)


@pytest.fixture(scope="module")
def progress() -> Iterator[Progress]:
    """What was tried; the figures are written when this module ends, also when it is interrupted."""
    progress = Progress("cache-seeds")
    yield progress
    progress.publish(_words(progress))


@pytest.mark.parametrize("name", SITUATIONS)
def test_whatever_its_size_it_is_called_what_it_is(private_redis: StartRedis, progress: Progress, name: str) -> None:
    situation = SITUATIONS[name]
    for seed in _SEEDS:
        trial = f"{name} seed {seed}"
        if trial in progress.trials:
            continue
        begun = time.monotonic()
        with looked_at(situation, private_redis(), seed) as (report, load):
            took_s = time.monotonic() - begun
            error = duplicates_error(report, load, seed)
        progress.add(trial, story=name, took_s=took_s, problem=problem(situation, report, seed), error=error)
    assert [one["problem"] for one in _trials(progress, name) if one["problem"]] == []


def _trials(progress: Progress, story: str) -> list[dict[str, Any]]:
    return [trial for trial in progress.trials.values() if trial["story"] == story]


def _words(progress: Progress) -> str:
    lines = [
        "## Situations of a cache, five seeds each",
        "",
        "Held: the right check came first with the right mechanism and key, or, where it is no stampede, nothing was",
        "said. Duplicates: the furthest that the recomputations said were from those made by the simulated readers.",
        "",
        "| in effect | trials | held | duplicates within |",
        "|---|---|---|---|",
    ]
    for story in dict.fromkeys(trial["story"] for trial in progress.trials.values()):
        trials = _trials(progress, story)
        held = sum(not trial["problem"] for trial in trials)
        errors = [trial["error"] for trial in trials if trial["error"] is not None]
        lines.append(f"| {story} | {len(trials)} | {held} | {f'{max(errors):.1%}' if errors else ''} |")
    return "\n".join(lines)
