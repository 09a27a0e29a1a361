"""What one check has in hand on one target: its facts, and what was lost of them.

A check may draw on several systems. A witness (a database, Prometheus) belongs to the target it is
named after; where there is only one of its kind, it speaks for every target.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from msgspec import Struct

from diag.diagnosis.plan import Planned, kind_of
from diag.snapshots.base import Gap, Snapshot, Target, Window

Key: TypeAlias = tuple[str, type[Snapshot]]
"""A target's name and a fact type."""
Frames: TypeAlias = Mapping[Key, Sequence[Snapshot]]
Windows: TypeAlias = Mapping[Key, Window[Any]]
"""The same frames, each list as one window, so that all checks share what is derived from it."""
EVERYTHING = "*"
"""The `fact` of a gap that covers all of a target."""
EVIDENCE = "evidence"
"""The `source` of a gap in the evidence file itself: whose reading is damaged cannot be believed."""


class Hand(Struct, frozen=True, kw_only=True):
    """The windows of the facts that came, and the gaps that left something out altogether.

    `few` says that a window one can do without is shorter than the check judges, and is left out;
    `ambiguous` is a kind of which there are several targets, none named after this one.
    """

    taken: dict[type[Snapshot], Window[Any]]
    lost: tuple[Gap, ...]
    few: bool = False
    ambiguous: str = ""

    def gap(self, *kinds: str) -> Gap | None:
        """Return the first gap that cost all of some fact of these kinds of target, or that damaged the evidence."""
        return next((gap for gap in self.lost if gap.source in (*kinds, *([EVIDENCE] if kinds else []))), None)

    def witnesses(self, planned: Planned) -> set[str]:
        """Return the kinds of target that the check could do without."""
        return {need.kind for need in planned.needs} - {need.kind for need in planned.needs if not need.optional}

    @property
    def redis(self) -> Target | None:
        """Return the Redis server among what was looked at, if there is one."""
        targets = (taken.last.target for taken in self.taken.values())
        return next((target for target in targets if target.kind == "redis"), None)

    def span_s(self, planned: Planned) -> float:
        """Return the longest span that any of the facts covers: a window its frames, a history what it goes back."""
        spans = [0.0]
        for need in planned.needs:
            taken = self.taken.get(need.type)
            if taken is not None:
                spans.append(taken.span_s if need.windowed else getattr(taken.last, "span_s", 0.0))
        return max(spans)

    def missing(self, planned: Planned) -> Gap | None:
        """Return what keeps silence from being health: a needed fact with a gap, or a source that broke off."""
        newest = [taken.last for taken in self.taken.values()]
        found = (snapshot.lacks(fact) for snapshot in newest for fact in planned.check.needs)
        cut_off = (gap for gap in self.lost if gap.fact == EVERYTHING or gap.source == EVIDENCE)
        return next((gap for gap in (*cut_off, *found) if gap), None)

    def facts(self, planned: Planned) -> Any:
        """Return the facts in the shape the check asks for; None stands for what is not there."""
        shaped: dict[str | None, Any] = {}
        for need in planned.needs:
            taken = self.taken.get(need.type)
            shaped[need.name] = None if taken is None else taken if need.windowed else taken.last
        if None in shaped:
            return shaped[None]
        return planned.check.facts(**{str(name): facts for name, facts in shaped.items()})


def gathered(planned: Planned, target: str, windows: Windows, lost: Sequence[tuple[str, Gap]]) -> Hand:
    """Gather what a check has on one target."""
    called = {need.kind: _called((need.kind,), windows, lost) for need in planned.needs}
    speaks = {kind: names[0] if len(names) == 1 else target for kind, names in called.items()}
    taken = {
        need.type: windows[speaks[need.kind], need.type]
        for need in planned.needs
        if (speaks[need.kind], need.type) in windows
    }
    few = [
        need.type
        for need in planned.needs
        if need.optional and need.windowed and need.type in taken
        if len(taken[need.type].frames) < planned.check.min_frames
    ]
    return Hand(
        taken={type_: window for type_, window in taken.items() if type_ not in few},
        lost=tuple(gap for name, gap in lost if gap.source == EVIDENCE or speaks.get(gap.source) == name),
        few=bool(few),
        ambiguous=next((kind for kind, names in called.items() if len(names) > 1 and target not in names), ""),
    )


def target_names(planned: Planned, windows: Mapping[Key, Any], lost: Sequence[tuple[str, Gap]]) -> list[str]:
    """Return the targets that a check is run on: those of the kinds it cannot do without, else of any it knows."""
    required = {need.kind for need in planned.needs if not need.optional}
    every = {need.kind for need in planned.needs}
    return _called(required, windows, lost) or _called(every, windows, lost) or ["default"]


def _called(kinds: Iterable[str], windows: Mapping[Key, Any], lost: Sequence[tuple[str, Gap]]) -> list[str]:
    """Return the names of the targets of some kinds, of which something came or was lost."""
    named = [name for name, type_ in windows if kind_of(type_) in kinds]
    return list(dict.fromkeys([*named, *(name for name, gap in lost if gap.source in kinds)]))
