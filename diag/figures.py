"""Numbers into text, the same way everywhere.

Thousands are parted by a space (ISO 80000-1) and no exotic one, so that grep finds what
the eye sees; durations keep two units at most; bytes are binary (IEC 80000-13).
"""

from __future__ import annotations

import math
from datetime import UTC, datetime

_MINUTE_S, _HOUR_S = 60, 3600
_HOUR_MIN, _DAY_MIN, _DAY_H = 60, 1440, 24
_BARS = "▁▂▃▄▅▆▇█"
_KIB = 1024
_SMALL = 10  # below this, one decimal carries information


def number(value: float) -> str:
    """Write a count or a plain number: 1203411 → "1 203 411", 0.25 → "0.25"."""
    if isinstance(value, int) or float(value).is_integer():
        return f"{int(value):,}".replace(",", " ")
    return f"{value:,.3g}" if abs(value) < 1 else f"{value:,.1f}".replace(",", " ")


def duration(seconds: float) -> str:
    """Write a span of time given in seconds: "40 ms", "4.9 s", "19 min", "2 h 05 min", "3 d 04 h"."""
    if not math.isfinite(seconds):
        return "unknown"
    sign = "-" if seconds < 0 else ""
    span = abs(seconds)
    if round(span, 3) < 1:
        text = f"{span * 1000:.0f} ms" if span else "0 s"
    elif round(span, 1) < _SMALL:
        text = f"{span:.1f} s"
    elif round(span) < 2 * _MINUTE_S:
        text = f"{span:.0f} s"
    elif (minutes := round(span / _MINUTE_S)) < _HOUR_MIN:
        text = f"{minutes} min"
    elif minutes < _DAY_MIN:
        text = f"{minutes // _HOUR_MIN} h {minutes % _HOUR_MIN:02} min"
    else:
        hours = round(span / _HOUR_S)
        text = f"{hours // _DAY_H} d {hours % _DAY_H:02} h"
    return sign + text


def bytes_(count: float) -> str:
    """Write a number of bytes: "812 B", "79.3 KiB", "1.2 GiB"."""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if round(abs(size), 0 if unit == "B" else 1) < _KIB:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= _KIB
    return f"{size:.1f} TiB"


def share(ratio: float) -> str:
    """Write a ratio of 0–1 as a percentage: 0.691 → "69.1 %"."""
    return f"{ratio * 100:.1f} %"


def instant(at: datetime) -> str:
    """Write a moment in UTC to the second: "2026-01-01 03:00:02Z"."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def quantity(value: float, unit: str) -> str:
    """Write a value with its unit; seconds, bytes and ratios get their own form."""
    match unit:
        case "s":
            return duration(value)
        case "bytes":
            return bytes_(value)
        case "ratio":
            return share(value)
        case "":
            return number(value)
        case _:
            return f"{number(value)} {_singular(unit) if value == 1 else unit}"


def _singular(unit: str) -> str:
    """Turn "queries", "misses/s" and "keys" into one of them."""
    noun, slash, per = unit.partition("/")
    if noun.endswith("ies") and noun != "series":
        noun = f"{noun[:-3]}y"
    elif noun != "series":
        noun = noun[:-2] if noun.endswith(("sses", "xes", "shes", "ches")) else noun.removesuffix("s")
    return noun + slash + per


def sparkline(values: tuple[float, ...]) -> str:
    """Draw values as eight heights of block characters; an empty tuple draws nothing."""
    if not values:
        return ""
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    return "".join(_BARS[min(len(_BARS) - 1, int((value - low) / span * len(_BARS)))] for value in values)
