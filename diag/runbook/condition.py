"""Conditions of a runbook as a small tree, judged with three truth values.

"Not known" is an answer of its own: a grant that is missing must never read as "all is well".
The text form is read by `grammar`.

Source   S. C. Kleene, Introduction to Metamathematics (1952), §64: the strong three-valued tables
"""

from __future__ import annotations

import math
from enum import Enum
from typing import TYPE_CHECKING, TypeAlias

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Truth(Enum):
    """Answer of a condition; `UNKNOWN` is evidence missing, denied or not comparable."""

    TRUE = "true"
    FALSE = "false"
    UNKNOWN = "unknown"

    def __bool__(self) -> bool:
        """Refuse: a silent conversion would turn unknown into one of the other two."""
        msg = "Truth has three values: compare with `is Truth.TRUE`"
        raise TypeError(msg)


class Missing(Enum):
    """Why a look-up has no value: known not to be there, or not known at all."""

    ABSENT = "absent"
    UNKNOWN = "unknown"


class Measure(Struct, frozen=True, kw_only=True):
    """A number with its unit; `unit` is "s", "ratio", "bytes", or "" for a plain number."""

    value: float
    unit: str = ""


Value: TypeAlias = "float | int | str | bool | Measure | tuple[Value, ...]"


class Name(Struct, frozen=True, kw_only=True, tag="name"):
    """A dotted name; with `finding` set, the parts are below the worst finding of that slug.

    Parts use underscores where an evidence name has spaces: "queue length" is `queue_length`.
    """

    parts: tuple[str, ...]
    finding: str = ""

    def __str__(self) -> str:
        """Return the name as it is written in a book."""
        head = (f'finding("{self.finding}")',) if self.finding else ()
        return ".".join(head + self.parts)


class Literal(Struct, frozen=True, kw_only=True, tag="literal"):
    """A text, a number with its unit, true or false."""

    value: str | bool | Measure


class Listing(Struct, frozen=True, kw_only=True, tag="listing"):
    """Literals between square brackets, to the right of `in`."""

    items: tuple[Literal, ...]


class Has(Struct, frozen=True, kw_only=True, tag="has"):
    """True when the name has a value, false when it is known to have none."""

    name: Name


class Comparison(Struct, frozen=True, kw_only=True, tag="comparison"):
    """Two operands and one of == != < <= > >= in."""

    left: Name | Literal
    operator: str
    right: Name | Literal | Listing


class Not(Struct, frozen=True, kw_only=True, tag="not"):
    """The opposite; the opposite of unknown is unknown."""

    of: Condition


class Every(Struct, frozen=True, kw_only=True, tag="and"):
    """Parts joined by `and`: false wins over unknown, unknown over true."""

    parts: tuple[Condition, ...]


class Some(Struct, frozen=True, kw_only=True, tag="or"):
    """Parts joined by `or`: true wins over unknown, unknown over false."""

    parts: tuple[Condition, ...]


Condition: TypeAlias = Name | Has | Comparison | Not | Every | Some
Lookup: TypeAlias = "Callable[[Name], Value | Missing]"


def names(tree: Condition) -> Iterator[Name]:
    """Every name the condition asks for, in the order of the text."""
    match tree:
        case Name():
            yield tree
        case Has(name=asked):
            yield asked
        case Not(of=inner):
            yield from names(inner)
        case Every(parts=parts) | Some(parts=parts):
            for part in parts:
                yield from names(part)
        case Comparison(left=left, right=right):
            yield from (side for side in (left, right) if isinstance(side, Name))


def evaluate(tree: Condition, lookup: Lookup) -> Truth:
    """Judge the condition; `lookup` returns the value of a name or why there is none.

    A comparison with a missing value, of different kinds, or of different units is unknown.
    """
    match tree:
        case Name():
            held = lookup(tree)
            return _truth(held) if isinstance(held, bool) else Truth.UNKNOWN
        case Has(name=asked):
            found = lookup(asked)
            return Truth.UNKNOWN if found is Missing.UNKNOWN else _truth(found is not Missing.ABSENT)
        case Not(of=inner):
            return {Truth.TRUE: Truth.FALSE, Truth.FALSE: Truth.TRUE}.get(evaluate(inner, lookup), Truth.UNKNOWN)
        case Every(parts=parts):
            return _first((Truth.FALSE, Truth.UNKNOWN), [evaluate(part, lookup) for part in parts], Truth.TRUE)
        case Some(parts=parts):
            return _first((Truth.TRUE, Truth.UNKNOWN), [evaluate(part, lookup) for part in parts], Truth.FALSE)
        case Comparison(left=left, operator=operator, right=right):
            return _compare(_value(left, lookup), operator, _value(right, lookup))


def _first(order: tuple[Truth, ...], answers: list[Truth], otherwise: Truth) -> Truth:
    return next((truth for truth in order if truth in answers), otherwise)


def _truth(holds: bool) -> Truth:
    return Truth.TRUE if holds else Truth.FALSE


def _value(side: Name | Literal | Listing, lookup: Lookup) -> Value | Missing:
    match side:
        case Name():
            return lookup(side)
        case Literal(value=value):
            return value
        case Listing(items=items):
            return tuple(item.value for item in items)


def _compare(left: Value | Missing, operator: str, right: Value | Missing) -> Truth:
    if isinstance(left, Missing) or isinstance(right, Missing):
        return Truth.UNKNOWN
    if operator == "in":
        if not isinstance(right, tuple):
            return Truth.UNKNOWN
        return _first((Truth.TRUE, Truth.UNKNOWN), [_equal(left, item) for item in right], Truth.FALSE)
    if operator in {"==", "!="}:
        same = _equal(left, right)
        return same if operator == "==" or same is Truth.UNKNOWN else _truth(same is Truth.FALSE)
    pair = _same_unit(left, right)
    if pair is None:
        return Truth.UNKNOWN
    low, high = pair
    return _truth({"<": low < high, "<=": low <= high, ">": low > high, ">=": low >= high}[operator])


def _equal(left: Value, right: Value) -> Truth:
    pair = _same_unit(left, right)
    if pair is not None:
        return _truth(pair[0] == pair[1])
    alike = (isinstance(left, str) and isinstance(right, str)) or (isinstance(left, bool) and isinstance(right, bool))
    return _truth(left == right) if alike else Truth.UNKNOWN


def _same_unit(left: Value, right: Value) -> tuple[float, float] | None:
    low, high = _measured(left), _measured(right)
    if low is None or high is None or math.isnan(low.value) or math.isnan(high.value):
        return None
    # A plain count may stand beside any unit; seconds beside bytes may not.
    return (low.value, high.value) if low.unit == high.unit or "" in {low.unit, high.unit} else None


def _measured(value: Value) -> Measure | None:
    if isinstance(value, Measure):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return Measure(value=float(value))
