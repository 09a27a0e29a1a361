"""A conversation that breaks after N bytes, for N = 1…64 and log-spaced from there to its end.

What `tests/faults` samples, here at every early byte: hang, end, reset, and a corrupt byte.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from faultproxy import Fault
from faults.command import CLEAR, GRACE_S, KINDS, NO_TARGET, UNKNOWN, Ran
from faults.contract import gave_up_on_a_hang, is_whole, told_a_broken_connection
from proof.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from faults.fixtures import Look, Proxied

pytestmark = [pytest.mark.proof, pytest.mark.timeout(3600)]

_EVERY_BYTE_UP_TO = 64
_STEP = 1.25
_ALL_BUT = 0.95  # the very end of a conversation moves by some bytes from run to run
_DEADLINE_S, _PATIENT_S = 1.0, 8.0
_FAULTS = ("hang", "fin", "reset", "flip")


@pytest.fixture(scope="module")
def progress() -> Iterator[Progress]:
    """What was tried; the figures are written when this module ends, also when it is interrupted."""
    progress = Progress("broken-conversations")
    yield progress
    progress.publish(_words(progress))


def _offsets(length_bytes: int) -> list[int]:
    offsets = list(range(1, _EVERY_BYTE_UP_TO + 1))
    while offsets[-1] * _STEP < length_bytes * _ALL_BUT:
        offsets.append(int(offsets[-1] * _STEP))
    return offsets


@pytest.mark.parametrize("what", _FAULTS)
def test_wherever_a_conversation_breaks_the_contract_holds(  # noqa: PLR0913  fixtures
    look: Look,
    proxied: Proxied,
    whole: dict[str, bytes],
    progress: Progress,
    *,
    kind: str,
    what: str,
) -> None:
    for count in _offsets(len(whole[kind])):
        name = f"{kind} {what} {count}"
        if name in progress.trials:
            continue
        deadline_s = _DEADLINE_S if what in ("hang", "flip") else _PATIENT_S
        with proxied(kind, Fault(what, count)) as proxy:
            ran = look(kind, f"127.0.0.1:{proxy.port}", deadline_s)
        late_s = ran.took_s - (deadline_s if what in ("hang", "flip") else 0.0)
        problem = _problem(ran, kind, what, whole[kind], count)
        if late_s > GRACE_S:
            problem = f"{late_s:.3f} s late"
        progress.add(name, kind=kind, what=what, late_s=late_s, code=ran.code, problem=problem)
    trials = [trial for trial in progress.trials.values() if (trial["kind"], trial["what"]) == (kind, what)]
    assert [f"{trial['name']}: {trial['problem']}" for trial in trials if trial["problem"]] == []


def _problem(ran: Ran, kind: str, what: str, answers: bytes, count: int) -> str:
    """Say in one line what does not hold; empty when everything does."""
    try:
        if what == "hang":
            gave_up_on_a_hang(ran, kind, answers, count)
        elif what == "flip":
            is_whole(ran)
            assert ran.code in (CLEAR, UNKNOWN, NO_TARGET, 1, 2)
        else:
            told_a_broken_connection(ran, kind, answers, count)
    except (AssertionError, ValueError) as error:
        return (str(error) or type(error).__name__).splitlines()[0][:200]
    return ""


def _words(progress: Progress) -> str:
    lines = [
        "## Broken conversations",
        "",
        "N = 1…64 and then log-spaced (x 1.25) to the end of the conversation. `hang`, `flip`: deadline 1 s,",
        "and how long after it the command had ended. `fin`, `reset`: how long after the look began it had ended.",
        "All from the beginning of the look to the end of the process. A corrupt byte mostly ends a command early.",
        "Allowed: 500 ms.",
        "",
        "| server | fault | trials | held | median | worst |",
        "|---|---|---|---|---|---|",
    ]
    for kind in KINDS:
        for what in _FAULTS:
            trials = [trial for trial in progress.trials.values() if (trial["kind"], trial["what"]) == (kind, what)]
            if trials:
                lines.append(f"| {kind} | {what} | {_figures(trials)} |")
    return "\n".join(lines)


def _figures(trials: list[dict[str, Any]]) -> str:
    late = sorted(1000 * trial["late_s"] for trial in trials)
    held = sum(not trial["problem"] for trial in trials)
    return f"{len(trials)} | {held} | {late[len(late) // 2]:+.0f} ms | {late[-1]:+.0f} ms"
