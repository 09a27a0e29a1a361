"""One page: the report as lines and tables of ready text, in the order a tired person reads.

Context, verdict, findings worst first with the safest step first, then what was not seen,
what was ruled out, the main tables and what the look cost. All sinks for people print this.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from diag import figures
from diag.findings import (
    Evidence,
    Finding,
    Footprint,
    Outcome,
    Quantity,
    Report,
    Step,
    Value,
    Verdict,
)
from diag.report.charting import PageChart, drawn
from diag.report.pasting import Pasted, pasted
from diag.report.phrasing import ShowServerText, own_word, phrased, shown
from diag.snapshots.base import Gap, Target
from diag.text import ServerText

_MOST_IN_FULL = 5  # findings, worst first: nobody acts on more at a time
_MOST_NAMED = 20  # findings on a line each, after those
_MOST_EXPLAINED = 5  # of one finding
_MOST_ROWS = 10  # of a table; the JSON has them all
_MOST_GAPS = 12
_MOST_CHARTS = 3
_LONGEST_CELL = 60
_UNITS = {"_s": "s", "_bytes": "bytes", "_ratio": "ratio", "share": "ratio"}


class PageStep(Struct, frozen=True, kw_only=True):
    """One step; `line` is what to paste and `place` where, `withheld` why there is nothing to paste."""

    title: str
    risk: str
    expect: str
    line: str = ""
    place: str = ""
    withheld: str = ""


class PageFinding(Struct, frozen=True, kw_only=True):
    """One finding. Evidence rows are name, value, source."""

    severity: str
    basis: str
    check: str
    summary: str
    evidence: tuple[tuple[str, str, str], ...]
    ruled_out: tuple[str, ...]
    explained: tuple[str, ...]
    steps: tuple[PageStep, ...]
    runbook: str


class PageTable(Struct, frozen=True, kw_only=True):
    """One table; `left_out` counts the rows that are not shown."""

    name: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left_out: int = 0


class Page(Struct, frozen=True, kw_only=True):
    """The whole page. The worst `findings` stand in full, `more_findings` as check, severity and summary."""

    command: str
    context: str
    verdict: str
    sentence: str
    targets: tuple[str, ...]
    window: str
    findings: tuple[PageFinding, ...]
    more_findings: tuple[tuple[str, str, str], ...]
    findings_left_out: int
    unknown: tuple[str, ...]
    skipped: tuple[str, ...]
    clear: tuple[str, ...]
    gaps: tuple[tuple[str, str, str], ...]
    tables: tuple[PageTable, ...]
    charts: tuple[PageChart, ...]
    more_charts: int
    footprint: tuple[str, ...]
    notes: tuple[str, ...]
    runbooks: tuple[str, ...]
    error: str


def page(report: Report, server_text: ShowServerText) -> Page:
    """Lay a report out, with server text shown as the sink wants it."""
    return Page(
        command=report.command,
        context=report.context,
        verdict=report.verdict.value,
        sentence=_sentence(report, server_text),
        targets=tuple(_target(target, server_text) for target in report.targets),
        window=_window(report),
        findings=tuple(_finding(finding, server_text) for finding in report.findings[:_MOST_IN_FULL]),
        more_findings=tuple(
            (finding.severity.value, finding.check, phrased(finding.summary, server_text))
            for finding in report.findings[_MOST_IN_FULL:][:_MOST_NAMED]
        ),
        findings_left_out=max(0, len(report.findings) - _MOST_IN_FULL - _MOST_NAMED),
        unknown=_outcomes(report, Outcome.UNKNOWN, server_text),
        skipped=_outcomes(report, Outcome.SKIPPED, server_text),
        clear=tuple(outcome.check for outcome in report.checks if outcome.outcome is Outcome.CLEAR),
        gaps=_gaps(report, server_text),
        tables=tuple(
            _table(name, rows, report.columns[name], server_text)
            for name, rows in report.facts.items()
            if name in report.columns and rows
        ),
        charts=tuple(drawn(chart, server_text) for chart in report.charts[:_MOST_CHARTS] if chart.times),
        more_charts=max(0, len(report.charts) - _MOST_CHARTS),
        footprint=tuple(_footprint(source, cost) for source, cost in report.footprint.items()),
        notes=report.notes,
        runbooks=tuple(dict.fromkeys(finding.check for finding in report.findings)),
        error=f"{report.error.message}. {report.error.hint}".strip() if report.error else "",
    )


def _sentence(report: Report, server_text: ShowServerText) -> str:
    if report.findings:
        worst = report.findings[0]
        others = len(report.findings) - 1
        more = f" (and {others} more {'finding' if others == 1 else 'findings'})" if others else ""
        return phrased(worst.summary, server_text) + more
    ran = [outcome for outcome in report.checks if outcome.outcome is not Outcome.SKIPPED]
    unknown = [outcome for outcome in ran if outcome.outcome is Outcome.UNKNOWN]
    if unknown and len(unknown) == len(ran) and unknown[0].because:
        return phrased(unknown[0].because, server_text)
    skipped = f" ({len(report.checks) - len(ran)} skipped)" if len(ran) < len(report.checks) else ""
    if unknown or report.verdict is Verdict.UNKNOWN:
        return f"{len(unknown)} of {len(ran)} checks could not say; nothing wrong was seen in the rest{skipped}"
    return f"nothing wrong was seen by {len(ran)} {'check' if len(ran) == 1 else 'checks'}{skipped}"


def _target(target: Target, server_text: ShowServerText) -> str:
    tls = (
        "encrypted, verified" if target.verified else "encrypted, not verified" if target.encrypted else "not encrypted"
    )
    name = "" if target.name == "default" else f" {target.name}"
    version = f" {server_text(target.version)}" if target.version.raw else ""
    address = server_text(ServerText(target.address))
    kind = own_word(target.kind, server_text) + own_word(name, server_text)
    return f"{kind}{version} at {address} ({tls}{', local' if target.local else ''})"


def _window(report: Report) -> str:
    if report.window is None:
        return ""
    first, last = report.window
    span_s = (last - first).total_seconds()
    return figures.instant(last) + (f", over {figures.duration(span_s)}" if span_s >= 1 else "")


def _finding(finding: Finding, server_text: ShowServerText) -> PageFinding:
    return PageFinding(
        severity=finding.severity.value,
        basis=finding.basis.value,
        check=finding.check,
        summary=phrased(finding.summary, server_text),
        evidence=tuple(_evidence(one, server_text) for one in finding.evidence),
        ruled_out=tuple(phrased(phrase, server_text) for phrase in finding.ruled_out),
        explained=_explained(finding, server_text),
        steps=tuple(_step(step, server_text) for step in finding.steps),
        runbook=finding.check,
    )


def _explained(finding: Finding, server_text: ShowServerText) -> tuple[str, ...]:
    lines = [f"{one.check}: {phrased(one.summary, server_text)}" for one in finding.explained[:_MOST_EXPLAINED]]
    left_out = len(finding.explained) - len(lines)
    return (*lines, *([f"{left_out} more findings (--format json has them all)"] if left_out else []))


def _evidence(one: Evidence, server_text: ShowServerText) -> tuple[str, str, str]:
    value = str(one.value) if type(one.value) is int else shown(one.value, server_text)
    return one.name, value, own_word(one.source, server_text)


def _step(step: Step, server_text: ShowServerText) -> PageStep:
    done = pasted(step.command) if step.command is not None else None
    text = PageStep(
        title=phrased(step.title, server_text), risk=step.risk.value, expect=phrased(step.expect, server_text)
    )
    if done is None:
        return text
    if isinstance(done, Pasted):
        return PageStep(title=text.title, risk=text.risk, expect=text.expect, line=done.line, place=done.place)
    withheld = phrased(done.because, server_text)
    return PageStep(title=text.title, risk=text.risk, expect=text.expect, withheld=withheld)


def _outcomes(report: Report, wanted: Outcome, server_text: ShowServerText) -> tuple[str, ...]:
    """Return a line for each reason, with all checks that it holds for; of this command without its name."""
    by_reason: dict[str, list[str]] = {}
    for outcome in report.checks:
        if outcome.outcome is wanted:
            reason = phrased(outcome.because, server_text) if outcome.because else ""
            by_reason.setdefault(reason, []).append(outcome.check.removeprefix(f"{report.command}/"))
    named = ((", ".join(dict.fromkeys(checks)), reason) for reason, checks in by_reason.items())
    return tuple(f"{checks}: {reason}" if reason else checks for checks, reason in named)


def _gaps(report: Report, server_text: ShowServerText) -> tuple[tuple[str, str, str], ...]:
    gaps = tuple(dict.fromkeys(_gap(gap, server_text) for gap in report.gaps))  # one reason can hide several facts
    rows, left_out = gaps[:_MOST_GAPS], max(0, len(gaps) - _MOST_GAPS)
    return (*rows, ("and more", f"{left_out} further gaps; --format json has them all", "")) if left_out else rows


def _gap(gap: Gap, server_text: ShowServerText) -> tuple[str, str, str]:
    rung = f" (rung {gap.rung})" if gap.rung else ""
    what = f"{own_word(gap.source, server_text)}: {server_text(gap.what)}"
    return what, server_text(gap.why) + rung, server_text(gap.fix) if gap.fix.raw else ""


def _table(name: str, rows: tuple[Any, ...], columns: tuple[str, ...], server_text: ShowServerText) -> PageTable:
    named = ("target",) if len({row.target for row in rows}) > 1 else ()
    shown_columns = (*named, *columns)
    return PageTable(
        name=name.replace("_", " "),
        headers=tuple(header(column) for column in shown_columns),
        rows=tuple(
            tuple(_cell(column, getattr(row, column), server_text) for column in shown_columns)
            for row in rows[:_MOST_ROWS]
        ),
        left_out=max(0, len(rows) - _MOST_ROWS),
    )


def header(column: str) -> str:
    """Turn a field name into a heading: the unit goes into the cells."""
    for suffix in ("_per_s", "_s", "_bytes", "_ratio", "_records"):
        if column.endswith(suffix):
            return column.removesuffix(suffix).replace("_", " ") + {"_per_s": "/s", "_records": ", records"}.get(
                suffix, ""
            )
    return column.replace("_", " ")


def _cell(column: str, value: Value | tuple[int, ...] | None, server_text: ShowServerText) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "-"
    if isinstance(value, float):
        unit = next((unit for suffix, unit in _UNITS.items() if column.endswith(suffix)), "")
        if column.endswith("_per_s"):
            unit = ""
        return shown(Quantity(value, unit), server_text)
    if isinstance(value, int):
        if column.endswith("_bytes"):
            return figures.bytes_(value)
        return figures.number(value) if column.endswith(("_records", "keys")) else str(value)
    if isinstance(value, ServerText) and len(value.raw) > _LONGEST_CELL:
        value = type(value)(value.raw[: _LONGEST_CELL - 1] + "…")
    return shown(value, server_text)


def _footprint(source: str, cost: Footprint) -> str:
    sizes = (
        ""
        if cost.bytes_in is None
        else f", {figures.bytes_(cost.bytes_in)} in, {figures.bytes_(cost.bytes_out or 0)} out"
    )
    return f"{source}: {cost.requests} requests{sizes}, {figures.duration(cost.took_s)}"
