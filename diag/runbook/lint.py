"""What a well-formed book still has to satisfy before somebody follows it at night.

`parse` answers "can it be read"; here stand the rules about the whole: that it cannot run in
circles, that it looks before it acts, that it fits a screen, that it is not out of date.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from diag.runbook.by_hand import by_hand, origin
from diag.runbook.condition import Name, names
from diag.runbook.grammar import placeholders
from diag.runbook.model import (
    Act,
    Ask,
    Check,
    End,
    Include,
    Query,
    Runbook,
    Step,
    StepClass,
    Wait,
    expectation,
    jumps,
    on_success,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import date

_SCREEN_LINES, _SCREEN_COLUMNS = 25, 80  # a terminal nobody has resized, with room for the prompt
_LEADS: Final = ("Means", "Real?", "Safest relief", "Do not")


class Level(StrEnum):
    """An error stops the build; a warning is shown to whoever opens the book."""

    WARNING = "warning"
    ERROR = "error"


class Problem(Struct, frozen=True, kw_only=True):
    """One rule that does not hold; `line` counts from 1 in the file."""

    level: Level
    line: int
    sentence: str


def lint(
    book: Runbook, *, checks: Mapping[str, float], today: date, others: Mapping[str, str] | None = None
) -> tuple[Problem, ...]:
    """Check a book against every rule; an empty answer means it is ready to be followed.

    `checks` has for each check that exists the seconds it has to see before it judges; `today`
    dates the review; `others` has the SHA-256 (hex) of each book that may be included, by slug.
    """
    found = [
        *_order(book),
        *_ends(book),
        *_known(book, checks, others or {}),
        *_said(book),
        *_unused(book),
        *_screen(book),
        *_review(book, today),
        *_hand(book),
    ]
    return tuple(sorted(found, key=lambda problem: (problem.line, problem.sentence)))


def _error(line: int, sentence: str) -> Problem:
    return Problem(level=Level.ERROR, line=line, sentence=sentence)


def _order(book: Runbook) -> Iterator[Problem]:
    first = book.steps[0]
    if first.step_class is not StepClass.READ:
        yield _error(first.line, "step 1 has to read: look before changing anything")
    ends = {step.name: step.number for step in book.steps if isinstance(step, End)}
    for step in book.steps:
        for jump in jumps(step):
            target = ends.get(jump.end, 0) if jump.end else jump.step
            if not 1 <= target <= len(book.steps):
                yield _error(step.line, f"step {step.number} jumps to {jump}, which does not exist")
            elif target <= step.number:
                yield _error(step.line, f"step {step.number} jumps back to {jump}; jumps go forward only")
        repeat = step.verify.repeat if isinstance(step, Act) else step.repeat if isinstance(step, Wait) else None
        if repeat is None:
            continue
        if not 1 <= repeat < step.number:
            yield _error(step.line, f"step {step.number} repeats step {repeat}, which is not an earlier step")
        elif not isinstance(book.steps[repeat - 1], Check | Query | Ask):
            yield _error(step.line, f"step {step.number} repeats step {repeat}, which observes nothing")


def _ends(book: Runbook) -> Iterator[Problem]:
    last = book.steps[-1]
    if not isinstance(last, End | Include):
        yield _error(last.line, f"the last step, {last.number}, is not an end: the path through it stops nowhere")
    seen: set[str] = set()
    for step in book.steps:
        if isinstance(step, End):
            if step.name in seen:
                yield _error(step.line, f"the end `{step.name}` stands twice")
            seen.add(step.name)
    reached = _reached(book)
    for step in book.steps:
        if step.number not in reached:
            yield _error(step.line, f"no path leads to step {step.number}")


def _reached(book: Runbook) -> set[int]:
    ends = {step.name: step.number for step in book.steps if isinstance(step, End)}
    reached, todo = set[int](), [1]
    while todo:
        number = todo.pop()
        if number in reached or not 1 <= number <= len(book.steps):
            continue
        reached.add(number)
        step = book.steps[number - 1]
        if not isinstance(step, End | Include) and on_success(step) is None:
            todo.append(number + 1)
        todo += [ends.get(jump.end, 0) if jump.end else jump.step for jump in jumps(step)]
    return reached


def _known(book: Runbook, checks: Mapping[str, float], others: Mapping[str, str]) -> Iterator[Problem]:
    commands = {slug.partition("/")[0] for slug in checks}
    asked = [(_line_of(book, "findings:"), slug) for slug in book.findings]
    for step in book.steps:
        if isinstance(step, Check):
            asked += [(step.line, step.only)] if step.only else []
            if step.run not in commands:
                yield _error(step.line, f"step {step.number} runs `diag {step.run}`, which does not exist")
            for slug in {step.only, *(name.finding for name in _names(step))}:
                if step.sees_s < checks.get(slug, 0.0):
                    needed = f"`{slug}` judges from {checks[slug]:g} s on (samples, interval, history)"
                    yield _error(step.line, f"step {step.number} looks at {step.sees_s:g} s; {needed}")
        asked += [(step.line, name.finding) for name in _names(step) if name.finding]
        if isinstance(step, Include):
            yield from _included(book, step, others)
    for line, slug in dict.fromkeys(asked):
        if slug not in checks:
            yield _error(line, f"the check `{slug}` does not exist")


def _included(book: Runbook, step: Include, others: Mapping[str, str]) -> Iterator[Problem]:
    if step.book == book.slug:
        yield _error(step.line, "the book includes itself")
    elif step.book not in others:
        yield _error(step.line, f"the included book `{step.book}` does not exist")
    elif others[step.book] != step.sha256:
        yield _error(step.line, f"the book `{step.book}` has changed since it was included: read it, then pin it anew")


def _said(book: Runbook) -> Iterator[Problem]:
    """Every name has to be told by the parameters or by an earlier step."""
    given = {(one.name,) for one in book.params}
    for step in book.steps:
        # A step may judge what it has just seen, so its own answer counts for its `expect`.
        seen_by = step.number + 1
        for asked in dict.fromkeys(_names(step)):
            if not (asked.parts in given and not asked.finding) and not origin(book, asked, before=seen_by):
                yield _error(
                    step.line, f"step {step.number} uses `{asked}`, which no parameter or step before it tells"
                )


def _unused(book: Runbook) -> Iterator[Problem]:
    used = {asked.parts for step in book.steps for asked in _names(step) if not asked.finding}
    for one in book.params:
        if (one.name,) not in used:
            yield _error(_line_of(book, f"{one.name}:"), f"no step uses the parameter `{one.name}`")


def _names(step: Step) -> Iterator[Name]:
    expected = expectation(step)
    if expected is not None:
        yield from names(expected.condition)
    match step:
        case Check():
            texts: tuple[str, ...] = tuple(step.narrow.values())
        case Query():
            yield from step.arguments.values()
            texts = (step.text, *step.words)
        case Ask():
            texts = (step.question,)
        case Act():
            yield from step.arguments.values()
            yield from names(step.verify.condition)
            if isinstance(step.blast.count, Name):
                yield step.blast.count
            texts = (step.why, step.instruction, step.undo, step.no_undo)
        case End():
            texts = (step.leave,)
        case Wait() | Include():
            texts = ()
    for text in texts:
        yield from placeholders(text)


def _screen(book: Runbook) -> Iterator[Problem]:
    first = book.steps[0].line
    if first - 1 > _SCREEN_LINES:
        yield _error(first, f"the first screen has {first - 1} lines; {_SCREEN_LINES} fit before step 1")
    for number, line in enumerate(book.text.split("\n")[: first - 1], start=1):
        if len(line) > _SCREEN_COLUMNS:
            yield _error(number, f"a line of the first screen has {len(line)} columns; {_SCREEN_COLUMNS} fit")
    at = 0
    for lead in _LEADS:
        found = book.lead.find(f"**{lead}**")
        if found < 0:
            yield _error(first, f"the first screen does not say **{lead}**")
        elif found < at:
            yield _error(first, f"**{lead}** is out of order: {', '.join(_LEADS)}")
        at = max(at, found)


def _review(book: Runbook, today: date) -> Iterator[Problem]:
    review = book.reviewed
    line = _line_of(book, "reviewed:")
    if review.at > today:
        yield _error(line, f"the review is dated {review.at}, which is still to come")
    elif review.expires <= today:
        sentence = f"the review of {review.at} held until {review.expires}: ask {book.owner} to read the book again"
        yield Problem(level=Level.WARNING, line=line, sentence=sentence)


def _hand(book: Runbook) -> Iterator[Problem]:
    if not book.by_hand_line:
        yield _error(
            len(book.text.rstrip().split("\n")), "the section `by hand` is missing: `diag runbook lint --write`"
        )
    elif f"{book.by_hand}\n" != by_hand(book):
        yield _error(book.by_hand_line, "the section `by hand` is not what the steps say: `diag runbook lint --write`")


def _line_of(book: Runbook, text: str) -> int:
    """First line of the front matter that holds the text; 1 when it is written in another way."""
    return next((number for number, line in enumerate(book.text.split("\n"), start=1) if text in line), 1)


__all__ = ["Level", "Problem", "by_hand", "lint"]
