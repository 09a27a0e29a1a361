"""Values into text. A sink says how it shows server text; everything else is the same everywhere."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from enum import Enum
from typing import Final, TypeAlias

from diag import figures
from diag.findings import Phrase, Quantity, Value
from diag.text import ServerText

ShowServerText: TypeAlias = Callable[[ServerText], str]


def shown(value: Value | bool | None, server_text: ShowServerText) -> str:
    """Return one value as text; server text as the sink wants it, None as "unknown"."""
    match value:
        case None:
            return "unknown"
        case ServerText():
            return server_text(value)
        case Phrase():
            return phrased(value, server_text)
        case Quantity():
            return figures.quantity(value.value, value.unit)
        case datetime():
            return figures.instant(value)
        case Enum():
            return str(value.value)
        case bool():
            return "yes" if value else "no"
        case int() | float():
            return figures.number(value)
        case str():
            return own_word(value, server_text)


_HARMLESS: Final = re.compile(r"[A-Za-z0-9 _,.()%'+-]*")


def own_word(word: str, server_text: ShowServerText) -> str:
    """Return a word that should be the tool's or the manual's own; what it cannot be is treated as server text.

    A state or a method is a plain word in the facts, but a rogue broker or a stranger's
    evidence file can put anything there.
    """
    harmless = _HARMLESS.fullmatch(word) and "www." not in word.lower()
    return word if harmless else server_text(ServerText(word))


def phrased(phrase: Phrase, server_text: ShowServerText) -> str:
    """Fill a phrase. A pid, a partition and other bare integers are names, so they get no thousands."""
    filled = {
        name: str(value) if type(value) is int else shown(value, server_text) for name, value in phrase.values.items()
    }
    return phrase.template.format(**filled)


def in_sight(text: ServerText) -> str:
    """Show server text with visible escapes: for terminals, JSON phrases and monitoring lines."""
    return text.visible
