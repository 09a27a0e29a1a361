"""YAML without surprises: every scalar is text, every entry knows its line.

PyYAML follows YAML 1.1, where `on`, `no` and `1:30` are not text. Here nothing is guessed:
no implicit types, no tags, no anchors and aliases (so no bombs), no key twice, only text as
keys. Types come later, from the field that is read.

Source   YAML 1.1 type repository (bool, sexagesimal int); PyYAML 6 loader classes
"""

from __future__ import annotations

from typing import TypeAlias

import yaml
from msgspec import Struct

from diag.errors import RunbookError

_DEPTH_MAX = 6  # the format needs 4
_ENTRIES_MAX = 500  # entries of one block: the longest shipped block has under 40


class Entry(Struct, frozen=True, kw_only=True):
    """A text, a list or a mapping, with the line of the file it starts on."""

    line: int
    value: Content


Content: TypeAlias = "str | tuple[Entry, ...] | dict[str, Entry]"


class YamlError(RunbookError):
    """The text is not the YAML this project reads; `line` counts from 1 in the file."""

    def __init__(self, line: int, sentence: str) -> None:
        """Keep the line beside the sentence."""
        super().__init__(sentence)
        self.line = line


class _Strict(yaml.SafeLoader):
    """Composes nodes and never constructs objects: a scalar stays the text it was written as."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth = 0
        self.entries = 0

    def compose_node(self, parent: yaml.Node | None, index: object) -> yaml.Node | None:
        # Refusing here, before anything is built, keeps bombs and deep nesting cheap.
        event = self.peek_event()  # type: ignore[no-untyped-call]
        line = event.start_mark.line
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise YamlError(line, "anchors and aliases (& and *) are not allowed")
        if getattr(event, "tag", None) is not None:
            raise YamlError(line, "tags (!) are not allowed")
        self.entries += 1
        if self.entries > _ENTRIES_MAX:
            raise YamlError(line, f"a block has at most {_ENTRIES_MAX} entries")
        self.depth += 1
        if self.depth > _DEPTH_MAX:
            raise YamlError(line, f"YAML nests at most {_DEPTH_MAX} deep here")
        node = super().compose_node(parent, index)  # type: ignore[arg-type]
        self.depth -= 1
        return node


def mapping(text: str, *, first_line: int) -> Entry:
    """Read one mapping; `first_line` is the line of the file on which `text` starts.

    Raises `YamlError` with the line of the first thing that is not allowed.
    """
    try:
        loader = _Strict(text)
        node = loader.get_single_node()
    except YamlError as error:
        raise YamlError(first_line + error.line, error.message) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        sentence = f"not YAML: {error.problem or error.context}"
        raise YamlError(first_line + (mark.line if mark else 0), sentence) from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        # ValueError: PyYAML hands an escape such as "\UFFFFFFFF" to chr() unchecked.
        raise YamlError(first_line, "not YAML: a character or an escape that does not exist") from error
    if not isinstance(node, yaml.MappingNode):
        raise YamlError(first_line, "expected `key: value` lines")
    return _entry(node, first_line)


def _entry(node: yaml.Node, first_line: int) -> Entry:
    line = first_line + node.start_mark.line
    if isinstance(node, yaml.ScalarNode):
        return Entry(line=line, value=str(node.value).strip())
    if isinstance(node, yaml.SequenceNode):
        return Entry(line=line, value=tuple(_entry(item, first_line) for item in node.value))
    held: dict[str, Entry] = {}
    for key, value in node.value:
        key_line = first_line + key.start_mark.line
        if not isinstance(key, yaml.ScalarNode):
            raise YamlError(key_line, "a key is text, not a list or a mapping")
        if key.value in held:
            raise YamlError(key_line, f"the key `{key.value}` stands twice")
        # The line of the key: a block value starts on the line below it.
        held[key.value] = Entry(line=key_line, value=_entry(value, first_line).value)
    return Entry(line=line, value=held)
