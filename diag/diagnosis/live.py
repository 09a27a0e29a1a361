"""Take facts from live servers, against the clock.

The only room that imports by name: a fact type `PgLocks` of `snapshots/postgres.py` is taken
by the function `pg_locks` of `sources/postgres/`. Takes run in daemon threads, one for each
target; at the deadline whoever is still at it is left behind and becomes a gap.
"""

from __future__ import annotations

import importlib
import os
import queue
import re
import threading
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from types import ModuleType
from typing import Any, TypeAlias

import msgspec
from msgspec import Struct

from diag import config, places, redaction
from diag.diagnosis.hand import EVERYTHING, Key
from diag.diagnosis.judge import judge
from diag.diagnosis.plan import Plan, Request
from diag.errors import Denied, DiagError, Rung, SourceError
from diag.findings import Report
from diag.snapshots.base import Gap, Snapshot, to_wire
from diag.store.evidence import EvidenceWriter
from diag.text import ServerText
from diag.wire.probe import Deadline, Probe

_GRACE_S = 0.15  # for sources whose socket the watchdog has just shut to say so themselves


class Look(Struct, frozen=True, kw_only=True):
    """One target being asked."""

    kind: str
    target: config.AnyTarget
    probe: Probe

    @property
    def label(self) -> str:
        """The name of the look in the footprint: the kind, and the target's name where it has one."""
        return self.kind if self.target.name == "default" else f"{self.kind} {self.target.name}"

    @property
    def what(self) -> str:
        """What is missing when the look gave nothing at all."""
        return "nothing could be read" + ("" if self.target.name == "default" else f" of {self.target.name}")


Event: TypeAlias = tuple[Look, Snapshot | Gap | None]
"""What a look sends home: a snapshot, a gap, or None when it has finished."""


def diagnose(
    plan: Plan, *, writer: EvidenceWriter | None = None, progress: Callable[[str], None] = lambda _: None
) -> tuple[Report, redaction.Masks, bool]:
    """Ask every target the plan needs and judge what came in time.

    Returns the report, the masks for its output, and whether the person interrupted it.
    Never raises for a server's sake: what could not be read is a gap.
    """
    request = plan.request
    deadline = Deadline(request.deadline_s + plan.span_s)
    events: queue.SimpleQueue[Event] = queue.SimpleQueue()
    looks = [
        Look(kind=kind, target=target, probe=_probe(request, deadline))
        for kind in plan.asked
        for target in request.context.targets(kind)
    ]
    for look in looks:
        threading.Thread(target=_look, args=(look, plan, events), name=look.label, daemon=True).start()
    frames: dict[Key, list[Snapshot]] = {}
    lost: list[tuple[str, Gap]] = [
        (("default"), _gap(kind, "no target", "none is configured", f"give --{config.FLAGS[kind]}"))
        for kind in plan.asked
        if not request.context.targets(kind)
    ]
    pending = list(looks)
    interrupted = False
    try:
        while pending:
            progress(", ".join(f"{look.label}: {look.probe.rung}" for look in pending))
            look, came = events.get(timeout=deadline.remaining_s + _GRACE_S)
            if came is None:
                pending.remove(look)
                continue
            _keep(look, redact(came, plan, looks), frames, lost, writer)
    except queue.Empty:
        pass
    except KeyboardInterrupt:
        interrupted = True
    progress("")
    for look in pending:
        late = look.probe.too_slow()
        why, fix = ("the look was interrupted", "run it again") if interrupted else (late.message, late.fix)
        what = "the rest" if any(name == look.target.name for name, _ in frames) else look.what
        gap = _gap(look.kind, what, why, fix, look.probe.rung)
        _keep(look, gap, frames, lost, writer)
    footprint = {look.label: look.probe.footprint for look in looks}
    if writer:
        writer.add("diag", "footprint", msgspec.json.encode(footprint))
    report = judge(plan, frames, lost, footprint, notes=_notes(plan, frames))
    return report, _masks(plan, looks), interrupted


def _probe(request: Request, deadline: Deadline) -> Probe:
    return Probe(deadline, client_name=f"diag/{request.command}", require_tls=request.context.require_tls)


