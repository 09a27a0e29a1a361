"""The page as Markdown: server text in code spans that it cannot leave, words from a template.

Source: CommonMark 0.31, "Code spans", "Fenced code blocks"; GFM, "Tables".
"""

from __future__ import annotations

import re
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from diag import __version__, places
from diag.findings import Report
from diag.report.page import page
from diag.text import ServerText, visible

_RUNS: Final = re.compile(r"`+")


def code_span(text: ServerText | str) -> str:
    """Wrap text so that it is shown literally anywhere, also in a table cell.

    The fence is one back-tick longer than any run inside; `|` is shown as an escape, since in a
    table it would end the cell even inside a code span.
    """
    inside = (text.visible if isinstance(text, ServerText) else visible(text)).replace("|", "\\u007c")
    inside = inside or "(empty)"
    fence = "`" * (1 + max((len(run) for run in _RUNS.findall(inside)), default=0))
    edges = inside.strip(" ") and (inside[0] in "` " or inside[-1] in "` ")  # of blanks alone nothing is stripped
    pad = " " if edges else ""
    return f"{fence}{pad}{inside}{pad}{fence}"


def fenced(line: str) -> str:
    """Wrap a command line in a fence longer than any run of back-ticks inside."""
    fence = "`" * max(3, 1 + max((len(run) for run in _RUNS.findall(line)), default=0))
    return f"{fence}\n{line}\n{fence}"


def markdown(report: Report) -> str:
    """Return the page as Markdown."""
    environment = Environment(
        loader=FileSystemLoader(places.templates()),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701  not HTML: server text is in code spans before it gets here
    )
    environment.filters["fenced"] = fenced
    environment.filters["code_span"] = code_span
    return environment.get_template("report.md.j2").render(page=page(report, code_span), version=__version__)
