"""Reading the fields of one YAML block: each problem is noted with its line, none stops the rest."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, TypeVar

from diag.errors import RunbookError
from diag.runbook.grammar import condition, measure, name, placeholders
from diag.runbook.model import Expectation, Halt, Jump
from diag.text import visible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from diag.runbook.condition import Measure, Name
    from diag.runbook.strict_yaml import Entry

T = TypeVar("T")

SLUG: Final = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*/[a-z0-9]+(?:-[a-z0-9]+)*")
WORD: Final = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
VARIABLE: Final = re.compile(r"[a-z][a-z0-9_]*")

_JUMP: Final = re.compile(r"step ([1-9][0-9]{0,2})|end/([a-z0-9]+(?:-[a-z0-9]+)*)")
_ASK: Final = re.compile(r'ask "([^"]+)"')


class Notes:
    """The problems of one file, as (line, sentence)."""

    def __init__(self) -> None:
        """Start with none."""
        self._held: list[tuple[int, str]] = []

    def add(self, line: int, sentence: str) -> None:
        """Note a problem; what came from the file is shown with visible escapes."""
        self._held.append((line, visible(sentence)))

    def __len__(self) -> int:
        """How many so far."""
        return len(self._held)

    def lines(self, source: str) -> tuple[str, ...]:
        """Each problem as `source:line: sentence`, by line."""
        return tuple(f"{visible(source)}:{line}: {sentence}" for line, sentence in sorted(self._held))


class Fields:
    """One mapping being read. Keys nobody asked for are reported by `close`."""

    def __init__(self, entry: Entry, *, of: str, notes: Notes) -> None:
        """Read `entry`, which has to be a mapping; `of` names the place in sentences."""
        self.line = entry.line
        self.of = of
        self.notes = notes
        self._held: dict[str, Entry] = {}
        self._asked: set[str] = set()
        if isinstance(entry.value, dict):
            self._held = entry.value
        else:
            notes.add(entry.line, f"{of} has to be a mapping of keys to values")

    def __contains__(self, key: str) -> bool:
        """Whether the key stands in the block."""
        return key in self._held

    def each(self) -> tuple[str, ...]:
        """The keys as written; all of them count as asked for."""
        self._asked |= self._held.keys()
        return tuple(self._held)

    def line_of(self, key: str) -> int:
        """Line of the key, or of the block when the key is not there."""
        return self._held[key].line if key in self._held else self.line

    def wrong(self, key: str, sentence: str) -> None:
        """Note that the field `key` is not as it should be."""
        self.notes.add(self.line_of(key), f"{self.of}: `{key}` {sentence}")

    def close(self) -> None:
        """Note every key that no reader asked for."""
        for key in self._held:
            if key not in self._asked:
                self.notes.add(self._held[key].line, f"{self.of}: unknown key `{key}`")

    def entry(self, key: str, *, needed: bool = True) -> Entry | None:
        """The raw entry; a missing one is noted when `needed`."""
        self._asked.add(key)
        if key not in self._held:
            if needed:
                self.notes.add(self.line, f"{self.of}: `{key}` is missing")
            return None
        held = self._held[key]
        if not held.value:
            self.wrong(key, "has no value")
            return None
        return held

    def text(self, key: str, *, needed: bool = True, like: re.Pattern[str] | None = None) -> str:
        """A text, its placeholders readable; with `like`, of exactly that form. Empty when wrong."""
        held = self.entry(key, needed=needed)
        if held is None:
            return ""
        if not isinstance(held.value, str):
            self.wrong(key, "has to be text")
            return ""
        if like is not None and like.fullmatch(held.value) is None:
            self.wrong(key, f"cannot be `{held.value}`")
            return ""
        return held.value if self._read(key, placeholders, held.value) is not None else ""

    def choice(self, key: str, among: tuple[str, ...], *, needed: bool = True) -> str:
        """One of the given words. Empty when wrong."""
        held = self.text(key, needed=needed)
        if held and held not in among:
            self.wrong(key, f"cannot be `{held}`; it is one of {', '.join(among)}")
            return ""
        return held

    def texts(self, key: str, *, needed: bool = True, like: re.Pattern[str] | None = None) -> tuple[str, ...]:
        """A list of texts. Empty when wrong."""
        held = self.entry(key, needed=needed)
        if held is None:
            return ()
        if not isinstance(held.value, tuple):
            self.wrong(key, "has to be a list")
            return ()
        read = []
        for item in held.value:
            if not isinstance(item.value, str) or not item.value or (like and not like.fullmatch(item.value)):
                self.notes.add(item.line, f"{self.of}: `{key}` cannot hold {_shown(item)}")
                continue
            if self._read(key, placeholders, item.value) is not None:
                read.append(item.value)
        return tuple(read)

    def block(self, key: str, *, needed: bool = True) -> Fields | None:
        """A mapping below this one; the caller closes it."""
        held = self.entry(key, needed=needed)
        return None if held is None else Fields(held, of=f"{self.of}: {key}", notes=self.notes)

    def blocks(self, key: str) -> Iterator[Fields]:
        """A list of mappings below this one, which may be missing; the caller closes each."""
        held = self.entry(key, needed=False)
        if held is None:
            return
        if not isinstance(held.value, tuple):
            self.wrong(key, "has to be a list")
            return
        for item in held.value:
            yield Fields(item, of=f"{self.of}: {key}", notes=self.notes)

    def measure(self, key: str, unit: str, *, needed: bool = True) -> Measure | None:
        """A number not below zero in the given unit ("s", "ratio", "bytes" or "")."""
        text = self.text(key, needed=needed)
        held = self._read(key, measure, text) if text else None
        if held is None:
            return None
        if held.unit != unit or held.value < 0:
            wanted = {"s": "a duration such as 30s", "ratio": "a share such as 20%", "bytes": "a size such as 2MiB"}
            self.wrong(key, f"has to be {wanted.get(unit, 'a plain number such as 10')}, not `{text}`")
            return None
        return held

    def seconds(self, key: str) -> float:
        """A duration above zero, in seconds. 0.0 when wrong."""
        held = self.measure(key, "s")
        if held is not None and not held.value:
            self.wrong(key, "has to be longer than zero")
        return held.value if held else 0.0

    def step_number(self, key: str) -> int:
        """The `step N` another step is meant by. 0 when wrong."""
        found = _JUMP.fullmatch(self.text(key))
        if found and found[1]:
            return int(found[1])
        if key in self._held:
            self.wrong(key, "has to be of the form `step N`")
        return 0

    def arguments(self, key: str) -> dict[str, Name]:
        """A mapping of argument to dotted name; it may be missing."""
        held = self.block(key, needed=False)
        read: dict[str, Name] = {}
        if held is None:
            return read
        for argument in held.each():
            found = held.read(argument, name)
            if found is not None:
                read[argument] = found
        return read

    def jump(self, key: str) -> Jump:
        """`step N` or `end/NAME`. An empty jump when wrong."""
        text = self.text(key)
        found = _JUMP.fullmatch(text)
        if text and found is None:
            self.wrong(key, f"has to be `step N` or `end/NAME`, not `{text}`")
        return Jump(step=int(found[1] or 0), end=found[2] or "") if found else Jump()

    def on_unknown(self) -> Jump | Halt:
        """`stop`, `ask "…"`, `step N` or `end/NAME`: what to do when nobody can tell."""
        text = self.text("on_unknown")
        if text == "stop":
            return Halt()
        if asked := _ASK.fullmatch(text):
            return Halt(question=asked[1])
        found = _JUMP.fullmatch(text)
        if text and found is None:
            self.wrong("on_unknown", f'has to be `stop`, `ask "…"`, `step N` or `end/NAME`, not `{text}`')
        return Jump(step=int(found[1] or 0), end=found[2] or "") if found else Halt()

    def expectation(self, key: str, *, needed: bool = False) -> Expectation | None:
        """The condition under `key` with its `else`, `on_unknown` and, unless it guards an act, `then`."""
        if key not in self._held and not needed:
            for orphan in ("else", "on_unknown", "then"):
                if orphan in self._held:
                    self._asked.add(orphan)
                    self.wrong(orphan, f"needs an `{key}` beside it")
            return None
        text = self.text(key)
        read = self._read(key, condition, text) if text else None
        otherwise, unknown = self.jump("else"), self.on_unknown()
        then = self.jump("then") if "then" in self and key != "before" else None
        if read is None:
            return None
        return Expectation(text=text, condition=read, otherwise=otherwise, on_unknown=unknown, then=then)

    def read(self, key: str, reader: Callable[[str], T]) -> T | None:
        """Put the text of `key` through `reader`, noting its `RunbookError` as a problem."""
        text = self.text(key)
        return self._read(key, reader, text) if text else None

    def _read(self, key: str, reader: Callable[[str], T], text: str) -> T | None:
        try:
            return reader(text)
        except RunbookError as error:
            self.wrong(key, f"is not readable: {error.message}")
            return None


def _shown(item: Entry) -> str:
    return f"`{item.value}`" if isinstance(item.value, str) and item.value else "this"
