"""What every ending of a command has to hold, however its servers behave."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from faults.command import NO_TARGET, UNKNOWN
from faults.conversation import rung_after

if TYPE_CHECKING:
    from faults.command import Ran


def is_whole(ran: Ran) -> None:
    """Whatever happened: one valid report, no traceback, nothing that `diag` itself calls a bug."""
    assert "still running" not in ran.stderr, ran.stderr
    assert "Traceback" not in ran.stdout + ran.stderr, ran.stderr
    assert "bug in diag" not in ran.stdout + ran.stderr, ran.stdout
    report = ran.report
    assert isinstance(report, dict)
    assert report["schema"] == "diag.report"


def outcomes(report: dict[str, Any]) -> set[str]:
    """How the checks ended that the words of the command let run: some need `--history`, or a longer look."""
    ended = {(check["outcome"], check.get("because", "").startswith("needs ")) for check in report["checks"]}
    return {outcome for outcome, needs_more in ended if outcome != "skipped" or not needs_more}


def saw_nothing(ran: Ran, kind: str, *rungs: str) -> None:
    """The only target could not be read at all, and the gap names one of `rungs`."""
    is_whole(ran)
    report = ran.report
    assert report["verdict"] == "unknown"
    assert report["findings"] == []
    assert report["targets"] == []
    assert outcomes(report) == {"unknown"}
    assert (ran.gap["source"], ran.gap["fact"]) == (kind, "*")
    assert ran.gap["rung"] in rungs, ran.gap
    assert ran.gap["why"]
    assert ran.gap["fix"]
    assert ran.code == NO_TARGET


def gave_up_on_a_hang(ran: Ran, kind: str, answers: bytes, count: int) -> None:
    """The server said `count` bytes of its whole `answers` and no more."""
    saw_nothing(ran, kind, rung_after(kind, answers, count))


def told_a_broken_connection(ran: Ran, kind: str, answers: bytes, count: int) -> None:
    """The connection broke after `count` bytes of the whole `answers`."""
    rung = rung_after(kind, answers, count)
    if not count:  # not a word: it may well be somebody else's port
        saw_nothing(ran, kind, rung, "decode")
    elif kind == "kafka" and rung == "query" and ran.code != NO_TARGET:  # one broker is lost, the others go on
        is_whole(ran)
        assert {gap["rung"] for gap in ran.report["gaps"]} == {"query"}
        assert outcomes(ran.report) == {"unknown"}, ran.report["checks"]
        assert ran.report["verdict"] == "unknown"
        assert ran.code == UNKNOWN
    else:
        saw_nothing(ran, kind, rung)
