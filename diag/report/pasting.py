"""Commands into lines that a person can paste, quoted for the place they are pasted into.

A name that cannot be pasted exactly and visibly (a control character, an undecodable byte)
gets no command, with the reason. Sources: POSIX.1-2017, "Quoting"; PostgreSQL manual,
"String Constants", "psql".
"""

from __future__ import annotations

import shlex
from datetime import UTC, datetime

from msgspec import Struct

from diag.findings import Command, NoCommand, Phrase, ShellCommand, SqlCommand, say
from diag.text import ServerText


class Pasted(Struct, frozen=True, kw_only=True):
    """A line and where it goes: "shell" or "psql"."""

    place: str
    line: str


class Withheld(Struct, frozen=True, kw_only=True):
    """No line, and why."""

    because: Phrase


_UNSAFE = say("a name in it has characters that cannot be pasted safely")


def pasted(command: Command) -> Pasted | Withheld:
    """Return the line for a command, or why there is none."""
    match command:
        case NoCommand(because=because):
            return Withheld(because=because)
        case ShellCommand(argv=argv):
            words = [word if isinstance(word, str) else word[0] + word[1].raw for word in argv]
            if not all(word.isprintable() for word in words):
                return Withheld(because=_UNSAFE)
            return Pasted(place="shell", line=shlex.join(words))
        case SqlCommand(statement=statement, parameters=parameters):
            literals = [_literal(parameter) for parameter in parameters]
            if not all(literal.isprintable() for literal in literals):
                return Withheld(because=_UNSAFE)
            return Pasted(place="psql", line=statement.format(*literals))


def _literal(parameter: str | ServerText | int | datetime) -> str:
    """Quote a value as an SQL constant; E'' where a backslash could mean something else elsewhere."""
    if isinstance(parameter, int):
        return str(parameter)
    if isinstance(parameter, datetime):
        return f"'{parameter.astimezone(UTC).isoformat()}'"
    text = parameter if isinstance(parameter, str) else parameter.raw
    doubled = text.replace("'", "''")
    return "E'" + doubled.replace("\\", "\\\\") + "'" if "\\" in text else f"'{doubled}'"
