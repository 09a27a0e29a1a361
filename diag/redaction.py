"""What is masked, and how: before facts are judged, and again before anything is written.

Two layers. SQL literals are replaced in every statement text, unless they were asked for.
Every credential that `diag` was given is replaced wherever a server echoes it, and a write
that would still hold one is refused.
"""

from __future__ import annotations

import operator
import re
import typing
from base64 import b64encode
from collections.abc import Iterable
from functools import cache
from typing import Any, TypeVar, cast
from urllib.parse import quote

import msgspec
from msgspec import Struct

from diag.errors import SecretLeakError
from diag.text import ServerText, SqlText, visible

MASK = "‹masked›"
_URL_SAFE = str.maketrans("+/", "-_")
_SHORTEST_GUARDED = 4  # a shorter credential would be found in every other word of a report

_LETTER = r"A-Za-z_\u0080-\U0010ffff"  # PostgreSQL takes every byte above 7F for a letter
_MORE = (
    r"[ \t\f\v]*(?:--[^\n\r]*)?[\n\r](?:[ \t\f\v\n\r]|--[^\n\r]*[\n\r])*'"  # a line end between two literals joins them
)
_SQL_TOKEN = rf"""
    (?P<comment> --[^\n\r]* )
  | (?P<nested> /\* )
  | (?P<dollar> \$(?P<tag>(?:[{_LETTER}][{_LETTER}0-9]*)?)\$ .*? (?:\$(?P=tag)\$|\Z) )
  | (?P<escaped> [eE]' [^'\\]* (?:(?:\\.|''|'{_MORE})[^'\\]*)* (?:'|\\?\Z) )
  | (?P<quoted> (?:[nNbBxX]|[uU]&)?' [^']*(?:''[^']*)* (?:'|\Z) )
  | (?P<identifier> "[^"]*(?:""[^"]*)*(?:"|\Z) )
  | (?P<parameter> \$[0-9]+ )
  | (?P<word> [{_LETTER}][{_LETTER}0-9$]* )
  | (?P<number> 0[xXoObB][0-9a-fA-F_]+ | (?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)? )
    """
_COMMENT_EDGE = re.compile(r"/\*|\*/")
_KEPT = ("identifier", "parameter", "word")


@cache
def _sql_token() -> re.Pattern[str]:
    """Compile what takes longer than all of this module, and only where there is SQL."""
    return re.compile(_SQL_TOKEN, re.VERBOSE | re.DOTALL)


def mask_sql(statement: str) -> str:
    """Return the statement with every literal and comment as ``?``.

    A literal that the server cut off (track_activity_query_size) is masked to the end.
    Source of the forms: PostgreSQL manual, "Lexical Structure". A backslash in a plain
    literal means itself: standard_conforming_strings has been on since 9.1.
    """
    parts: list[str] = []
    read, token = 0, _sql_token()
    while found := token.search(statement, read):
        parts += [statement[read : found.start()], found[0] if found.lastgroup in _KEPT else "?"]
        read = _end_of_comment(statement, found.end()) if found.lastgroup == "nested" else found.end()
    return "".join((*parts, statement[read:]))


def _end_of_comment(statement: str, read: int) -> int:
    """Return where the comment that is open at `read` ends: comments nest in PostgreSQL."""
    depth = 1
    for edge in _COMMENT_EDGE.finditer(statement, read):
        depth += 1 if edge[0] == "/*" else -1
        if depth == 0:
            return edge.end()
    return len(statement)


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
    """Make masks from credentials, also as URLs, base64 and JSON write them, longest first.

    A credential that equals a `public` word of its target (the user, the database) cannot be
    told from it and is left out; so is one shorter than four characters.
    """
    known = {word for word in credentials if len(word) >= _SHORTEST_GUARDED} - set(public)
    forms = {form for word in known for form in _forms(word)}
    ordered = tuple(sorted(forms, key=lambda form: (-len(form), form)))
    return Masks(words=ordered, patterns=tuple(patterns), show_literals=show_literals)


