"""Resolve host names before libpq would: it does so inside one call that nothing can interrupt.

That call holds Python's lock as well, so a resolver that never answers would stop even the
clock that should end the command. Source: PostgreSQL manual, "Connection Strings" (host,
hostaddr, port as lists), "The Connection Service File".
"""

from __future__ import annotations

import configparser
import os
import socket
from pathlib import Path
from typing import Any

from diag.errors import Rung, Unreachable
from diag.text import visible
from diag.wire.dial import resolve
from diag.wire.probe import Probe

_PORT = "5432"


def addressed(wanted: dict[str, Any], probe: Probe) -> list[dict[str, Any]]:
    """Return the connection parameters of every address there is, in the order to try them.

    Raises `Unreachable` when none of the names resolves.
    """
    probe.at(Rung.RESOLVE)
    service = _service(str(wanted.get("service") or os.environ.get("PGSERVICE", "")))
    host = _first(wanted.get("host"), service.get("host"), os.environ.get("PGHOST"))
    if not host or _first(wanted.get("hostaddr"), service.get("hostaddr"), os.environ.get("PGHOSTADDR")):
        return [wanted]  # a Unix socket, or an address already
    ports = _first(wanted.get("port"), service.get("port"), os.environ.get("PGPORT"), _PORT).split(",")
    tried: list[tuple[str, str, str]] = []
    refusal: Unreachable | None = None
    for place, name in enumerate(host.split(",")):
        port = ports[place] if len(ports) > 1 and place < len(ports) else ports[0]
        try:
            tried += [(name, address, port) for address in _addresses(name, port)]
        except Unreachable as error:
            refusal = error
    if not tried and refusal:
        raise refusal
    return [{**wanted, "host": name, "hostaddr": address, "port": port} for name, address, port in tried]


def _addresses(name: str, port: str) -> list[str]:
    if not name or name.startswith(("/", "@")):
        return [""]  # a Unix socket: libpq takes the host for it
    found = resolve(name, int(port) if port.isdecimal() else int(_PORT))
    return list(dict.fromkeys(str(address[0]) for family, address in found if family != socket.AF_UNIX))


def _first(*candidates: object) -> str:
    return next((str(candidate) for candidate in candidates if candidate), "")


def _service(name: str) -> dict[str, str]:
    """Return the section of the connection service file; empty when there is none (libpq will say so)."""
    if not name:
        return {}
    own = os.environ.get("PGSERVICEFILE") or str(Path(os.environ.get("HOME", "/nonexistent")) / ".pg_service.conf")
    shared = str(Path(os.environ.get("PGSYSCONFDIR") or "/etc/postgresql-common") / "pg_service.conf")
    for file in (own, shared):
        sections = configparser.RawConfigParser(strict=False, comment_prefixes=("#",), delimiters=("=",))
        try:
            sections.read(file)
        except (configparser.Error, UnicodeDecodeError) as error:
            message = f"the connection service file {visible(file)} cannot be read"
            raise Unreachable(message, rung=Rung.RESOLVE, fix="correct it, or name host and port") from error
        if sections.has_section(name):
            return dict(sections.items(name))
    return {}