def _look(look: Look, plan: Plan, events: queue.SimpleQueue[Event]) -> None:
    """Ask one target for everything, in a thread of its own; the take boundary."""
    try:
        source = importlib.import_module(f"diag.sources.{look.kind}")
        with look.probe:
            _take(source, look, plan, events)
    except SourceError as error:
        error = look.probe.too_slow() if look.probe.deadline.passed else error
        events.put((look, _gap(look.kind, look.what, error.message, error.fix, error.rung)))
    except DiagError as error:
        events.put((look, _gap(look.kind, look.what, error.message, error.hint)))
    except Exception as error:  # noqa: BLE001  the take boundary: one source's bug must not cost the others
        events.put((look, _bug(look, error)))
    finally:
        events.put((look, None))


def _take(source: ModuleType, look: Look, plan: Plan, events: queue.SimpleQueue[Event]) -> None:
    types = plan.types(look.kind)
    with source.connect(look.target, look.probe) as session:
        for round_ in range(max((plan.frames(type_) for type_ in types), default=0)):
            if round_:
                look.probe.wait(plan.request.interval_s)
            for type_ in types:
                if round_ < plan.frames(type_):
                    events.put((look, _taken(source, session, look, plan, type_)))


def _taken(source: ModuleType, session: Any, look: Look, plan: Plan, type_: type[Snapshot]) -> Snapshot | Gap:
    """Take one fact; a right that is missing for what nobody insists on must not cost the rest of the look."""
    try:
        snapshot: Snapshot = getattr(source, _function(type_))(session, plan.request.scope)
    except Denied as refusal:
        if refusal.rung is not Rung.AUTHORISE or not plan.optional(type_):
            raise
        what = _function(type_).partition("_")[2]
        gap = _gap(look.kind, what, refusal.message, refusal.fix, refusal.rung)
        return msgspec.structs.replace(gap, fact=what)
    return snapshot


def _function(type_: type[Snapshot]) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", type_.__name__).lower()


def redact(came: Snapshot | Gap, plan: Plan, looks: list[Look]) -> Snapshot | Gap:
    """Mask what came before anyone judges or records it."""
    return redaction.mask(came, _masks(plan, looks))


def _masks(plan: Plan, looks: list[Look]) -> redaction.Masks:
    context = plan.request.context
    credentials = {word for look in looks for word in (*config.known_secrets(look.target), *look.probe.secrets)}
    public = {word for look in looks for word in config.public_words(look.target)}
    return redaction.masks(
        credentials, public=public, patterns=context.mask_patterns, show_literals=plan.request.show_literals
    )


def _keep(
    look: Look,
    came: Snapshot | Gap,
    frames: dict[Key, list[Snapshot]],
    lost: list[tuple[str, Gap]],
    writer: EvidenceWriter | None,
) -> None:
    if isinstance(came, Gap):
        lost.append((look.target.name, came))
    else:
        frames.setdefault((look.target.name, type(came)), []).append(came)
    if writer:
        body = msgspec.json.encode({"target": look.target.name, "fact": came}, enc_hook=to_wire)
        writer.add(look.kind, type(came).__name__, body)


def _gap(source: str, what: str, why: str, fix: str, rung: Rung | None = None) -> Gap:
    return Gap(
        source=source,
        fact=EVERYTHING,
        what=ServerText(what),
        why=ServerText(why),
        fix=ServerText(fix),
        rung=rung,
    )


def _bug(look: Look, error: Exception) -> Gap:
    """Keep what is needed to mend it (no values of variables), and say where it is."""
    trace = redaction.masks((*config.known_secrets(look.target), *look.probe.secrets)).hide(
        "".join(traceback.format_exception(error))
    )
    kept = places.state() / f"crash-{datetime.now(UTC):%Y%m%dT%H%M%S%f}.txt"
    try:
        kept.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with os.fdopen(os.open(kept, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w", encoding="utf-8") as opened:
            opened.write(trace)
        where = f"kept in {kept}"
    except OSError:
        where = "it could not be kept: no writable state folder"
    return _gap(
        look.kind,
        look.what,
        f"bug in diag: {type(error).__name__} on rung {look.probe.rung}",
        f"please report it ({where})",
        look.probe.rung,
    )


def _notes(plan: Plan, frames: dict[Key, list[Snapshot]]) -> tuple[str, ...]:
    notes = ["SQL literals are shown (--show-literals)"] if plan.request.show_literals else []
    notes += [
        f"{target.kind} {target.name}: the connection is neither encrypted nor on loopback"
        for target in {taken[-1].target for taken in frames.values()}
        if not target.encrypted and not target.local
    ]
    return tuple(sorted(notes))
