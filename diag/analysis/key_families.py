"""Which keys belong together, by their names: `product:page:4711` is of the family `product:page:{n}`.

Values vary, words do not: parts that are numbers, hashes or UUIDs become places; a part that
takes many values among otherwise equal names does so too, so that `user:anna` and `user:bob`
are one family when there are many such users.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

_PARTS: Final = re.compile(r"([:/|.#\-_]+)")
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_HASH: Final = re.compile(r"(?=[0-9a-fA-F]*\d)[0-9a-fA-F]{8,}")
_NUMBER: Final = re.compile(r"\d+")
_MANY: Final = 20  # more values than this in one place of a name: it is a value, not a word


def family_of(name: str) -> str:
    """Return the name with numbers, hashes and UUIDs as places: {n}, {hash}, {uuid}."""
    return "".join(_place(part) for part in _PARTS.split(_UUID.sub("{uuid}", name)))


def _place(part: str) -> str:
    if part.isdecimal():
        return "{n}"
    if _HASH.fullmatch(part):
        return "{hash}"
    return _NUMBER.sub("{n}", part) if part[:1].isdecimal() or part[-1:].isdecimal() else part


def families(names: Iterable[str]) -> dict[str, str]:
    """Return the family of each name; a last part with many values becomes {s}.

    Only the last part is merged, and only under an equal beginning: two schemas never become one.
    """
    first = {name: family_of(name) for name in set(names)}
    seen = set(first.values())
    for name, pattern in first.items():  # a hash of digits only is still one of the hashes
        if pattern.replace("{n}", "{hash}") in seen:
            first[name] = pattern.replace("{n}", "{hash}")
    beginnings: dict[str, set[str]] = {}
    for pattern in first.values():
        beginnings.setdefault(_beginning(pattern), set()).add(pattern)
    crowded = {beginning for beginning, patterns in beginnings.items() if beginning and len(patterns) > _MANY}
    return {
        name: f"{_beginning(pattern)}{{s}}" if _beginning(pattern) in crowded else pattern
        for name, pattern in first.items()
    }


def _beginning(pattern: str) -> str:
    """Return everything up to and with the last separator; empty for a name of one part."""
    parts = _PARTS.split(pattern)
    return "".join(parts[:-1])
