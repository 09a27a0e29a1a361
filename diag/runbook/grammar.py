"""The text form of conditions, read into the tree of `condition`.

    finding("pg-locks/lock-queue").queue_length >= 10 and not head.state == "active"

Comparisons, `and`, `or`, `not`, `in`, `has()`, `finding()`, dotted names, texts and numbers
with a unit. No loops, no arithmetic, no other calls: what a book can ask, a person can check.

Units    ms s m h d (all seconds inside), % (a ratio inside), KiB MiB GiB (bytes inside)
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from diag.errors import RunbookError
from diag.runbook.condition import Comparison, Condition, Every, Has, Listing, Literal, Measure, Name, Not, Some

if TYPE_CHECKING:
    from collections.abc import Iterator

_LENGTH_MAX = 500  # characters: two lines of a book; longer ones belong into two steps
_DIGITS_MAX = 15  # what a float holds exactly
_DEPTH_MAX = 16  # nested parentheses: far above what a person can read

_TOKEN: Final = re.compile(
    r"""\s*(?:
      (?P<text>"[^"\\]*")
    | (?P<number>-?\d+(?:\.\d+)?(?P<unit>[A-Za-z%]*))
    | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
    | (?P<sign>==|!=|<=|>=|[<>()\[\].,])
    | (?P<end>\Z)
    )""",
    re.VERBOSE | re.ASCII,
)
_UNITS: Final = {
    "": (1.0, ""),
    "ms": (0.001, "s"), "s": (1.0, "s"), "m": (60.0, "s"), "h": (3600.0, "s"), "d": (86_400.0, "s"),
    "%": (0.01, "ratio"),
    "KiB": (1024.0, "bytes"), "MiB": (1024.0**2, "bytes"), "GiB": (1024.0**3, "bytes"),
}  # fmt: skip
_ORDERS: Final = frozenset({"<", "<=", ">", ">="})
_COMPARES: Final = _ORDERS | {"==", "!=", "in"}
_RESERVED: Final = frozenset({"and", "or", "not", "in", "has", "finding", "true", "false"})


class _Token(NamedTuple):
    kind: str
    text: str


def measure(text: str) -> Measure:
    """Read a number with its unit: "30s", "10m", "5%", "2MiB", "12". Raises `RunbookError`."""
    found = _TOKEN.fullmatch(text)
    if found is None or found["number"] is None or found["unit"] not in _UNITS:
        msg = f"`{text}` is not a number with a unit of {' '.join(filter(None, _UNITS))}"
        raise RunbookError(msg)
    factor, unit = _UNITS[found["unit"]]
    digits = found["number"].removesuffix(found["unit"])
    if len(digits) > _DIGITS_MAX:
        msg = f"a number has at most {_DIGITS_MAX} digits"
        raise RunbookError(msg)
    return Measure(value=float(digits) * factor, unit=unit)


def condition(text: str) -> Condition:
    """Read a condition. Raises `RunbookError` with one sentence that quotes what is wrong."""
    if len(text) > _LENGTH_MAX:
        msg = f"a condition has at most {_LENGTH_MAX} characters; this one has {len(text)}"
        raise RunbookError(msg)
    return _Reader(text).whole()


def name(text: str) -> Name:
    """Read a dotted name such as `head.pid` or `finding("a/b").pid`. Raises `RunbookError`."""
    reader = _Reader(text)
    read = reader.name()
    reader.close()
    return read


def _tokens(text: str) -> Iterator[_Token]:
    at = 0
    while True:
        found = _TOKEN.match(text, at)
        if found is None:
            msg = f"cannot read `{text[at:].strip()}`"
            raise RunbookError(msg)
        kind = "number" if found["number"] else str(found.lastgroup)
        yield _Token(kind, found[kind])
        if kind == "end":
            return
        at = found.end()


class _Reader:
    """Recursive descent, one token ahead; the grammar is in the method names."""

    def __init__(self, text: str) -> None:
        self._rest = _tokens(text)
        self._next = next(self._rest)
        self._depth = 0

    def whole(self) -> Condition:
        read = self.any_of()
        self.close()
        return read

    def close(self) -> None:
        if self._next.kind != "end":
            msg = f"did not expect `{self._next.text}` here"
            raise RunbookError(msg)

    def any_of(self) -> Condition:
        self._depth += 1
        if self._depth > _DEPTH_MAX:
            msg = f"a condition nests at most {_DEPTH_MAX} deep"
            raise RunbookError(msg)
        parts = [self._all_of()]
        while self._takes("or"):
            parts.append(self._all_of())
        self._depth -= 1
        return parts[0] if len(parts) == 1 else Some(parts=tuple(parts))

    def _all_of(self) -> Condition:
        parts = [self._negated()]
        while self._takes("and"):
            parts.append(self._negated())
        return parts[0] if len(parts) == 1 else Every(parts=tuple(parts))

    def _negated(self) -> Condition:
        turns = 0
        while self._takes("not"):
            turns += 1
        read = self._single()
        return Not(of=read) if turns % 2 else read

    def _single(self) -> Condition:
        if self._takes("("):
            inner = self.any_of()
            self._must(")")
            return inner
        if self._takes("has"):
            self._must("(")
            held = Has(name=self.name())
            self._must(")")
            return held
        left = self._operand()
        operator = self._next.text
        if self._next.kind not in {"sign", "word"} or operator not in _COMPARES:
            if isinstance(left, Name) and left.parts:
                return left
            msg = "a text, a number or a bare finding is not a condition: compare it, or ask has(…)"
            raise RunbookError(msg)
        self._advance()
        right = self._listing() if operator == "in" and self._next.text == "[" else self._operand()
        return _compared(left, operator, right)

    def name(self) -> Name:
        slug = ""
        parts: list[str] = []
        if self._takes("finding"):
            self._must("(")
            slug = self._advance("text").text[1:-1]
            self._must(")")
        else:
            parts.append(self._part())
        while self._takes("."):
            parts.append(self._part())
        return Name(parts=tuple(parts), finding=slug)

    def _part(self) -> str:
        if self._next.text in _RESERVED:
            msg = f"`{self._next.text}` is a word of the language, not a name"
            raise RunbookError(msg)
        return self._advance("word").text

    def _operand(self) -> Name | Literal:
        kind, text = self._next
        if kind == "word" and text not in {"true", "false"}:
            return self.name()
        return self._literal()

    def _listing(self) -> Listing:
        self._must("[")
        items = [self._literal()]
        while self._takes(","):
            items.append(self._literal())
        self._must("]")
        return Listing(items=tuple(items))

    def _literal(self) -> Literal:
        kind, text = self._next
        if kind == "text":
            value: str | bool | Measure = text[1:-1]
        elif kind == "number":
            value = measure(text)
        elif text in {"true", "false"}:
            value = text == "true"
        else:
            msg = f"expected a name or a value before {f'`{text}`' if text else 'the end'}"
            raise RunbookError(msg)
        self._advance()
        return Literal(value=value)

    def _takes(self, text: str) -> bool:
        if self._next.kind in {"sign", "word"} and self._next.text == text:
            self._advance()
            return True
        return False

    def _must(self, text: str) -> None:
        if not self._takes(text):
            msg = f"expected `{text}` before {f'`{self._next.text}`' if self._next.text else 'the end'}"
            raise RunbookError(msg)

    def _advance(self, kind: str = "") -> _Token:
        here = self._next
        if kind and here.kind != kind:
            msg = f"expected a {kind} before {f'`{here.text}`' if here.text else 'the end'}"
            raise RunbookError(msg)
        if here.kind != "end":
            self._next = next(self._rest)
        return here


def _compared(left: Name | Literal, operator: str, right: Name | Literal | Listing) -> Comparison:
    if isinstance(left, Literal) and not isinstance(right, Name):
        msg = "both sides are fixed values: the answer would never change"
        raise RunbookError(msg)
    for side in (left, right):
        if isinstance(side, Name) and not side.parts:
            msg = f"`{side}` needs a part, such as `{side}.pid`"
            raise RunbookError(msg)
        if operator in _ORDERS and isinstance(side, Literal) and not isinstance(side.value, Measure):
            msg = f"`{operator}` orders numbers only"
            raise RunbookError(msg)
    if operator == "in" and isinstance(right, Literal):
        msg = "right of `in` stands a list or a name"
        raise RunbookError(msg)
    return Comparison(left=left, operator=operator, right=right)


_PLACEHOLDER: Final = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)


def placeholders(text: str) -> tuple[Name, ...]:
    """Every `{{name}}` of a text, in order. Raises `RunbookError` when one is not a dotted name."""
    read = tuple(name(found[1].strip()) for found in _PLACEHOLDER.finditer(text))
    if "{{" in _PLACEHOLDER.sub("", text):
        msg = "`{{` is not closed by `}}`"
        raise RunbookError(msg)
    return read


def split(text: str) -> Iterator[str | Name]:
    """The parts of a text around its placeholders, in order; empty parts are left out."""
    at = 0
    for found in _PLACEHOLDER.finditer(text):
        if found.start() > at:
            yield text[at : found.start()]
        yield name(found[1].strip())
        at = found.end()
    if at < len(text):
        yield text[at:]
