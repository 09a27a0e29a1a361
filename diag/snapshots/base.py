"""What every snapshot carries: where it was taken, when, and what could not be read."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Generic, Self, TypeVar

import msgspec
from msgspec import Struct

from diag.errors import Rung
from diag.text import KeyText, ServerText, SqlText

NOTHING = ServerText("")


class Scope(Struct, frozen=True, kw_only=True):
    """Which part of a system was asked for; empty means all of it. Group and topic are globs.

    `history_s` is how many seconds of the past to rebuild; 0 for none. `full` is where every key may be walked
    rather than a sample: "replica", or "primary" for there as well.
    """

    groups: tuple[str, ...] = ()
    topics: tuple[str, ...] = ()
    database: str = ""
    table: str = ""
    match: str = ""
    full: str = ""
    history_s: float = 0.0


class Target(Struct, frozen=True, kw_only=True):
    """The server a fact came from.

    `name` is the name in the chosen context, `address` what was dialled. `encrypted` says
    that TLS was in use, `verified` that the certificate and the host name were checked,
    `local` that the bytes did not leave the machine (loopback or a Unix socket).
    """

    kind: str
    address: str
    name: str = "default"
    version: ServerText = NOTHING
    encrypted: bool = False
    verified: bool = False
    local: bool = False


class Gap(Struct, frozen=True, kw_only=True):
    """Something that could not be read.

    `fact` is the field of the snapshot that is missing or incomplete (checks name it in
    `needs`), `what` says it in words, `why` is the server's reason, `fix` the exact grant,
    setting or action that would close the gap (empty when none is known).
    """

    source: str
    fact: str
    what: ServerText
    why: ServerText
    fix: ServerText = NOTHING
    rung: Rung | None = None


class Snapshot(Struct, frozen=True, kw_only=True):
    """Facts of one server at one instant.

    `observed_at` is the server's clock where it has one to ask, else ours (UTC);
    `took_s` is how long the reading took, hence how far apart its parts may lie.
    """

    target: Target
    observed_at: datetime
    took_s: float = 0.0
    gaps: tuple[Gap, ...] = ()

    @classmethod
    def taken_in(cls, scope: Scope) -> bool:
        """Whether this fact is taken at all in a look of that scope; those that cost more are asked for."""
        del scope
        return True

    def lacks(self, fact: str) -> Gap | None:
        """Return the first gap in `fact`, or None when it was read whole."""
        return next((gap for gap in self.gaps if gap.fact == fact), None)


T = TypeVar("T", bound=Snapshot)


class Window(Struct, Generic[T], frozen=True, kw_only=True, eq=False):
    """Frames of one kind from one target, oldest first; never empty.

    Compared by identity, so that what was derived from it can be kept and shared by all checks.
    """

    frames: tuple[T, ...]

    @property
    def last(self) -> T:
        """The newest frame; its `observed_at` is "now" for every check."""
        return self.frames[-1]

    @property
    def first(self) -> T:
        """The oldest frame."""
        return self.frames[0]

    @property
    def span_s(self) -> float:
        """Seconds between the oldest and the newest frame; 0 with a single frame."""
        return (self.last.observed_at - self.first.observed_at).total_seconds()

    def upto(self, count: int) -> Self:
        """Return the window of the newest `count` frames."""
        return msgspec.structs.replace(self, frames=self.frames[-count:])


def to_wire(value: Any) -> Any:
    """Encode server text for msgspec: a string, or its bytes when it is not valid Unicode."""
    if isinstance(value, ServerText):
        try:
            value.raw.encode()
        except UnicodeEncodeError:
            return {"bytes": value.as_bytes}
        return value.raw
    msg = f"{type(value).__name__} is not a fact"
    raise NotImplementedError(msg)


def from_wire(wanted: type, value: Any) -> Any:
    """Decode what `to_wire` wrote. Raises `ValueError` on anything else."""
    if wanted in (ServerText, SqlText, KeyText):
        if isinstance(value, str):
            return wanted(value)
        if isinstance(value, dict) and set(value) == {"bytes"}:
            return wanted.of_bytes(msgspec.convert(value["bytes"], bytes))
    msg = f"cannot read a {wanted.__name__}"
    raise ValueError(msg)


class Row(Struct, frozen=True, kw_only=True):
    """One row of a command's main table; its field names are public contract."""

    target: str = "default"
