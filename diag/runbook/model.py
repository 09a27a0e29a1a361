"""What a runbook is once it has been read: frozen, typed, every name and limit checked.

Seven kinds of step. `check`, `query`, `ask` and `wait` look; `act` changes something;
`include` hands over to another book; `end` is a named outcome. There is no kind for a raw
shell line: it could not be classed, replayed or masked.

Units    fields in `_s` are seconds; `line` counts from 1 in the file
"""

from __future__ import annotations

from datetime import date, timedelta
from enum import StrEnum
from typing import Final, TypeAlias

from msgspec import Struct

from diag.runbook.condition import Condition, Measure, Name

DEFAULT_SAMPLES: Final = 2
DEFAULT_INTERVAL_S: Final = 2.0
"""What the commands take when nothing is said."""


class StepClass(StrEnum):
    """Whether a step only reads, or changes a system."""

    READ = "read"
    ACT = "act"


class Jump(Struct, frozen=True, kw_only=True, tag="jump"):
    """Where to go on: step number `step`, or the end called `end`; the other one is empty."""

    step: int = 0
    end: str = ""

    def __str__(self) -> str:
        """Return the jump as it is written in a book."""
        return f"end/{self.end}" if self.end else f"step {self.step}"


class Halt(Struct, frozen=True, kw_only=True, tag="halt"):
    """Stop and hand over to the person; `question` is what to put to them, or empty."""

    question: str = ""


class Expectation(Struct, frozen=True, kw_only=True):
    """A condition and what follows from each answer; true goes to `then`, or to the next step."""

    text: str
    condition: Condition
    otherwise: Jump
    on_unknown: Jump | Halt
    then: Jump | None = None


class Blast(Struct, frozen=True, kw_only=True):
    """How much an act touches: `count` of `unit` now, refused above `limit`, for a `reason`."""

    unit: str
    count: Name | float
    limit: float
    reason: str


class Verification(Struct, frozen=True, kw_only=True):
    """How one sees that an act worked: repeat step `repeat` until it holds, at most `within_s`.

    True goes to `then`, or to the next step when that is None; false and unknown to `otherwise`.
    """

    text: str
    condition: Condition
    repeat: int
    within_s: float
    otherwise: Jump
    then: Jump | None = None


class _Step(Struct, frozen=True, kw_only=True):
    number: int
    title: str
    line: int

    @property
    def step_class(self) -> StepClass:
        """`read` unless the kind says otherwise."""
        return StepClass.READ


class Check(_Step, frozen=True, kw_only=True, tag="check"):
    """Run a diagnostic command, narrowed to one check and to what `narrow` names.

    It takes `samples`, `interval_s` apart, and the past of `history_s`; 0 is what the command does by itself.
    """

    run: str
    only: str = ""
    narrow: dict[str, str] = {}
    samples: int = 0
    interval_s: float = 0.0
    history_s: float = 0.0
    expectation: Expectation | None = None

    @property
    def sees_s(self) -> float:
        """How long a time the command looks at."""
        window_s = ((self.samples or DEFAULT_SAMPLES) - 1) * (self.interval_s or DEFAULT_INTERVAL_S)
        return max(window_s, self.history_s)

    @property
    def words(self) -> tuple[str, ...]:
        """The command without what narrows it."""
        return (
            "diag",
            self.run,
            *([f"--only {self.only}"] if self.only else []),
            *([f"--samples {self.samples}"] if self.samples else []),
            *([f"--interval {self.interval_s:g}"] if self.interval_s else []),
            *([f"--history {self.history_s / 60:g}m"] if self.history_s else []),
        )


class Query(_Step, frozen=True, kw_only=True, tag="query"):
    """Read from one system: `text` in promql, logql or sql, or `words` for redis and kafka.

    The first row is kept under `save`, a part for each column; `rows` counts all of them.
    """

    language: str
    text: str = ""
    words: tuple[str, ...] = ()
    arguments: dict[str, Name] = {}
    save: str = ""
    expectation: Expectation | None = None


class Ask(_Step, frozen=True, kw_only=True, tag="ask"):
    """Put a question to the person; the answer is kept as text under `save`."""

    question: str
    answers: tuple[str, ...]
    save: str = ""
    expectation: Expectation | None = None


class Wait(_Step, frozen=True, kw_only=True, tag="wait"):
    """Repeat step `repeat` every `every_s` until the expectation holds, at most `within_s`."""

    repeat: int
    every_s: float
    within_s: float
    expectation: Expectation


