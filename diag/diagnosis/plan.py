"""Which checks a command runs, on which facts, with which limits: settled before any server is asked."""

from __future__ import annotations

import importlib
import re
import types
import typing
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct, field

from diag import catalog
from diag.config import Context
from diag.errors import UsageError
from diag.findings import Check
from diag.snapshots.base import Scope, Snapshot, Window
from diag.text import visible


class Request(Struct, frozen=True, kw_only=True):
    """What was asked for on the command line; `again` are the words that lead to the same targets once more.

    `unnamed` are the kinds of target that nobody named, so that a default address (or none) stands for them:
    only what a check cannot do without is looked for there.
    """

    command: str
    context: Context
    commands: tuple[str, ...] = ()
    context_name: str = "default"
    unnamed: tuple[str, ...] = ()
    scope: Scope = Scope()
    samples: int = 2
    interval_s: float = 2.0
    deadline_s: float = 10.0
    only: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    show_literals: bool = False
    again: tuple[str, ...] = ()

    @property
    def folders(self) -> tuple[str, ...]:
        """The commands whose checks run: usually the one that was typed."""
        return self.commands or (self.command,)


class Need(Struct, frozen=True, kw_only=True):
    """One fact type a check takes: under which field (None: as the facts themselves), and whether as a window.

    An `optional` one makes the check see more; without it the check judges the rest.
    """

    type: type[Snapshot]
    windowed: bool
    name: str | None = None
    optional: bool = False

    @property
    def kind(self) -> str:
        """The system the fact is about."""
        return kind_of(self.type)


def kind_of(type_: type[Snapshot]) -> str:
    """Return the system a fact is about: the name of its module in `snapshots`."""
    return type_.__module__.rpartition(".")[2]


class Planned(Struct, frozen=True, kw_only=True):
    """A check with its slug and the limits in force."""

    slug: str
    check: Check
    limits: Any
    needs: tuple[Need, ...]

    @property
    def judges_from_s(self) -> float:
        """The shortest time, live or of the past, that the check can judge: its limit called `observed_for_s`."""
        return float(getattr(self.limits, "observed_for_s", 0.0))


class Plan(Struct, frozen=True, kw_only=True):
    """Everything a diagnosis will do, decided."""

    request: Request
    checks: tuple[Planned, ...]
    tables: dict[type[Snapshot], Any] = field(default_factory=dict)
    columns: dict[str, tuple[str, ...]] = field(default_factory=dict)
    charts: dict[type[Snapshot], Any] = field(default_factory=dict)

    def types(self, kind: str) -> tuple[type[Snapshot], ...]:
        """Return the fact types to take from a kind of target, each once."""
        wanted = [need.type for planned in self.checks for need in planned.needs if need.kind == kind]
        return tuple(type_ for type_ in dict.fromkeys(wanted) if type_.taken_in(self.request.scope))

    def optional(self, type_: type[Snapshot]) -> bool:
        """Return whether every check that takes a fact type can do without it."""
        return all(need.optional for planned in self.checks for need in planned.needs if need.type is type_)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Return the kinds of target that the checks know of, each once."""
        return tuple(dict.fromkeys(need.kind for planned in self.checks for need in planned.needs))

    @property
    def asked(self) -> tuple[str, ...]:
        """Return the kinds of target to ask: those some check cannot do without, and those that somebody named."""
        required = {need.kind for planned in self.checks for need in planned.needs if not need.optional}
        named = {kind for kind in self.kinds if self.request.context.targets(kind)} - set(self.request.unnamed)
        return tuple(kind for kind in self.kinds if kind in required | named)

    def frames(self, type_: type[Snapshot]) -> int:
        """Return how many frames of a fact type to take: one unless a check judges change."""
        windowed = any(need.windowed for planned in self.checks for need in planned.needs if need.type is type_)
        return self.request.samples if windowed else 1

    @property
    def span_s(self) -> float:
        """Return how long the asked sampling takes, beyond the time of the reads themselves."""
        needs = [need for planned in self.checks for need in planned.needs if need.kind in self.asked]
        most = max((self.frames(need.type) for need in needs), default=1)
        return (most - 1) * self.request.interval_s


def plan(request: Request) -> Plan:
    """Settle which checks run and with which limits. Raises `UsageError` for names and limits that do not exist."""
    wanted = [slug for command in request.folders for slug in catalog.slugs(command)]
    only = {catalog.known(slug, request.command) for slug in request.only}
    skip = {catalog.known(slug, request.command) for slug in request.skip}
    for slug in request.context.limits:
        catalog.known(slug)  # a limit nobody reads is a limit that is not in force
    flagged = _flagged(request)
    chosen = [slug for slug in wanted if (not only or slug in only) and slug not in skip]
    if not chosen:
        message = "no check is left to run"
        raise UsageError(message, hint="--only and --skip leave nothing; diag checks list names them all")
    checks = tuple(_planned(slug, request.context.limits.get(slug, {}), flagged.get(slug, {})) for slug in chosen)
    folders = [importlib.import_module(catalog.command_module(command)) for command in request.folders]
    return Plan(
        request=request,
        checks=checks,
        tables={type_: tabulate for folder in folders for type_, tabulate in folder.TABLES.items()},
        columns={name: columns for folder in folders for name, columns in folder.COLUMNS.items()},
        charts={type_: draw for folder in folders for type_, draw in getattr(folder, "CHARTS", {}).items()},
    )


def explained(slug: str) -> Planned:
    """Load one check with its own limits, for `checks explain`. Raises `UsageError` when there is none."""
    return _planned(catalog.known(slug), {}, {})


def queries(planned: Planned) -> tuple[str, ...]:
    """Return what the sources send to take a check's facts, for `checks explain`."""
    return tuple(
        asked
        for need in planned.needs
        for asked in importlib.import_module(f"diag.sources.{need.kind}").ASKS[need.type.__name__]
    )


