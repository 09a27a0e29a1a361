"""`diag runbook list|show|pattern|lint`: the runbooks of the findings."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="List, show and lint the runbooks of the findings.",
    no_args_is_help=True,
)


@app.command("list")
def list_() -> int:
    """List the runbooks with their titles."""
    from diag import places
    from diag.runbook import shelf

    rows = list(shelf.rows(places.runbooks()))
    wide = max(len(row.slug) for row in rows)
    for row in rows:
        typer.echo(f"{row.slug:<{wide}}  {row.title}")
    return 0


@app.command()
def show(slug: Annotated[str, typer.Argument(help="for instance pg-locks/lock-queue", metavar="SLUG")]) -> int:
    """Print a runbook, ready for `less` or a wiki."""
    from diag import places
    from diag.runbook import shelf

    typer.echo(shelf.load(slug, places.runbooks()).text, nl=False)
    return 0


@app.command()
def pattern() -> int:
    """Print a tested cache pattern in Python (lock, early refresh, jitter, stale value) to copy into a service."""
    from diag import places

    typer.echo((places.templates() / "cache_pattern.py").read_text("utf-8"), nl=False)
    return 0


@app.command()
def lint(
    folder: Annotated[str, typer.Argument(help="folder of books; the shipped ones when not named")] = "",
    write: Annotated[bool, typer.Option("--write", help="renew the `by hand` parts")] = False,
) -> int:
    """Check runbooks against every rule; exit 2 on errors, 1 on warnings."""
    from datetime import UTC, datetime
    from pathlib import Path

    from diag import catalog, places
    from diag.diagnosis import explained
    from diag.errors import ExitCode, RunbookError, UsageError
    from diag.runbook import shelf
    from diag.runbook.lint import Level
    from diag.runbook.lint import lint as problems_of

    place = Path(folder) if folder else places.runbooks()
    if not place.is_dir():
        message = f"there is no folder {folder!r}"
        raise UsageError(message)
    worst, count, pins = ExitCode.CLEAR, 0, shelf.pins(place)
    checks = {slug: explained(slug).judges_from_s for slug in catalog.slugs()}
    for path in shelf.books(place):
        count += 1
        try:
            if write:
                shelf.renew(path)
            book = shelf.read(path)
        except RunbookError as error:
            worst = ExitCode.CRITICAL
            for problem in error.problems or (error.message,):
                typer.echo(problem)
            continue
        for found in problems_of(book, checks=checks, today=datetime.now(UTC).date(), others=pins):
            worst = max(worst, ExitCode.CRITICAL if found.level is Level.ERROR else ExitCode.WARNING)
            typer.echo(f"{shelf.slug(path)}.md:{found.line}: {found.level.value}: {found.sentence}")
    typer.echo(f"{count} runbooks read")
    return int(worst)
