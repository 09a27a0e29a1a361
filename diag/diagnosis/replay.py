"""Judge recorded facts: the same types, the same pure functions, no server."""

from __future__ import annotations

from typing import TypeVar

import msgspec
from msgspec import Struct

from diag.diagnosis.hand import EVERYTHING, EVIDENCE, Key
from diag.diagnosis.judge import judge
from diag.diagnosis.plan import Plan
from diag.errors import EvidenceError
from diag.findings import Footprint, Report
from diag.redaction import Masks, mask
from diag.snapshots.base import Gap, Snapshot, from_wire
from diag.store.evidence import Evidence
from diag.text import ServerText, visible

T = TypeVar("T")


class _Envelope(Struct):
    target: str
    fact: msgspec.Raw


def replay(plan: Plan, evidence: Evidence) -> Report:
    """Judge an open evidence file. Raises `EvidenceError` when a whole row is not what its type says."""
    types = {need.type.__name__: need.type for planned in plan.checks for need in planned.needs}
    hidden = Masks(patterns=plan.request.context.mask_patterns, show_literals=plan.request.show_literals)
    frames: dict[Key, list[Snapshot]] = {}
    lost: list[tuple[str, Gap]] = []
    footprint: dict[str, Footprint] = {}
    for number, reading in enumerate(evidence.readings(), start=1):
        if reading.damaged:
            lost.append(("default", _damaged(number)))
        elif reading.type == "footprint":
            footprint = _decoded(reading.body, dict[str, Footprint])
        elif reading.type == Gap.__name__:
            envelope = _decoded(reading.body, _Envelope)
            lost.append((envelope.target, mask(_decoded(envelope.fact, Gap), hidden)))
        elif reading.type in types:
            envelope = _decoded(reading.body, _Envelope)
            fact = mask(_decoded(envelope.fact, types[reading.type]), hidden)
            frames.setdefault((envelope.target, type(fact)), []).append(fact)
    kinds = set(plan.kinds)
    return judge(
        plan,
        frames,
        [(name, gap) for name, gap in lost if gap.source in kinds or gap.source == EVIDENCE],
        footprint,
        evidence_file=visible(evidence.path.name),
    )


def _decoded(body: bytes | msgspec.Raw, wanted: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=wanted, dec_hook=from_wire)
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        message = f"a reading of the evidence file is not a {getattr(wanted, '__name__', 'footprint')}"
        raise EvidenceError(message, hint=visible(str(error))) from error


def _damaged(number: int) -> Gap:
    return Gap(
        source=EVIDENCE,
        fact=EVERYTHING,
        what=ServerText(f"reading {number} of the evidence file"),
        why=ServerText("its checksum does not match; it was left out"),
        fix=ServerText("take the file again from where it was copied"),
    )
