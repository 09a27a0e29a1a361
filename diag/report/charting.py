"""Charts laid out as ready text: bars of blocks for a terminal, axes and points for Mermaid, a few rows for both.

No server text goes into a Mermaid block: names stand in the title above it, shown as the sink wants it.
Source: Mermaid documentation, "XY Chart".
"""

from __future__ import annotations

import math

from msgspec import Struct

from diag import figures
from diag.findings import Chart, Line, Quantity
from diag.report.phrasing import ShowServerText, own_word, phrased, shown

_ROWS = 6


class PageLine(Struct, frozen=True, kw_only=True):
    """One line of a chart: its name, its lowest and highest value in words, as bars, and as Mermaid wants it."""

    name: str
    reach: str
    bars: str
    scale: str
    points: str


class PageChart(Struct, frozen=True, kw_only=True):
    """One chart. `axis` is its time as Mermaid wants it; the rows are a few of its instants."""

    title: str
    span: str
    axis: str
    lines: tuple[PageLine, ...]
    note: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def drawn(chart: Chart, server_text: ShowServerText) -> PageChart:
    """Lay a chart out: bars for a terminal, axes and points for Mermaid, and a few rows for both."""
    first, last = chart.times[0], chart.times[-1]
    minutes = (last - first).total_seconds() / 60
    return PageChart(
        title=phrased(chart.title, server_text),
        span=f"{figures.instant(first)} to {figures.instant(last)}",
        axis=f'"minutes before {figures.instant(last)}" {_plain(-minutes)} --> 0',
        lines=tuple(_line(line) for line in chart.lines if line.drawn and _known(line)),
        note=phrased(chart.note, server_text) if chart.note else "",
        headers=("at", *(_own(line.name) for line in chart.lines)),
        rows=tuple(
            (
                figures.instant(chart.times[place]),
                *(_measure(line.values[place], line.unit, server_text) for line in chart.lines),
            )
            for place in _places(chart)
        ),
    )


def _line(line: Line) -> PageLine:
    known = _known(line)
    low, high = min(known), max(known)
    filled: list[float] = []
    for value in line.values:  # where it is unknown, the line goes on as it was
        filled.append(value if value is not None and math.isfinite(value) else filled[-1] if filled else low)
    unit = f", {_own(line.unit)}" if line.unit else ""
    return PageLine(
        name=_own(line.name),
        reach=f"{figures.quantity(low, line.unit)} to {figures.quantity(high, line.unit)}",
        bars=figures.sparkline(tuple(filled)),
        scale=f'"{_own(line.name)}{unit}" {_plain(min(0.0, low))} --> {_plain(max(high, low + 1))}',
        points=", ".join(map(_plain, filled)),
    )


def _known(line: Line) -> list[float]:
    return [value for value in line.values if value is not None and math.isfinite(value)]


def _places(chart: Chart) -> list[int]:
    """Return a few evenly spaced places, and that of the highest value of the first line."""
    last = len(chart.times) - 1
    values = [value or 0.0 for value in chart.lines[0].values] if chart.lines else []
    highest = {max(range(len(values)), key=values.__getitem__)} if values else set()
    return sorted({round(number * last / (_ROWS - 1)) for number in range(_ROWS)} | highest)


def _measure(value: float | None, unit: str, server_text: ShowServerText) -> str:
    return shown(None if value is None else Quantity(value, "s") if unit == "s" else value, server_text)


def _own(word: str) -> str:
    """Return a word of the tool's own; it stands where no server text may, as nothing is escaped there."""
    return own_word(word, lambda _: "value")


def _plain(value: float) -> str:
    """Write digits, sign and point only, as the charts of Mermaid want it."""
    return f"{value:.2f}".rstrip("0").rstrip(".")
