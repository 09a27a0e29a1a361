"""Where a report goes: stdout or a file, in the asked format, without a credential; and its exit code."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import sys
from pathlib import Path
from typing import Final

from diag.errors import DiagError, ExitCode, UsageError
from diag.findings import Outcome, Report, ReportError, Verdict
from diag.redaction import Masks, refuse_secrets
from diag.text import visible

FORMATS: Final = ("text", "markdown", "json", "nagios")
_MACHINE: Final = ("json", "nagios")
_FORMAT_FLAG: Final = re.compile(r"(?:--format(?:=|\Z)|-[qv]*f)(.*)", re.DOTALL)
_BY_NAME: Final = {".md": "markdown", ".json": "json", ".txt": "text"}
_FAIL_ON: Final = ("warning", "critical", "never")
_WIDEST: Final = 120
_COLOURS: Final = ("auto", "always", "never")


def settled_format(asked: str, output: str) -> str:
    """Return the format in force: the asked one, else by the name of the file, else text. Raises `UsageError`."""
    if asked and asked not in FORMATS:
        message = f"--format {visible(asked)!r} is none of {', '.join(FORMATS)}"
        raise UsageError(message)
    if not asked and Path(output).suffix in (".html", ".htm"):
        message = f"there is no HTML report yet, so {visible(output)} would not be one"
        raise UsageError(message, hint="write to a .md, .json or .txt file")
    return asked or _BY_NAME.get(Path(output).suffix, "text")


def format_in(words: list[str]) -> str:
    """Find a machine format in a command line that could not be parsed; empty when there is none."""
    for word, after in zip(words, [*words[1:], ""], strict=True):
        found = _FORMAT_FLAG.fullmatch(word)
        value = (found[1] or after) if found else ""
        if value in _MACHINE:
            return value
    return ""


def error_text(error: DiagError, command: str, asked: str) -> str:
    """Return an error as a report that says nothing else, in a machine format."""
    failed = ReportError(code=int(error.exit_code), message=error.message, hint=error.hint)
    report = Report(command=visible(command), context="", verdict=Verdict.UNKNOWN, error=failed)
    return render(report, asked)


def render(report: Report, asked: str, *, colour: bool = False, quiet: bool = False, verbose: bool = False) -> str:
    """Return the report in a format, ending in a newline."""
    if asked == "json":
        from diag.report.json import json

        return json(report) + "\n"
    if asked == "nagios":
        from diag.report.nagios import nagios

        return nagios(report) + "\n"
    if asked == "markdown":
        from diag.report.markdown import markdown

        return markdown(report)
    from diag.report.terminal import text

    return text(report, colour=colour, width=_width(), quiet=quiet, verbose=verbose)


def _width() -> int:
    asked = os.environ.get("COLUMNS", "")  # POSIX: the width a person prefers
    if asked.isdecimal() and int(asked):
        return min(_WIDEST, int(asked))
    try:
        return min(_WIDEST, os.get_terminal_size(sys.stdout.fileno()).columns)
    except (OSError, ValueError):
        return 80


def wants_colour(asked: str, output: str) -> bool:
    """Decide on colour: the flag, then NO_COLOR, then whether a terminal reads. Raises `UsageError`."""
    if asked not in _COLOURS:
        message = f"--color {visible(asked)!r} is none of {', '.join(_COLOURS)}"
        raise UsageError(message)
    if asked != "auto":
        return asked == "always"
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return not plain and not output and sys.stdout.isatty()


def put(text: str, output: str, masks: Masks) -> bool:
    """Write to stdout, or to a file that is replaced whole; return False when the reader has gone away.

    Raises `SecretLeakError` before anything is written.
    """
    refuse_secrets(text, masks)
    if output in ("", "-"):
        try:
            sys.stdout.buffer.write(text.encode("utf-8", "backslashreplace"))
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            return False
        return True
    path = Path(output)
    temporary = path.parent / f".{path.name}.{secrets.token_hex(4)}.part"
    try:
        with os.fdopen(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600), "wb") as opened:
            opened.write(text.encode("utf-8", "backslashreplace"))
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        message = f"{visible(output)} cannot be written: {error.strerror}"
        raise UsageError(message) from error
    return True


def settled_fail_on(asked: str) -> str:
    """Return what exits 1 or 2. Raises `UsageError`: before any server is asked."""
    if asked not in _FAIL_ON:
        message = f"--fail-on {visible(asked)!r} is none of {', '.join(_FAIL_ON)}"
        raise UsageError(message)
    return asked


def exit_code(report: Report, *, fail_on: str, asked: str, interrupted: bool = False) -> int:
    """Return the exit code: the verdict's, unless nobody answered or the run was interrupted."""
    code = _verdict_code(report, fail_on)
    if interrupted:
        code = ExitCode.INTERRUPTED
    elif not report.targets and report.gaps and not report.evidence_file:
        code = ExitCode.NO_TARGET
    return int(ExitCode.UNKNOWN if asked == "nagios" and code > ExitCode.UNKNOWN else code)


def _verdict_code(report: Report, fail_on: str) -> ExitCode:
    something_unknown = any(outcome.outcome is Outcome.UNKNOWN for outcome in report.checks)
    failing = {"warning": (Verdict.WARNING, Verdict.CRITICAL), "critical": (Verdict.CRITICAL,), "never": ()}[fail_on]
    if report.verdict in failing:
        return ExitCode.CRITICAL if report.verdict is Verdict.CRITICAL else ExitCode.WARNING
    return ExitCode.UNKNOWN if something_unknown or report.verdict is Verdict.UNKNOWN else ExitCode.CLEAR
