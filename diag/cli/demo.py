"""`diag demo`: a recorded incident, diagnosed with no server at all."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

_RECORDED = ("kafka-lag", "pg-locks", "cache-stampede")  # what lab/demo.py looked at


@app.command("demo")
def demo(
    output: Annotated[
        str, typer.Option("--output", "-o", help="also write the report as Markdown there", metavar="FILE")
    ] = "demo-report.md",
    color: Annotated[str, typer.Option(help="auto, always or never", metavar="WHEN")] = "auto",
) -> int:
    """Diagnose a recorded incident: text here, Markdown in a file. Needs no server."""
    import sys

    from diag import places
    from diag.cli.output import put, render, wants_colour
    from diag.config import Context
    from diag.diagnosis import Request, plan, replay
    from diag.redaction import Masks
    from diag.store.evidence import Evidence

    wanted = plan(Request(command="demo", commands=_RECORDED, context=Context(), context_name="demo"))
    with Evidence(places.demo_evidence()) as evidence:
        report = replay(wanted, evidence)
    put(render(report, "text", colour=wants_colour(color, "")), "", Masks())
    put(render(report, "markdown"), output, Masks())
    sys.stderr.write(f"diag: the same as Markdown: {output}\n")
    return 0  # the incident is long over: finding it is success