def _forms(word: str) -> tuple[str, ...]:
    """Return a credential as it stands in a line, a URL, a header, a JSON string and a report."""
    raw = word.encode("utf-8", "surrogateescape")
    encoded = b64encode(raw).decode().rstrip("=")  # without what a decoder does not need
    in_json = msgspec.json.encode(raw.decode("utf-8", "replace")).decode()[1:-1]
    return word, quote(raw, safe=""), encoded, encoded.translate(_URL_SAFE), in_json, visible(word)


S = TypeVar("S", bound=Struct)


def mask(fact: S, hidden: Masks) -> S:
    """Return a snapshot or gap with its texts masked; nothing else changes."""
    nothing_to_hide = not hidden.words and not hidden.patterns
    if nothing_to_hide and (hidden.show_literals or not _holds(type(fact), SqlText)):
        return fact
    return cast("S", _Masking(hidden).masked(fact))


class _Masking:
    """One walk over a fact. What stands in many places (a topic, a partition) is masked once."""

    def __init__(self, hidden: Masks) -> None:
        self._hidden = hidden
        self._done: dict[int, object] = {}  # by identity: all of the fact outlives the walk

    def masked(self, value: object) -> object:
        """Return the value with its texts masked, and the very same one where nothing changes."""
        if isinstance(value, tuple):
            if self._is_unchanged(value):
                return value
            parts = [self.masked(part) for part in value]
            return tuple(parts) if any(map(operator.is_not, parts, value)) else value
        if not isinstance(value, ServerText | Struct):
            return value
        before = self._done.get(id(value))
        if before is None:
            before = self._text(value) if isinstance(value, ServerText) else self._struct(value)
            self._done[id(value)] = before
        return before

    def _is_unchanged(self, rows: tuple[object, ...]) -> bool:
        """Whether nothing changes in rows of one type: seen column by column, since most share few names."""
        kinds = set(map(type, rows))
        if len(kinds) != 1 or not issubclass(kind := kinds.pop(), Struct):
            return False
        columns = (map(operator.attrgetter(name), rows) for name in _textual_fields(kind))
        distinct = ({id(one): one for one in column} for column in columns)
        return all(self.masked(one) is one for column in distinct for one in column.values())

    def _text(self, value: ServerText) -> ServerText:
        text = value.raw
        if isinstance(value, SqlText) and not self._hidden.show_literals:
            text = mask_sql(text)
        text = self._hidden.hide(text)
        return value if text == value.raw else type(value)(text)

    def _struct(self, value: Struct) -> Struct:
        changed = {}
        for name in _textual_fields(type(value)):
            old = getattr(value, name)
            new = self.masked(old)
            if new is not old:
                changed[name] = new
        return msgspec.structs.replace(value, **changed) if changed else value


@cache
def _textual_fields(of: type[Struct]) -> tuple[str, ...]:
    """Return the fields of a type that can hold server text, at any depth; the others need no look."""
    hints = typing.get_type_hints(of)
    return tuple(name for name in of.__struct_fields__ if _holds(hints[name], ServerText))


@cache
def _holds(annotation: Any, kind: Any) -> bool:
    """Whether a value of that type can hold such text. What is not understood is said to."""
    if annotation in (Any, object) or isinstance(annotation, TypeVar):
        return True
    if isinstance(annotation, typing.NewType):
        return _holds(annotation.__supertype__, kind)
    if isinstance(annotation, type) and not typing.get_args(annotation):
        if issubclass(annotation, ServerText):
            return issubclass(annotation, kind) or issubclass(kind, annotation)
        if issubclass(annotation, Struct):
            hints = typing.get_type_hints(annotation)
            return any(_holds(hints[name], kind) for name in annotation.__struct_fields__)
        return False
    return any(_holds(part, kind) for part in typing.get_args(annotation) if part is not Ellipsis)


def refuse_secrets(text: str, hidden: Masks) -> str:
    """Return `text`, or raise `SecretLeakError` when a known credential stands in it."""
    if any(word in text for word in hidden.words):
        message = "a credential stood in the output; nothing was written"
        raise SecretLeakError(message, hint="this is a bug in diag: please report the command, without its output")
    return text
