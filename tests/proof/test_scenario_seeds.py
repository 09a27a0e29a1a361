"""Every cause of lag, in effect on real brokers in five sizes and choices, is named first; healthy controls never are.

A scenario is tried with `seed` 0 to 4 where it takes one, else as often as it is. A trial whose
scenario could not be set up is no trial: it is tried again.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import time
from typing import TYPE_CHECKING, Any

import pytest
from proof.progress import Progress
from running import diagnosed, hidden, scenario_of, seen, target

from diag import catalog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from conftest import ServersFor

    from diag.lab.servers import Servers

pytestmark = [pytest.mark.proof, pytest.mark.timeout(3600)]

_COMMAND = "kafka-lag"
_SEEDS = range(5)
_CONTROLS = "diag.lab.kafka_lag._controls"


def _controls() -> Sequence[Any]:
    """Healthy situations that look like trouble: `NAME(servers, seed=0)`, with NEEDS and OPTIONS as a scenario's."""
    found = importlib.util.find_spec(_CONTROLS)
    return importlib.import_module(_CONTROLS).CONTROLS if found else ()


@pytest.fixture(scope="module")
def progress() -> Iterator[Progress]:
    """What was tried; the figures are written when this module ends, also when it is interrupted."""
    progress = Progress("scenario-seeds")
    yield progress
    progress.publish(_words(progress))


@pytest.mark.parametrize("slug", catalog.slugs(_COMMAND))
def test_whatever_its_size_the_fault_is_named_first(servers_for: ServersFor, progress: Progress, slug: str) -> None:
    scenario = scenario_of(slug)

    def problem(report: dict[str, Any]) -> str:
        first = [found["check"] for found in report["findings"]][:1]
        unseen = hidden(report) ^ set(getattr(scenario, "GAPS", ()))
        return "" if first == [slug] and not unseen else f"first: {first}, gaps: {sorted(unseen)}"

    servers = servers_for(scenario.NEEDS)
    _try_all(progress, slug, _seeded(scenario.broken), servers, lambda: seen(slug, scenario, servers), problem)
    assert _problems(progress, slug) == []


@pytest.mark.parametrize("control", _controls(), ids=lambda control: control.__name__)
def test_a_healthy_control_is_no_finding(servers_for: ServersFor, progress: Progress, control: Any) -> None:
    servers = servers_for(getattr(control, "NEEDS", ("kafka",)))
    options = getattr(control, "OPTIONS", ())
    name = f"control {control.__name__}"

    def problem(report: dict[str, Any]) -> str:
        return ", ".join(found["check"] for found in report["findings"])

    def look() -> dict[str, Any]:
        return diagnosed(_COMMAND, *target(_COMMAND, servers), *options)

    _try_all(progress, name, _seeded(control), servers, look, problem)
    assert _problems(progress, name) == []


def _seeded(broken: Callable[..., AbstractContextManager[None]]) -> Callable[..., AbstractContextManager[None]]:
    """Pass the seed on to those that take one."""
    if "seed" in inspect.signature(broken).parameters:
        return broken
    return lambda servers, seed: broken(servers)  # noqa: ARG005  every scenario is asked alike


def _try_all(  # noqa: PLR0913  a trial has these parts
    progress: Progress,
    story: str,
    broken: Callable[..., AbstractContextManager[None]],
    servers: Servers,
    look: Callable[[], dict[str, Any]],
    problem: Callable[[dict[str, Any]], str],
) -> None:
    for seed in _SEEDS:
        name = f"{story} seed {seed}"
        if name in progress.trials:
            continue
        with broken(servers, seed=seed):
            begun = time.monotonic()
            report = look()
            took_s = time.monotonic() - begun
        progress.add(name, story=story, took_s=took_s, verdict=report["verdict"], problem=problem(report))


def _trials(progress: Progress, story: str) -> list[dict[str, Any]]:
    return [trial for trial in progress.trials.values() if trial["story"] == story]


def _problems(progress: Progress, story: str) -> list[str]:
    return [f"{trial['name']}: {trial['problem']}" for trial in _trials(progress, story) if trial["problem"]]


def _words(progress: Progress) -> str:
    lines = [
        "## Causes of lag, five seeds each",
        "",
        "Held: the check of that name was the first finding, and nothing was hidden but what the fault hides;",
        "for a control: there was no finding. Time: the whole command, on a machine that runs the brokers, too.",
        "",
        "| in effect | trials | held | median | worst |",
        "|---|---|---|---|---|",
    ]
    for story in dict.fromkeys(trial["story"] for trial in progress.trials.values()):
        trials = _trials(progress, story)
        took = sorted(trial["took_s"] for trial in trials)
        held = sum(not trial["problem"] for trial in trials)
        lines.append(f"| {story} | {len(trials)} | {held} | {took[len(took) // 2]:.1f} s | {took[-1]:.1f} s |")
    return "\n".join(lines)
