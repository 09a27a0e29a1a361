"""The words of a diagnosis: what was found, by which evidence, and what to do next.

Words carry values, not text: a `Phrase` is a fixed template with typed arguments, and a
`Command` is arguments, not a line. Only the sinks in `report/` turn them into text.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from enum import Enum, StrEnum
from typing import Any, TypeAlias

from msgspec import Struct

from diag.snapshots.base import Gap, Target
from diag.text import KeyText, ServerText


class Severity(StrEnum):
    """How bad a finding is for the people using the system."""

    WARNING = "warning"
    CRITICAL = "critical"


class Verdict(StrEnum):
    """The worst thing a report says, mildest first."""

    CLEAR = "clear"
    UNKNOWN = "unknown"
    WARNING = "warning"
    CRITICAL = "critical"


class Basis(StrEnum):
    """How a finding is known: seen, computed from what was seen, or supposed."""

    OBSERVED = "observed"
    DERIVED = "derived"
    HYPOTHESIS = "hypothesis"


class Risk(StrEnum):
    """What a step can do to the system."""

    READ_ONLY = "read-only"
    REVERSIBLE = "reversible"
    DISRUPTIVE = "disruptive"


class Outcome(StrEnum):
    """How a check ended."""

    FOUND = "found"
    CLEAR = "clear"
    UNKNOWN = "unknown"
    SKIPPED = "skipped"


class Quantity(Struct, frozen=True):
    """A number and its unit; units: s, bytes, ratio, or a plural noun of the manual."""

    value: float
    unit: str


class Phrase(Struct, frozen=True, kw_only=True):
    """A fixed template in the tool's own words and the values that fill it."""

    template: str
    values: dict[str, Value]


Value: TypeAlias = ServerText | Quantity | Phrase | Enum | datetime | int | float | str
"""What a phrase or an evidence row may carry; a plain `str` is the tool's own word."""


def say(template: str, /, **values: Value) -> Phrase:
    """Make a phrase; raises `ValueError` when template and values do not name the same things."""
    named = {name for _, name, _, _ in string.Formatter().parse(template) if name is not None}
    if named != set(values):
        msg = f"the template names {sorted(named)}, the values are {sorted(values)}"
        raise ValueError(msg)
    return Phrase(template=template, values=values)


class Evidence(Struct, frozen=True, kw_only=True):
    """One measured thing: its name, its value with unit, and where it was read."""

    name: str
    value: Value
    source: str


class ShellCommand(Struct, frozen=True, tag="shell"):
    """A command line as its arguments, to be quoted for a POSIX shell.

    A pair is one argument: ``("--group=", name)``, so that a name beginning with a dash stays a value.
    """

    argv: tuple[str | tuple[str, ServerText], ...]


class SqlCommand(Struct, frozen=True, tag="sql"):
    """One SQL statement with ``{0}``-numbered places for its parameters, for psql."""

    statement: str
    parameters: tuple[str | ServerText | int | datetime, ...] = ()


class NoCommand(Struct, frozen=True, tag="none"):
    """There is deliberately no command here, and this is why."""

    because: Phrase


Command: TypeAlias = ShellCommand | SqlCommand | NoCommand


class Step(Struct, frozen=True, kw_only=True):
    """One thing a person can do next, its risk, and how they will see that it worked."""

    title: Phrase
    risk: Risk
    expect: Phrase
    command: Command | None = None


class Subject(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a finding is about, in the manuals' nouns; unset fields do not apply."""

    group: ServerText | None = None
    topic: ServerText | None = None
    partition: int | None = None
    member: ServerText | None = None
    host: ServerText | None = None
    key: KeyText | None = None
    broker: int | None = None
    database: ServerText | None = None
    relation: ServerText | None = None
    pid: int | None = None
    gid: ServerText | None = None
    slot: ServerText | None = None
    pattern: KeyText | None = None
    service: ServerText | None = None
    step: ServerText | None = None
    operation: ServerText | None = None

    def named(self) -> dict[str, ServerText | int]:
        """Return the fields that are set, by name."""
        every = {field: getattr(self, field) for field in self.__struct_fields__}
        return {field: value for field, value in every.items() if value is not None}


class Finding(Struct, frozen=True, kw_only=True):
    """One thing that is wrong. `check`, `fingerprint`, `target`, `explained` are set by diagnosis."""

    severity: Severity
    basis: Basis
    subject: Subject
    summary: Phrase
    evidence: tuple[Evidence, ...]
    steps: tuple[Step, ...]
    ruled_out: tuple[Phrase, ...] = ()
    check: str = ""
    fingerprint: str = ""
    target: str = "default"
    explains: tuple[str, ...] = ()
    explained: tuple[Finding, ...] = ()


class Alert(Struct, frozen=True, kw_only=True):
    """The same limit as a Prometheus alert; `{name}` places are filled from the check's limits."""

    name: str
    expression: str
    hold_s: float
    summary: str


class Check(Struct, frozen=True, kw_only=True):
    """One opinion: which facts it takes, which of them it needs whole, and how it judges them.

    `facts` is a Snapshot type, a `Window` of one, or a Struct of several; `explains` names
    slugs whose findings on the same subject this one makes secondary; `min_frames` is the
    shortest window it can judge; `asks` names the queries it rests on (for `checks explain`).

    `too_little`, from facts and limits, is why facts that were all read cannot answer the question, else None:
    a setting it depends on is off, none of the witnesses that each may be missing was asked, or what they
    recorded is too short. Silence is then `skipped` for that reason, not `clear`.
    """

    title: str
    facts: Any
    needs: tuple[str, ...]
    limits: Any
    judge: Callable[[Any, Any], Iterable[Finding]]
    explains: tuple[str, ...] = ()
    min_frames: int = 1
    too_little: Callable[[Any, Any], Phrase | None] | None = None
    alert: Alert | None = None


class CheckOutcome(Struct, frozen=True, kw_only=True):
    """How one check ended on one target, and why it could not say when it could not."""

    check: str
    outcome: Outcome
    because: Phrase | None = None
    target: str = "default"


class Line(Struct, frozen=True, kw_only=True):
    """One measure of a chart at each of its instants; None: unknown. One that is not drawn stands in the table only."""

    name: str
    unit: str
    values: tuple[float | None, ...]
    drawn: bool = True


class Chart(Struct, frozen=True, kw_only=True):
    """How something went over time, at evenly spaced instants; the full figures are in the fact rows."""

    title: Phrase
    times: tuple[datetime, ...]
    lines: tuple[Line, ...]
    note: Phrase | None = None


class Footprint(Struct, frozen=True, kw_only=True):
    """What a look cost the server. Bytes are TCP payload; None when the system does not tell."""

    requests: int
    took_s: float
    bytes_in: int | None = None
    bytes_out: int | None = None


class ReportError(Struct, frozen=True, kw_only=True):
    """Why there is no diagnosis at all."""

    code: int
    message: str
    hint: str = ""


class Report(Struct, frozen=True, kw_only=True):
    """Everything a sink needs to put a diagnosis on paper."""

    command: str
    context: str
    verdict: Verdict
    targets: tuple[Target, ...] = ()
    window: tuple[datetime, datetime] | None = None
    findings: tuple[Finding, ...] = ()
    checks: tuple[CheckOutcome, ...] = ()
    gaps: tuple[Gap, ...] = ()
    facts: Mapping[str, Any] = {}
    columns: Mapping[str, tuple[str, ...]] = {}
    charts: tuple[Chart, ...] = ()
    footprint: Mapping[str, Footprint] = {}
    notes: tuple[str, ...] = ()
    evidence_file: str = ""
    error: ReportError | None = None
