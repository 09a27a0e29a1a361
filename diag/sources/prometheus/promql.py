"""Writing PromQL: the one place where a label value becomes part of a query.

Source: Prometheus documentation, "Querying basics" (string literals, selectors).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_REPLACEMENT = "\\ufffd"  # the character itself means "this was not UTF-8" to the lexer
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\ufffd": _REPLACEMENT}
_UNDECODED = range(0xDC80, 0xDD00)  # what "surrogateescape" makes of bytes that are not UTF-8
_SURROGATES = range(0xD800, 0xE000)
_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*", re.ASCII)


def quoted(value: str) -> str:
    """Return a value as a PromQL string literal that reads back as exactly that value."""
    return '"' + "".join(map(_written, value)) + '"'


def _written(char: str) -> str:
    code = ord(char)
    if code in _UNDECODED:
        return f"\\x{code - 0xDC00:02x}"
    return _REPLACEMENT if code in _SURROGATES else _ESCAPES.get(char, char)


def selector(metric: str, labels: Mapping[str, str] | None = None) -> str:
    """Return the selector of a metric, of any name, with labels that equal the given values."""
    matchers = [f"{name}={quoted(value)}" for name, value in (labels or {}).items()]
    if _NAME.fullmatch(metric):
        return f"{metric}{{{','.join(matchers)}}}" if matchers else metric
    return f"{{{','.join((f'__name__={quoted(metric)}', *matchers))}}}"
