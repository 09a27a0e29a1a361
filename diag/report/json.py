"""The report as one JSON object: the public contract, schema `diag.report` version 1.

Phrases carry visible escapes, subjects and fact rows the raw text. Within a schema version
fields are only added.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import Enum
from typing import Any

import msgspec
from msgspec import Struct

from diag import __version__
from diag.findings import CheckOutcome, Evidence, Finding, Quantity, Report, Step
from diag.report.pasting import Pasted, pasted
from diag.report.phrasing import in_sight, phrased, shown
from diag.text import ServerText

SCHEMA, SCHEMA_VERSION = "diag.report", 1


def json(report: Report) -> str:
    """Return the report as one line of JSON."""
    return msgspec.json.encode(envelope(report)).decode()


def envelope(report: Report) -> dict[str, Any]:
    """Return the report as plain values, ready for an encoder."""
    window = report.window
    made: dict[str, Any] = {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "diag_version": __version__,
        "command": report.command,
        "context": report.context,
        "targets": _plain(report.targets),
        "window": {"from": _plain(window[0]), "to": _plain(window[1])} if window else None,
        "verdict": report.verdict.value,
        "findings": [_finding(finding) for finding in report.findings],
        "checks": [_outcome(outcome) for outcome in report.checks],
        "gaps": [
            {
                "source": gap.source,
                "what": gap.what.visible,
                "why": gap.why.visible,
                "fix": gap.fix.visible,
                "fact": gap.fact,
                "rung": gap.rung.value if gap.rung else None,
            }
            for gap in report.gaps
        ],
        "facts": _plain(dict(report.facts)),
        "footprint": _plain(dict(report.footprint)),
        "notes": list(report.notes),
    }
    if report.error:
        made["error"] = _plain(report.error)
    return made


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "check": finding.check,
        "fingerprint": finding.fingerprint,
        "severity": finding.severity.value,
        "basis": finding.basis.value,
        "target": finding.target,
        "subject": _plain(finding.subject.named()),
        "summary": phrased(finding.summary, in_sight),
        "evidence": [_evidence(one) for one in finding.evidence],
        "ruled_out": [phrased(phrase, in_sight) for phrase in finding.ruled_out],
        "explains": list(finding.explains),
        "explained": [_finding(one) for one in finding.explained],
        "steps": [_step(step) for step in finding.steps],
        "runbook": finding.check,
    }


def _evidence(one: Evidence) -> dict[str, Any]:
    if isinstance(one.value, Quantity):
        value: Any = int(one.value.value) if float(one.value.value).is_integer() else one.value.value
        return {"name": one.name, "value": value, "unit": one.value.unit, "source": one.source}
    value = _plain(one.value) if isinstance(one.value, int | float | datetime) else shown(one.value, in_sight)
    return {"name": one.name, "value": value, "unit": "", "source": one.source}


def _step(step: Step) -> dict[str, Any]:
    done = pasted(step.command) if step.command is not None else None
    made = {
        "title": phrased(step.title, in_sight),
        "command": done.line if isinstance(done, Pasted) else None,
        "place": done.place if isinstance(done, Pasted) else None,
        "risk": step.risk.value,
        "expect": phrased(step.expect, in_sight),
    }
    if done is not None and not isinstance(done, Pasted):
        made["withheld"] = phrased(done.because, in_sight)
    return made


def _outcome(outcome: CheckOutcome) -> dict[str, Any]:
    made = {"check": outcome.check, "outcome": outcome.outcome.value, "target": outcome.target}
    if outcome.because:
        made["because"] = phrased(outcome.because, in_sight)
    return made


def _plain(value: Any) -> Any:
    """Turn facts into what JSON has; text that is no Unicode is shown by its escapes."""
    match value:
        case ServerText():
            return value.raw if not any("\ud800" <= char <= "\udfff" for char in value.raw) else value.visible
        case datetime():
            return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        case Enum():
            return value.value
        case Struct():
            return {name: _plain(getattr(value, name)) for name in value.__struct_fields__}
        case dict():
            return {name: _plain(part) for name, part in value.items()}
        case tuple() | list():
            return [_plain(part) for part in value]
        case float():
            return value if value - value == 0 else None  # JSON has no infinity and no NaN
        case _:
            return value
