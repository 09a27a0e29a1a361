"""Dispatch: finds the command, runs it, and turns every ending into one line and an exit code."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import os
import signal
import sys
import traceback
from typing import Any, Final

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from diag.cli.front import DIAGNOSTICS, OTHERS, front_page
from diag.errors import DiagError, ExitCode, Interrupted, UsageError
from diag.text import visible

_MODULES: Final = {name: f"diag.cli.{name}" for name in OTHERS}


class Commands(TyperGroup):
    """Commands by name, each imported only when it is the one that was typed."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002  typer's signature
        """Name the commands, for completion; opens no connection."""
        return [*DIAGNOSTICS, *OTHERS]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Build the command that was typed."""
        if cmd_name in DIAGNOSTICS:
            from diag.cli.diagnose import command

            return command(cmd_name, DIAGNOSTICS[cmd_name])
        if cmd_name in _MODULES:
            return typer.main.get_command(importlib.import_module(_MODULES[cmd_name]).app)
        if cmd_name.startswith("-"):
            return None
        near = difflib.get_close_matches(cmd_name, self.list_commands(ctx), n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else "diag --help names them all"
        raise UsageError(f"there is no command {visible(cmd_name)!r}", hint=hint)

    def format_help(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002  typer's signature
        """Show the front page."""
        formatter.write(front_page())


app = typer.Typer(cls=Commands, add_completion=True, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.callback()
def root() -> None:
    """Say what is wrong with Kafka, PostgreSQL and Redis, with evidence."""


def run() -> None:
    """Run the command line and leave at once: a source that hangs in a system call must not hold the exit."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    _open_what_is_closed()
    code = _run(sys.argv[1:])
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _open_what_is_closed() -> None:
    """Give every standard stream somebody closed an end, so that no socket or file gets its number.

    And let none of them refuse a character that the locale lacks.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115  a stream
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # a text stream by now


def _run(words: list[str]) -> int:
    try:
        code = app(words, prog_name="diag", standalone_mode=False)
    except TyperException as error:
        return _failed(UsageError(" ".join(error.format_message().split()).rstrip(".")), words)
    except DiagError as error:
        return _failed(error, words)
    except KeyboardInterrupt:
        _failed(Interrupted("interrupted before anything was seen"), words)
        return ExitCode.INTERRUPTED
    except BrokenPipeError:  # the reader went away: head, less
        return ExitCode.CLEAR
    except SystemExit as left:  # typer's own way out: of a completion, or because the reader went away
        return ExitCode.CLEAR if isinstance(left.__context__, BrokenPipeError) else int(left.code or 0)
    except Exception as error:  # noqa: BLE001  the CLI's main: one of the two broad catches
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{os.path.basename(last.filename)}:{last.lineno}"  # noqa: PTH119  pathlib is not loaded yet
        return _failed(DiagError(f"bug in diag: {type(error).__name__} at {where}", hint="please report it"), words)
    return int(code or 0)


def _failed(error: DiagError, words: list[str]) -> int:
    """Say it once: on stderr for people, and in the asked machine format on stdout."""
    from diag.cli.output import error_text, format_in, put
    from diag.redaction import Masks

    error.message, error.hint = _harmless(error.message, words), _harmless(error.hint, words)
    asked = format_in(words)
    if asked:
        put(error_text(error, words[0] if words else "", asked), "", Masks())
    hint = f" ({error.hint})" if error.hint else ""
    sys.stderr.write(f"diag: {error.message}{hint}\n")
    return ExitCode.UNKNOWN if asked == "nagios" else error.exit_code


def _harmless(said: str, words: list[str]) -> str:
    """Return what is said without control characters, and without a password where a word is quoted."""
    from diag.addresses import without_password

    for word in words:
        for quoted in {word, repr(word)[1:-1]}:
            said = said.replace(quoted, without_password(quoted))
    return visible(said)


__all__ = ["app", "run"]
