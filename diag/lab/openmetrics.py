"""Counters with a past: samples in code, and the text that Prometheus' own tool reads.

Source: OpenMetrics 1.0, "Text format"; Prometheus documentation, "Backfilling from OpenMetrics format".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Sample(NamedTuple):
    """One scrape of one counter: its total at `at_s`, seconds since 1970."""

    metric: str
    labels: Mapping[str, str]
    at_s: float
    total: float


def exposition(samples: Iterable[Sample]) -> str:
    """Return samples as OpenMetrics text, each metric's together and each series' in the order of time."""
    families: dict[str, list[Sample]] = {}
    for sample in samples:
        families.setdefault(sample.metric, []).append(sample)
    lines: list[str] = []
    for metric, members in families.items():
        counter = metric.endswith("_total")
        lines.append(f"# TYPE {metric.removesuffix('_total')} {'counter' if counter else 'unknown'}")
        lines += [
            f"{metric}{_labels(one.labels)} {one.total!r} {one.at_s:.3f}"
            for one in sorted(members, key=lambda one: (sorted(one.labels.items()), one.at_s))
        ]
    return "\n".join((*lines, "# EOF\n"))


def _labels(labels: Mapping[str, str]) -> str:
    written = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return f"{{{written}}}" if written else ""


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
