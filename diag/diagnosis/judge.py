"""From frames to a report: pure, so that a live run and a replay cannot differ."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from diag.diagnosis.hand import Frames, Hand, Windows, gathered, target_names
from diag.diagnosis.leading import led_to_the_same_server
from diag.diagnosis.plan import Plan, Planned
from diag.findings import (
    CheckOutcome,
    Finding,
    Footprint,
    Outcome,
    Phrase,
    Quantity,
    Report,
    ReportError,
    Severity,
    Subject,
    Verdict,
    say,
)
from diag.snapshots.base import Gap, Scope, Snapshot, Target, Window

_LEAST_INTERVAL_S = 2  # between samples, where nothing is said: the default of the command
_WORST_FIRST = (Severity.CRITICAL, Severity.WARNING)


def judge(  # noqa: PLR0913  one argument for each thing a report is made of
    plan: Plan,
    frames: Frames,
    lost: Sequence[tuple[str, Gap]],
    footprint: Mapping[str, Footprint],
    *,
    notes: tuple[str, ...] = (),
    evidence_file: str = "",
    error: ReportError | None = None,
) -> Report:
    """Run every planned check on every target that has frames (or should have had) and put it together.

    `lost` pairs a target's name with a gap that left it without some fact type altogether.
    """
    findings: list[Finding] = []
    outcomes: list[CheckOutcome] = []
    windows = {key: Window(frames=tuple(taken)) for key, taken in frames.items()}
    for planned in plan.checks:
        for name in target_names(planned, frames, lost):
            found, outcome = judge_check(planned, name, windows, lost, plan.request.again)
            findings += found
            outcomes.append(outcome)
    snapshots = [snapshot for taken in frames.values() for snapshot in taken]
    gaps = [gap for _, gap in lost] + [gap for taken in frames.values() for gap in taken[-1].gaps]
    return Report(
        command=plan.request.command,
        context=plan.request.context_name,
        verdict=verdict(findings, outcomes, error),
        targets=_targets(snapshots, plan.kinds),
        window=_window(snapshots),
        findings=folded(findings, {planned.slug: planned.check.explains for planned in plan.checks}),
        checks=tuple(outcomes),
        gaps=tuple(dict.fromkeys(gaps)),
        facts=_tables(plan, windows),
        columns=plan.columns,
        charts=tuple(
            chart
            for (_, type_), window in windows.items()
            if type_ in plan.charts
            for chart in plan.charts[type_](window)
        ),
        footprint=dict(footprint),
        notes=notes,
        evidence_file=evidence_file,
        error=error,
    )


def judge_check(
    planned: Planned,
    target: str,
    windows: Windows,
    lost: Sequence[tuple[str, Gap]],
    again: tuple[str, ...] = (),
) -> tuple[list[Finding], CheckOutcome]:
    """Run one check on one target's frames."""

    def ended(outcome: Outcome, because: Phrase | None = None) -> CheckOutcome:
        return CheckOutcome(check=planned.slug, outcome=outcome, because=because, target=target)

    hand = gathered(planned, target, windows, lost)
    unmet = _unmet(planned, hand)
    if unmet:
        return [], ended(*unmet)
    facts = hand.facts(planned)
    found = [
        msgspec.structs.replace(
            finding,
            check=planned.slug,
            target=target,
            fingerprint=_fingerprint(planned.slug, target, finding.subject),
            explains=planned.check.explains,
            steps=tuple(led_to_the_same_server(step, again, hand.redis) for step in finding.steps),
        )
        for finding in planned.check.judge(facts, planned.limits)
    ]
    if found:
        return found, ended(Outcome.FOUND)
    missing = hand.missing(planned)
    if missing:
        return [], ended(Outcome.UNKNOWN, _because(missing))
    too_little = _too_little(planned, hand, facts)
    return [], ended(*_wanting(planned, hand, too_little)) if too_little else ended(Outcome.CLEAR)


def _unmet(planned: Planned, hand: Hand) -> tuple[Outcome, Phrase] | None:
    """Say how a check ends that lacks something it cannot do without; None when it has it all."""
    for need in planned.needs:
        if need.optional:
            continue
        taken = hand.taken.get(need.type)
        if taken is None:
            if not need.type.taken_in(Scope()):
                return Outcome.SKIPPED, say("needs --history, or evidence recorded with it")
            missing = hand.gap(need.kind)
            return Outcome.UNKNOWN, _because(missing) if missing else say("the facts were not taken")
        if need.windowed and len(taken.frames) < planned.check.min_frames:
            return Outcome.SKIPPED, say("needs {n} samples", n=planned.check.min_frames)
    if hand.span_s(planned) < planned.judges_from_s:
        return _wanting(planned, hand, _too_short(planned.judges_from_s))
    return None


def _wanting(planned: Planned, hand: Hand, too_little: Phrase) -> tuple[Outcome, Phrase]:
    """Say how a check ends that has too little to judge: a witness that was asked and failed may be why."""
    failed = hand.gap(*hand.witnesses(planned))
    return (Outcome.UNKNOWN, _because(failed)) if failed else (Outcome.SKIPPED, too_little)


