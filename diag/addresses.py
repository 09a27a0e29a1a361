"""Addresses of servers as people type them, well formed or not, and the passwords that stand in them."""

from __future__ import annotations

import re
from urllib.parse import unquote

_KEY_VALUE = re.compile(r"\s*\w+\s*=")  # a libpq connection string rather than a URL
_DSN_PASSWORD = re.compile(  # the value as libpq reads it, and stray words up to the next key
    r"""((?<![?&\w])(?:ssl)?password\s*=\s*)
    (('(?:[^'\\]|\\.)*(?:'|\\?\Z) | (?:\\.|[^\s\\])+\\?)  (\S*(?:\s+(?!\w+\s*=)\S+)*))""",
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)
_URL_PASSWORD = re.compile(  # up to the last @: it may stand unescaped in user and password; a port ends at / ? or ,
    r"(\A\s*(?:[a-z][a-z0-9+.-]*:(?=/)|(?![a-z][a-z0-9+.-]*:/))/*(?:[^:@]*:|[^:]*:(?!\d+[/?,])))(.*)(@)",
    re.IGNORECASE | re.DOTALL,
)
_QUOTED = re.compile(r"'((?:[^'\\]|\\.)*)", re.DOTALL)
_QUERY_PASSWORD = re.compile(r"([?&](?:ssl)?password=)([^&#]*)", re.IGNORECASE)
_CONFUSING = re.compile(r"[/?#@\[]")  # unescaped in a password, they make a parser take a part of it for something else


def without_password(address: str) -> str:
    """Return a URL or libpq connection string with its password replaced by `***`, well formed or not."""
    address = _DSN_PASSWORD.sub(r"\1***", address)
    if _KEY_VALUE.match(address):
        return address
    return _QUERY_PASSWORD.sub(r"\1***", _URL_PASSWORD.sub(r"\1***\3", address))


def passwords_in(address: str) -> tuple[str, ...]:
    """Return the passwords written in a URL or libpq connection string, decoded and as written.

    Of a malformed one also the parts, since whoever refuses it may quote just one of them.
    """
    found: list[str] = []
    for match in _DSN_PASSWORD.finditer(address):
        value, stray = match[3], match[4]
        quoted = _QUOTED.match(value)
        word = quoted[1] if quoted else value
        found += [word, re.sub(r"\\(.)", r"\1", word, flags=re.DOTALL)]
        found += [match[2], *match[2].split(), *stray.split()] if stray else []
    if not _KEY_VALUE.match(address):
        found += [match[2] for match in _QUERY_PASSWORD.finditer(address)]
        for match in _URL_PASSWORD.finditer(address):
            found += [match[2], *(re.split(r"[/?#@:,\[\]]", match[2]) if _CONFUSING.search(match[2]) else ())]
    return tuple(dict.fromkeys(form for word in found if word for form in (word, unquote(word))))