def _planned(slug: str, configured: Mapping[str, Any], flagged: Mapping[str, Any]) -> Planned:
    check: Check = importlib.import_module(catalog.check_module(slug)).CHECK
    limits = _limits(slug, check.limits, {**configured, **flagged})
    return Planned(slug=slug, check=check, limits=limits, needs=_needs(check.facts))


def _limits(slug: str, default: Any, changed: Mapping[str, Any]) -> Any:
    try:
        return msgspec.convert({**msgspec.to_builtins(default), **changed}, type(default), strict=False)
    except msgspec.ValidationError as error:
        known = ", ".join(default.__struct_fields__)
        message = f"the limits of {slug} cannot be used: {visible(str(error))}"
        raise UsageError(message, hint=f"it has: {known}") from error


_LIMIT = re.compile(r"(?P<slug>[a-z0-9/-]+)\.(?P<name>\w+)=(?P<value>.+)")


def _flagged(request: Request) -> dict[str, dict[str, str]]:
    flagged: dict[str, dict[str, str]] = {}
    for written in request.limits:
        found = _LIMIT.fullmatch(written)
        if not found:
            message = f"--limit {visible(written)!r} is not SLUG.name=value"
            raise UsageError(message, hint="for instance --limit pg-locks/lock-queue.waited_s=10")
        flagged.setdefault(catalog.known(found["slug"], request.command), {})[found["name"]] = found["value"]
    return flagged


def _needs(facts: Any) -> tuple[Need, ...]:
    """Read a check's `facts`: a snapshot type, a window of one, either or None, or a struct of several of these."""
    if typing.get_origin(facts) in (types.UnionType, typing.Union):  # the latter is what `Window[…] | None` makes
        (wanted,) = (one for one in typing.get_args(facts) if one is not types.NoneType)
        return (msgspec.structs.replace(_needs(wanted)[0], optional=True),)
    if typing.get_origin(facts) is Window:
        return (Need(type=typing.get_args(facts)[0], windowed=True),)
    if issubclass(facts, Snapshot):
        return (Need(type=facts, windowed=False),)
    hints = typing.get_type_hints(facts)
    return tuple(msgspec.structs.replace(_needs(hints[name])[0], name=name) for name in facts.__struct_fields__)