def _too_little(planned: Planned, hand: Hand, facts: Any) -> Phrase | None:
    """Say why the silence of a check that missed nothing is no health all the same; else None."""
    because = planned.check.too_little(facts, planned.limits) if planned.check.too_little else None
    if because and hand.ambiguous:
        return say("none of the {kind} targets is named after this one", kind=hand.ambiguous)
    if because and hand.few:
        return say("needs {n} samples", n=planned.check.min_frames)
    return because


def _too_short(judges_from_s: float) -> Phrase:
    """Say how to look long enough: at least five steps, and none shorter than what is usual."""
    interval_s = max(_LEAST_INTERVAL_S, math.ceil(judges_from_s / 5))
    return say(
        "needs to see {span} (--samples {n} --interval {each}, or --history)",
        span=Quantity(judges_from_s, "s"),
        n=math.ceil(judges_from_s / interval_s) + 1,
        each=interval_s,
    )


def _because(gap: Gap) -> Phrase:
    return say("{what}: {why}", what=gap.what, why=gap.why)


def _fingerprint(slug: str, target: str, subject: Subject) -> str:
    """Name a finding the same way on every run: check, target and subject, not numbers or times."""
    parts = [slug, target]
    for name, value in sorted(subject.named().items()):
        parts.append(f"{name}={value if isinstance(value, int) else value.raw}")
    return hashlib.blake2b("\x00".join(parts).encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()


def folded(findings: Sequence[Finding], explains: Mapping[str, tuple[str, ...]]) -> tuple[Finding, ...]:
    """Put findings that another one explains under it, and the rest worst first.

    Causes may have causes: everything goes under the first of the chain, which is at least as bad
    as what it explains. Of findings as bad as each other, the one that explains more comes first.
    """
    cause_of: dict[int, int] = {}

    def root(index: int) -> int:
        while index in cause_of:
            index = cause_of[index]
        return index

    subjects = [finding.subject.named() for finding in findings]
    explaining: dict[str, list[int]] = {}
    for index, finding in enumerate(findings):
        for check in explains.get(finding.check, ()):
            explaining.setdefault(check, []).append(index)
    for index, effect in enumerate(findings):
        causes = (
            other
            for other in explaining.get(effect.check, ())
            if findings[other].target == effect.target and _speak_of_the_same(subjects[other], subjects[index])
        )
        first = next((other for other in causes if root(other) != index), None)
        if first is not None:
            cause_of[index] = first
    kept = []
    for index, finding in enumerate(findings):
        if index not in cause_of:
            effects = tuple(findings[effect] for effect in cause_of if root(effect) == index)
            worst = min((finding, *effects), key=lambda one: _WORST_FIRST.index(one.severity)).severity
            kept.append(msgspec.structs.replace(finding, explained=effects, severity=worst))
    return tuple(sorted(kept, key=lambda one: (_WORST_FIRST.index(one.severity), -len(one.explained))))


def _speak_of_the_same(cause: Mapping[str, object], effect: Mapping[str, object]) -> bool:
    """Whether two subjects have something in common, and nothing that differs; or are both the server itself."""
    shared = cause.keys() & effect.keys()
    return bool(shared or not (cause or effect)) and all(cause[field] == effect[field] for field in shared)


def verdict(findings: Sequence[Finding], outcomes: Sequence[CheckOutcome], error: ReportError | None) -> Verdict:
    """Return the worst of critical > warning > unknown > clear; what was skipped never counts."""
    severities = {finding.severity for finding in findings}
    if Severity.CRITICAL in severities:
        return Verdict.CRITICAL
    if Severity.WARNING in severities:
        return Verdict.WARNING
    if error or any(outcome.outcome is Outcome.UNKNOWN for outcome in outcomes):
        return Verdict.UNKNOWN
    return Verdict.CLEAR


def _targets(snapshots: Sequence[Snapshot], kinds: Sequence[str]) -> tuple[Target, ...]:
    """Return each target once, in the order of the kinds, whichever answered first."""
    found = {(one.target.kind, one.target.name): one.target for one in snapshots}.values()
    return tuple(sorted(found, key=lambda one: kinds.index(one.kind) if one.kind in kinds else len(kinds)))


def _window(snapshots: Sequence[Snapshot]) -> Any:
    seen = [snapshot.observed_at for snapshot in snapshots]
    return (min(seen), max(seen)) if seen else None


def _tables(plan: Plan, windows: Windows) -> dict[str, Any]:
    """Make the commands' main tables; with several targets of a kind the rows of each follow one another.

    A figure that one fact cannot give (None) may come from another.
    """
    made: dict[str, Any] = {}
    for (_, type_), window in windows.items():
        for name, value in plan.tables[type_](window).items() if type_ in plan.tables else ():
            kept = made.get(name)
            made[name] = kept + value if isinstance(kept, tuple) else kept if value is None else value
    return made
