"""What is masked, and how: before facts are judged, and again before anything is written.

Two layers. SQL literals are replaced in every statement text, unless they were asked for.
Every credential that `diag` was given is replaced wherever a server echoes it, and a write
that would still hold one is refused.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable
from typing import TypeVar, cast
from urllib.parse import quote

import msgspec
from msgspec import Struct

from diag.errors import SecretLeakError
from diag.text import ServerText, SqlText

MASK = "‹masked›"
_SHORTEST_GUARDED = 4  # a shorter credential would be found in every other word of a report

_SQL_LITERAL = re.compile(
    r"""
    (?P<comment> --[^\n]* | /\*.*?(?:\*/|\Z) )
  | (?P<dollar> \$(?P<tag>[A-Za-z_\u0080-\uffff][\w\u0080-\uffff]*|)\$ .*? (?:\$(?P=tag)\$|\Z) )
  | (?P<escaped> \b[eE]' (?:[^'\\]|\\.|'')* (?:'|\Z) )
  | (?P<quoted> (?:\b[nNbBxX]|\b[uU]&)?' (?:[^']|'')* (?:'|\Z) )
  | (?P<identifier> "(?:[^"]|"")*(?:"|\Z) )
  | (?P<parameter> \$\d+ )
  | (?P<word> [^\W\d][\w$]* )
  | (?P<number> 0[xXoObB][\da-fA-F_]+ | (?:\d[\d_]*\.?[\d_]*|\.\d+)(?:[eE][+-]?\d+)? )
    """,
    re.VERBOSE | re.DOTALL,
)
_KEPT = ("identifier", "parameter", "word")


def mask_sql(statement: str) -> str:
    """Return the statement with every literal and comment as ``?``.

    A literal that the server cut off (track_activity_query_size) is masked to the end.
    Source of the forms: PostgreSQL manual, "Lexical Structure".
    """
    return _SQL_LITERAL.sub(lambda found: found[0] if found.lastgroup in _KEPT else "?", statement)


class Masks(Struct, frozen=True, kw_only=True):
    """What to hide. `words` are credentials in every form they may be echoed in; `patterns` are the user's."""

    words: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()
    show_literals: bool = False

    def hide(self, text: str) -> str:
        """Return `text` without the credentials and the configured patterns."""
        for word in self.words:
            text = text.replace(word, MASK)
        for pattern in self.patterns:
            text = re.sub(pattern, MASK, text)
        return text


def masks(
    credentials: Iterable[str], *, public: Iterable[str] = (), patterns: Iterable[str] = (), show_literals: bool = False
) -> Masks:
    """Make masks from credentials, also in their URL-encoded and base64 forms, longest first.

    A credential that equals a `public` word of its target (the user, the database) cannot be
    told from it and is left out; so is one shorter than four characters.
    """
    known = {word for word in credentials if len(word) >= _SHORTEST_GUARDED} - set(public)
    forms = {form for word in known for form in (word, quote(word, safe=""), b64encode(word.encode()).decode())}
    ordered = tuple(sorted(forms, key=lambda form: (-len(form), form)))
    return Masks(words=ordered, patterns=tuple(patterns), show_literals=show_literals)


S = TypeVar("S", bound=Struct)


def mask(fact: S, hidden: Masks) -> S:
    """Return a snapshot or gap with its texts masked; nothing else changes."""
    return cast("S", _mask(fact, hidden))


def _mask(value: object, hidden: Masks) -> object:
    if isinstance(value, ServerText):
        text = value.raw
        if isinstance(value, SqlText) and not hidden.show_literals:
            text = mask_sql(text)
        text = hidden.hide(text)
        return value if text == value.raw else type(value)(text)
    if isinstance(value, Struct):
        changed = {
            name: new
            for name in value.__struct_fields__
            if (new := _mask(old := getattr(value, name), hidden)) is not old
        }
        return msgspec.structs.replace(value, **changed) if changed else value
    if isinstance(value, tuple):
        parts = [_mask(part, hidden) for part in value]
        return tuple(parts) if any(a is not b for a, b in zip(parts, value, strict=True)) else value
    return value


def refuse_secrets(text: str, hidden: Masks) -> str:
    """Return `text`, or raise `SecretLeakError` when a known credential stands in it."""
    if any(word in text for word in hidden.words):
        message = "a credential stood in the output; nothing was written"
        raise SecretLeakError(message, hint="this is a bug in diag: please report the command, without its output")
    return text
