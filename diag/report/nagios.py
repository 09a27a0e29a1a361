"""One line for a monitoring system, with performance data from the worst finding's evidence.

Source: Monitoring Plugins Development Guidelines, "Plugin Output for Nagios", "Performance data".
"""

from __future__ import annotations

import math
import re
from typing import Final

from diag.findings import Quantity, Report, Verdict
from diag.report.page import page
from diag.report.phrasing import in_sight

_WORDS: Final = {
    Verdict.CLEAR: "OK",
    Verdict.WARNING: "WARNING",
    Verdict.CRITICAL: "CRITICAL",
    Verdict.UNKNOWN: "UNKNOWN",
}
_LABEL: Final = re.compile("[=|']")
_UNITS: Final = {"s": "s", "bytes": "B"}


def nagios(report: Report) -> str:
    """Return the line, without its end; a `|` in the text would begin the performance data and is shown as `/`."""
    laid_out = page(report, in_sight)
    said = laid_out.error or laid_out.sentence
    words = f"DIAG {report.command} {_WORDS[report.verdict]} - {said}".replace("|", "/").replace("\n", " ")
    measured = report.findings[0].evidence if report.findings else ()
    perfdata = [
        f"'{_LABEL.sub('_', one.name)}'={_plain(one.value.value)}{_UNITS.get(one.value.unit, '')}"
        for one in measured
        if isinstance(one.value, Quantity) and math.isfinite(one.value.value)
    ]
    return f"{words} | {' '.join(perfdata)}" if perfdata else words


def _plain(value: float) -> str:
    """Write digits, sign and point only: the guidelines allow no exponent."""
    return f"{value:.6f}".rstrip("0").rstrip(".")
