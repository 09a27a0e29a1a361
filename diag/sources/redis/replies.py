"""What several readers of Redis make of a reply: INFO, TIME, and the gap of a refusal."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from diag.errors import Rung, Unreadable
from diag.snapshots.base import Gap
from diag.sources.redis.connection import Session
from diag.text import ServerText


def moment(clock: tuple[bytes, bytes]) -> datetime:
    """Return the time of TIME's reply. Raises `Unreadable` for what is none."""
    if not all(part.isdigit() for part in clock):
        message = "the server's TIME is not a time"
        raise Unreadable(message, rung=Rung.DECODE)
    try:
        return datetime.fromtimestamp(int(clock[0]) + int(clock[1]) / 1e6, UTC)
    except (OverflowError, ValueError, OSError) as error:
        message = "the server's TIME is out of range"
        raise Unreadable(message, rung=Rung.DECODE) from error


def number(told: Mapping[str, str], name: str) -> int:
    """Return a counter of INFO; 0 when it is not there or not a number."""
    written = told.get(name, "")
    return int(written) if written.isascii() and written.isdecimal() else 0


def parsed(info: bytes) -> dict[str, str]:
    """Return the fields of INFO's reply."""
    lines = ServerText.of_bytes(info).raw.splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line and not line.startswith("#"))


def acl_line(session: Session, permission: str) -> str:
    """Return the command that grants a permission to the user we came as."""
    return f"ACL SETUSER {session.user} {permission}"


def gap(fact: str, what: str, why: str, fix: str) -> Gap:
    """Return a gap in what Redis tells."""
    return Gap(source="redis", fact=fact, what=ServerText(what), why=ServerText(why), fix=ServerText(fix))
