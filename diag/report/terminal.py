"""The page on a terminal: 80 columns, colour only as a second voice, commands on one line each."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Final

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from diag.findings import Report
from diag.report.charting import PageChart
from diag.report.page import Page, PageFinding, PageStep, PageTable, page
from diag.report.phrasing import in_sight

_STYLES: Final = {"critical": "bold red", "warning": "bold yellow", "unknown": "bold magenta", "clear": "bold green"}
_WIDTH: Final = 80
_NARROWEST: Final = 20  # of a column that gives way: less of a statement says nothing


def text(
    report: Report, *, colour: bool = False, width: int = _WIDTH, verbose: bool = False, quiet: bool = False
) -> str:
    """Return the page as text; with `quiet` only verdict and summaries, with `verbose` also what was clear."""
    laid_out = page(report, in_sight)
    out = io.StringIO()
    console = Console(
        file=out,
        width=max(20, width),
        force_terminal=colour,
        color_system="standard" if colour else None,
        no_color=not colour,  # else rich looks at NO_COLOR itself, and the flag would lose
        markup=False,
        highlight=False,
        emoji=False,
        soft_wrap=False,
        legacy_windows=False,
    )
    _head(console, laid_out)
    for finding in laid_out.findings:
        _finding(console, finding, alone=len(laid_out.findings) == 1, quiet=quiet)
    _more_findings(console, laid_out)
    if not quiet:
        _rest(console, laid_out, verbose=verbose)
    return "".join(f"{line.rstrip()}\n" for line in out.getvalue().splitlines())


def _say(console: Console, line: str | Text, indent: int = 0, style: str = "") -> None:
    """Print one line of words; where it is too long it goes on under itself."""
    words = line if isinstance(line, Text) else Text(line, style=style)
    hang = indent + 3 if indent else 0
    wrapped = words.wrap(console, max(20, console.width - hang))
    for number, part in enumerate(wrapped):
        part.rstrip()
        console.print(Padding(part, (0, 0, 0, indent if number == 0 else hang)), soft_wrap=True)


def _head(console: Console, laid_out: Page) -> None:
    _say(console, Text.assemble((laid_out.verdict.upper(), _STYLES[laid_out.verdict]), f"  {laid_out.sentence}"))
    where = "; ".join(laid_out.targets) or "no target answered"
    when = f"; {laid_out.window}" if laid_out.window else ""
    _say(console, f"diag {laid_out.command}, context {laid_out.context}: {where}{when}", style="dim")
    for note in laid_out.notes:
        _say(console, f"note: {note}", style="dim")
    if laid_out.error:
        _say(console, laid_out.error)


def _finding(console: Console, finding: PageFinding, *, alone: bool, quiet: bool) -> None:
    console.print()
    _say(
        console,
        Text.assemble((finding.severity, _STYLES[finding.severity]), f"  {finding.check} ({finding.basis})"),
    )
    if not alone:
        _say(console, finding.summary)
    if quiet:
        return
    if finding.evidence:
        _columns(console, finding.evidence, gives_way=1, narrowest=34)
    for line in finding.ruled_out:
        _say(console, f"not {line}", 2)
    for line in finding.explained:
        _say(console, f"explains {line}", 2)
    for number, step in enumerate(finding.steps, start=1):
        _step(console, number, step)
    _say(console, f"runbook: diag runbook show {finding.runbook}", 2)


def _more_findings(console: Console, laid_out: Page) -> None:
    if laid_out.more_findings:
        console.print()
        _say(console, "also found", style="bold")
    for severity, check, summary in laid_out.more_findings:
        _say(console, Text.assemble((severity, _STYLES[severity]), f"  {check}: {summary}"), 2)
    if laid_out.findings_left_out:
        _say(console, f"and {laid_out.findings_left_out} more findings (--format json has them all)", 2, style="dim")


def _step(console: Console, number: int, step: PageStep) -> None:
    _say(console, Text.assemble(f"{number}. {step.title} ", (f"[{step.risk}]", "dim")), 2)
    if step.line:  # never wrapped: a line that is cut in two cannot be pasted
        console.print(Text(f"     {step.place}> {step.line}", style="bold"), soft_wrap=True)
    if step.withheld:
        _say(console, f"no command: {step.withheld}", 5)
    _say(console, f"then: {step.expect}", 5)


def _rest(console: Console, laid_out: Page, *, verbose: bool) -> None:
    if laid_out.gaps or laid_out.unknown:
        console.print()
        _say(console, "not seen", style="bold")
    for what, why, fix in laid_out.gaps:
        _say(console, f"{what}: {why}", 2)
        if fix:
            _say(console, f"fix: {fix}", 5)
    for line in laid_out.unknown:
        _say(console, f"unknown: {line}", 2)
    for line in laid_out.skipped:
        _say(console, f"skipped: {line}", 2)
    for check in laid_out.clear if verbose else ():
        _say(console, f"clear: {check}", 2)
    for table in laid_out.tables:
        _table(console, table)
    _charts(console, laid_out)
    if laid_out.footprint:
        console.print()
        _say(console, "cost: " + "; ".join(laid_out.footprint), style="dim")


def _table(console: Console, table: PageTable) -> None:
    console.print()
    _say(console, table.name, style="bold")
    _columns(console, (table.headers, *table.rows), gives_way=len(table.headers) - 1)
    if table.left_out:
        _say(console, f"and {table.left_out} more rows (--format json has them all)", 2, style="dim")


def _charts(console: Console, laid_out: Page) -> None:
    for chart in laid_out.charts:
        _chart(console, chart)
    if laid_out.more_charts:
        _say(console, f"and {laid_out.more_charts} more charts (--format json has their rows)", 2, style="dim")


def _chart(console: Console, chart: PageChart) -> None:
    console.print()
    _say(console, chart.title, style="bold")
    _say(console, chart.span, 2, style="dim")
    for line in chart.lines:
        _say(console, f"{line.name}, {line.reach}", 2)
        console.print(Text(f"  {line.bars}"), soft_wrap=True)
    if chart.note:
        _say(console, chart.note, 2)
    _columns(console, (chart.headers, *chart.rows), gives_way=len(chart.headers) - 1)


def _columns(console: Console, rows: Sequence[tuple[str, ...]], *, gives_way: int, narrowest: int = _NARROWEST) -> None:
    """Print rows in columns. Names are never cut; where a row is too long, one column gives way."""
    widths = [max(cell_len(row[place]) for row in rows) for place in range(len(rows[0]))]
    too_wide = sum(widths) + 2 * len(widths) - console.width
    widths[gives_way] = min(widths[gives_way], max(narrowest, widths[gives_way] - max(0, too_wide)))
    for row in rows:
        cells = [cell if place != gives_way else _cut(cell, widths[place]) for place, cell in enumerate(row)]
        padded = [cell + " " * (width - cell_len(cell)) for cell, width in zip(cells, widths, strict=True)]
        console.print(Text("  " + "  ".join(padded)), soft_wrap=True)


def _cut(cell: str, width: int) -> str:
    return cell if cell_len(cell) <= width else set_cell_size(cell, width - 1) + "…"
