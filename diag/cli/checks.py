"""`diag checks list|explain`: what is looked at, with which queries, limits and blind spots."""

from __future__ import annotations

import inspect
import re
from typing import Annotated

import typer

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="List the checks, and explain one.",
    no_args_is_help=True,
)
_LIMIT = re.compile(r"^    (\w+): \w+ = ([^#\n]+?)\s*(?:#\s*(.*))?$", re.MULTILINE)


@app.command("list")
def list_() -> int:
    """List every check, by command."""
    from diag import catalog
    from diag.diagnosis import explained

    slugs = catalog.slugs()
    wide = max(map(len, slugs))
    for slug in slugs:
        typer.echo(f"{slug:<{wide}}  {explained(slug).check.title}")
    return 0


@app.command()
def explain(slug: Annotated[str, typer.Argument(help="for instance pg-locks/lock-queue", metavar="SLUG")]) -> int:
    """Explain one check: facts, queries, needs, limits with their reasons, blind spots."""
    from diag.diagnosis import explained, queries

    planned = explained(slug)
    check = planned.check
    module = inspect.getmodule(check.judge)
    typer.echo(f"{planned.slug}: {check.title}\n")
    typer.echo(inspect.cleandoc(getattr(module, "__doc__", "") or ""))
    typer.echo(f"\nNeeds    {', '.join(check.needs)}: a gap in one of them makes the outcome unknown")
    if check.explains:
        typer.echo(f"Explains {', '.join(check.explains)}: findings on the same subject are shown under this one")
    if check.min_frames > 1:
        typer.echo(f"Frames   {check.min_frames} samples at least, else skipped")
    typer.echo("\nLimits (change with --limit or in the configuration)")
    for name, value, reason in _LIMIT.findall(inspect.getsource(type(check.limits))):
        typer.echo(f"  {planned.slug}.{name} = {value}\n      {reason}")
    typer.echo("\nWhat is sent")
    for asked in queries(planned):
        typer.echo("  " + asked.strip().replace("\n", "\n  "))
    typer.echo(f"\nRunbook  diag runbook show {planned.slug}")
    return 0