class Act(_Step, frozen=True, kw_only=True, tag="act"):
    """Change something, once, after `before` was seen true. `undo` or `no_undo` is set.

    Before `before` is judged, the steps that tell its names look again: the world moves on
    while a person reads.
    """

    action: str
    arguments: dict[str, Name]
    instruction: str
    why: str
    before: Expectation
    blast: Blast
    verify: Verification
    undo: str = ""
    no_undo: str = ""

    @property
    def step_class(self) -> StepClass:
        """Always `act`, also when a person does it by hand."""
        return StepClass.ACT


class Include(_Step, frozen=True, kw_only=True, tag="include"):
    """Go on in another book and end there; `sha256` is of the file that was reviewed."""

    book: str
    sha256: str


class End(_Step, frozen=True, kw_only=True, tag="end"):
    """A named outcome, and what to leave behind for those who come after."""

    name: str
    outcome: str
    leave: str


Step: TypeAlias = Check | Query | Ask | Wait | Act | Include | End


class Alert(Struct, frozen=True, kw_only=True):
    """An alert this book answers: its name, and the labels that must match."""

    name: str
    labels: dict[str, str] = {}


class Parameter(Struct, frozen=True, kw_only=True):
    """A value the person may set; `default` None means it has to be given.

    `type` is duration (s), share (ratio), bytes, count or text; `why` is the reason of the default.
    """

    name: str
    type: str
    why: str
    default: Measure | str | None = None
    least: Measure | None = None
    most: Measure | None = None


class Escalation(Struct, frozen=True, kw_only=True):
    """Which role to call, and after how many seconds without relief."""

    role: str
    after_s: float


class Review(Struct, frozen=True, kw_only=True):
    """When the book was last read against reality, by which role, and for how long that holds."""

    at: date
    by: str
    good_for_s: float

    @property
    def expires(self) -> date:
        """First day on which the review no longer holds."""
        return self.at + timedelta(seconds=self.good_for_s)


class Runbook(Struct, frozen=True, kw_only=True):
    """One book. `text` is the file as read, `lead` the prose before the first step.

    `by_hand` is what stands between the markers; `by_hand_line` is 0 when there are none.
    """

    slug: str
    title: str
    alerts: tuple[Alert, ...]
    findings: tuple[str, ...]
    needs: dict[str, tuple[str, ...]]
    params: tuple[Parameter, ...]
    owner: str
    escalate: Escalation
    reviewed: Review
    tests: tuple[str, ...]
    lead: str
    steps: tuple[Step, ...]
    text: str
    by_hand: str
    by_hand_line: int


ACTIONS: Final[dict[str, tuple[str, ...]]] = {
    "pg-cancel": ("pid", "backend_start"),
    "pg-terminate": ("pid", "backend_start"),
    "redis-spread-ttl": ("pattern", "expires_at", "width", "earlier", "later"),
    "by-person": (),
}
"""What an `act` may do, with the arguments each needs. Not listed means not possible."""

NARROWS: Final = ("group", "topic", "database", "table", "match")
"""The narrowing options of the diagnostic commands."""

BLAST_UNITS: Final = ("sessions", "transactions", "slots", "keys", "members", "partitions", "deployments")
"""What an act can touch, in the nouns of the manuals."""

PARAMETER_UNITS: Final = {"duration": "s", "share": "ratio", "bytes": "bytes", "count": ""}
"""Unit of each numeric parameter type; the one other type is text."""

OUTCOMES: Final = ("mitigated", "resolved", "not-this", "handed-over")
"""How a book can end. "Mitigated" means that the pain is gone and the cause may not be."""

LANGUAGES: Final = ("promql", "logql", "sql", "redis", "kafka")
"""What a query step can be written in."""


def expectation(step: Step) -> Expectation | None:
    """What the step expects before the book goes on; None for kinds that expect nothing."""
    match step:
        case Check() | Query() | Ask() | Wait():
            return step.expectation
        case Act():
            return step.before
        case Include() | End():
            return None


def jumps(step: Step) -> tuple[Jump, ...]:
    """Every place the step can send the person to, besides the next step."""
    expected = expectation(step)
    if expected is None:
        return ()
    unknown = (expected.on_unknown,) if isinstance(expected.on_unknown, Jump) else ()
    leaves = (step.verify.otherwise,) if isinstance(step, Act) else ()
    then = on_success(step)
    return (expected.otherwise, *unknown, *leaves, *((then,) if then else ()))


def on_success(step: Step) -> Jump | None:
    """Where the step goes when all went as expected; None is the next step."""
    if isinstance(step, Act):
        return step.verify.then
    expected = expectation(step)
    return expected.then if expected else None
