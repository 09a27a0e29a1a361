"""From the YAML block of a step to the typed step, one reader for each kind."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from diag.errors import RunbookError
from diag.runbook.fields import SLUG, VARIABLE, WORD, Fields
from diag.runbook.grammar import condition, measure, name
from diag.runbook.model import (
    ACTIONS,
    BLAST_UNITS,
    LANGUAGES,
    NARROWS,
    OUTCOMES,
    Act,
    Ask,
    Blast,
    Check,
    End,
    Include,
    Query,
    Step,
    Verification,
    Wait,
)
from diag.runbook.reading import expression_problem, kafka_problem, redis_problem, sql_problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from diag.runbook.condition import Name

_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_EVERY_S = 5.0  # seconds between looks unless the book says otherwise: kind to the server, quick for a person
_YES_NO: Final = ("yes", "no")


def step(kind: str, fields: Fields, *, number: int, title: str, line: int) -> Step | None:
    """Read one step; None when it cannot be built. Problems go to the notes of `fields`."""
    before = len(fields.notes)
    read = _KINDS[kind](fields, number, title, line)
    fields.close()
    return read if len(fields.notes) == before else None


def _check(fields: Fields, number: int, title: str, line: int) -> Step | None:
    run, only = fields.text("run", like=WORD), fields.text("only", needed=False, like=SLUG)
    if only and run and only.partition("/")[0] != run:
        fields.wrong("only", f"names a check of another command than `{run}`")
    narrow: dict[str, str] = {}
    held = fields.block("narrow", needed=False)
    if held is not None:
        narrow = {key: held.text(key) for key in held.each()}
        for key in narrow:
            if key not in NARROWS:
                held.wrong(key, f"is not one of {', '.join(NARROWS)}")
    samples = fields.measure("samples", "", needed=False)
    spans = {key: fields.seconds(key) if key in fields else 0.0 for key in ("interval", "history")}
    return Check(
        number=number, title=title, line=line, run=run, only=only, narrow=narrow,
        samples=int(samples.value) if samples else 0, interval_s=spans["interval"], history_s=spans["history"],
        expectation=fields.expectation("expect"),
    )  # fmt: skip


def _query(fields: Fields, number: int, title: str, line: int) -> Step | None:
    written = [language for language in LANGUAGES if language in fields]
    if len(written) != 1:
        fields.notes.add(fields.line, f"{fields.of}: exactly one of {', '.join(LANGUAGES)} has to be there")
        return None
    language = written[0]
    arguments = fields.arguments("args")
    words = fields.texts(language) if language in {"redis", "kafka"} else ()
    text = "" if language in {"redis", "kafka"} else fields.text(language)
    problem = ""
    if words:
        problem = redis_problem(words) if language == "redis" else kafka_problem(words)
    elif text:
        problem = sql_problem(text, tuple(arguments)) if language == "sql" else expression_problem(text)
    if problem:
        fields.wrong(language, problem)
    if language != "sql" and arguments:
        fields.wrong("args", "belongs to sql; the other languages take {{placeholders}}")
    save, expected = fields.text("save", needed=False, like=VARIABLE), fields.expectation("expect")
    return Query(
        number=number, title=title, line=line, language=language, text=text, words=words, arguments=arguments,
        save=save, expectation=expected,
    )  # fmt: skip


def _ask(fields: Fields, number: int, title: str, line: int) -> Step | None:
    question = fields.text("question")
    answers = fields.texts("answers", needed=False) or _YES_NO
    save, expected = fields.text("save", needed=False, like=VARIABLE), fields.expectation("expect")
    return Ask(
        number=number, title=title, line=line, question=question, answers=answers, save=save, expectation=expected
    )


def _wait(fields: Fields, number: int, title: str, line: int) -> Step | None:
    repeat, within_s = fields.step_number("repeat"), fields.seconds("within")
    every_s = fields.seconds("every") if "every" in fields else _EVERY_S
    if 0 < within_s < every_s:
        fields.wrong("within", "is shorter than one pause between two looks")
    expected = fields.expectation("until", needed=True)
    if expected is None:
        return None
    return Wait(
        number=number, title=title, line=line, repeat=repeat, every_s=every_s, within_s=within_s, expectation=expected
    )


def _act(fields: Fields, number: int, title: str, line: int) -> Step | None:
    action = fields.choice("action", tuple(ACTIONS))
    arguments = fields.arguments("args")
    wanted = ACTIONS.get(action, ())
    if action and set(arguments) != set(wanted):
        fields.wrong("args" if arguments else "action", f"takes the arguments: {', '.join(wanted) or 'none'}")
    instruction = fields.text("instruction", needed=action == "by-person")
    if instruction and action != "by-person":
        fields.wrong("instruction", "belongs to `action: by-person`")
    why, before = fields.text("why"), fields.expectation("before", needed=True)
    blast, verify = _blast(fields), _verify(fields)
    undo, no_undo = fields.text("undo", needed=False), fields.text("no_undo", needed=False)
    if bool(undo) == bool(no_undo):
        fields.notes.add(fields.line, f"{fields.of}: exactly one of `undo` and `no_undo` has to be there")
    if before is None or blast is None or verify is None:
        return None
    return Act(
        number=number, title=title, line=line, action=action, arguments=arguments, instruction=instruction, why=why,
        before=before, blast=blast, verify=verify, undo=undo, no_undo=no_undo,
    )  # fmt: skip


def _blast(fields: Fields) -> Blast | None:
    held = fields.block("blast")
    if held is None:
        return None
    units = [unit for unit in BLAST_UNITS if unit in held]
    if len(units) != 1:
        held.notes.add(held.line, f"{held.of}: exactly one of {', '.join(BLAST_UNITS)} has to be there")
    counts = [held.read(unit, _count) for unit in units]
    limit, reason = held.measure("limit", ""), held.text("reason")
    held.close()
    if len(counts) != 1 or counts[0] is None or limit is None:
        return None
    if isinstance(counts[0], float) and counts[0] > limit.value:
        held.wrong("limit", f"is below the {units[0]} it would touch")
    return Blast(unit=units[0], count=counts[0], limit=limit.value, reason=reason)


def _count(text: str) -> Name | float:
    if not text[:1].isdigit():
        return name(text)
    read = measure(text)
    if read.unit:
        msg = f"`{text}` is not a plain count"
        raise RunbookError(msg)
    return read.value


def _verify(fields: Fields) -> Verification | None:
    held = fields.block("verify")
    if held is None:
        return None
    text, read = held.text("expect"), held.read("expect", condition)
    repeat, within_s, otherwise = held.step_number("repeat"), held.seconds("within"), held.jump("else")
    then = held.jump("then") if "then" in held else None
    held.close()
    if read is None:
        return None
    return Verification(text=text, condition=read, repeat=repeat, within_s=within_s, otherwise=otherwise, then=then)


def _include(fields: Fields, number: int, title: str, line: int) -> Step | None:
    book, pin = fields.text("book", like=SLUG), fields.text("sha256", like=_SHA256)
    return Include(number=number, title=title, line=line, book=book, sha256=pin)


def _end(fields: Fields, number: int, title: str, line: int) -> Step | None:
    called, outcome = fields.text("name", like=WORD), fields.choice("outcome", OUTCOMES)
    leave = fields.text("leave")
    return End(number=number, title=title, line=line, name=called, outcome=outcome, leave=leave)


_KINDS: Final[dict[str, Callable[[Fields, int, str, int], Step | None]]] = {
    "check": _check,
    "query": _query,
    "ask": _ask,
    "wait": _wait,
    "act": _act,
    "include": _include,
    "end": _end,
}

KINDS: Final = tuple(_KINDS)
"""The words that may follow `yaml diag:` in a fence."""
