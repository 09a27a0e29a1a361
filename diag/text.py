"""Text that came from a server, and the one way to make it harmless.

Names of keys, topics, roles and clients are chosen by whoever can write to the server.
`ServerText` has no implicit conversion to `str`, so such a name cannot slip into a
terminal, a Markdown page or a shell line except through a sink that asked for it.
"""

from __future__ import annotations

from typing import Final

_SHORT_ESCAPES: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\x1b": "\\e", "\x00": "\\0"}
_SURROGATE_LOW, _SURROGATE_HIGH = 0xDC80, 0xDCFF  # what "surrogateescape" makes of undecodable bytes
_ASCII_MAX, _BMP_MAX = 0x7F, 0xFFFF


def visible(text: str) -> str:
    r"""Return `text` with every character that is not printable written as an escape.

    Covers C0 and C1 controls, DEL, bidirectional overrides, zero-width characters and
    bytes that were not valid UTF-8 (shown as ``\xNN``). Source: Unicode general
    categories "Other" and "Separator", as `str.isprintable` tests them.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escape(char) for char in text)


def _escape(char: str) -> str:
    code = ord(char)
    if char in _SHORT_ESCAPES:
        return _SHORT_ESCAPES[char]
    if _SURROGATE_LOW <= code <= _SURROGATE_HIGH:
        return f"\\x{code - 0xDC00:02x}"
    if code <= _ASCII_MAX:  # from 80 on \xNN is a byte that was not UTF-8, \u00NN a character that was
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= _BMP_MAX else f"\\U{code:08x}"


class ServerText:
    """Text that came from a server; it reaches a reader only through a sink.

    `raw` is the exact text (undecodable bytes as lone surrogates, as "surrogateescape"
    leaves them); `visible` is what may be shown. Implicit conversions raise `TypeError`.
    """

    __slots__ = ("raw",)

    raw: str

    def __init__(self, raw: str) -> None:
        """Keep `raw` as it came."""
        object.__setattr__(self, "raw", raw)

    @classmethod
    def of_bytes(cls, raw: bytes) -> ServerText:
        """Decode UTF-8; bytes that are not UTF-8 stay recognisable and recoverable."""
        return cls(raw.decode("utf-8", "surrogateescape"))

    @property
    def visible(self) -> str:
        """The text with visible escapes: safe on a terminal, still to be quoted elsewhere."""
        return visible(self.raw)

    @property
    def as_bytes(self) -> bytes:
        """The bytes the server sent."""
        return self.raw.encode("utf-8", "surrogateescape")

    @property
    def can_be_pasted(self) -> bool:
        """True when a person can paste the text into a prompt and nothing unseen comes along."""
        return self.raw.isprintable()

    def __setattr__(self, name: str, value: object) -> None:
        """Refuse: a fact does not change."""
        raise AttributeError(name)

    def __str__(self) -> str:
        """Refuse: only a sink may turn server text into output."""
        msg = "ServerText has no implicit text: use .visible in a sink, .raw for comparison"
        raise TypeError(msg)

    def __format__(self, spec: str) -> str:
        """Refuse, like `__str__`."""
        return str(self)

    def __repr__(self) -> str:
        """Show the visible form (for a failing test, never for a report)."""
        return f"{type(self).__name__}({self.visible!r})"

    def __eq__(self, other: object) -> bool:
        """Equal when type and exact text are equal."""
        return type(other) is type(self) and isinstance(other, ServerText) and other.raw == self.raw

    def __lt__(self, other: ServerText) -> bool:
        """Order by exact text."""
        return self.raw < other.raw

    def __hash__(self) -> int:
        """Hash of the exact text."""
        return hash(self.raw)


class SqlText(ServerText):
    """The text of a SQL statement: its literals are masked before it is judged or written."""

    __slots__ = ()


class KeyText(ServerText):
    """A Redis key or a key family such as `product:page:{n}`."""

    __slots__ = ()
