"""What several readers of Redis make of a reply: INFO, TIME, and the gap of a refusal."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from diag.errors import Rung, TooSlow, Unreadable
from diag.snapshots.base import Gap
from diag.sources.redis.connection import Session
from diag.text import ServerText, visible

_EXPIRE_TIME_SINCE = 7


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


def fields(written: str) -> dict[str, str]:
    """Read `calls=21,usec=175,…`."""
    return dict(part.split("=", 1) for part in written.split(",") if "=" in part)


def keyspace(told: Mapping[str, str], name: str, database: int | None = None) -> int:
    """Return `keys` or `expires` of INFO's keyspace, of one logical database or of all."""
    every = [one for one in told if one.startswith("db") and one[2:].isdecimal()]
    return sum(number(fields(told[one]), name) for one in every if database is None or one == f"db{database}")


def ratio(told: Mapping[str, str], name: str) -> float:
    """Return a percentage of INFO as a ratio; 0 when it is not there or not a number."""
    try:
        return float(told.get(name, "")) / 100
    except ValueError:
        return 0.0


def version_of(told: Mapping[str, str]) -> ServerText:
    """Return the server's version; Valkey tells its own beside the one of Redis that it is compatible with."""
    if "valkey_version" in told:
        return ServerText(f"valkey {told['valkey_version']}")
    return ServerText(told.get("redis_version", ""))


def has_expire_time(told: Mapping[str, str]) -> bool:
    """Tell whether the server knows PEXPIRETIME: from Redis 7.0 on, and so Valkey."""
    major = told.get("redis_version", "").partition(".")[0]
    return major.isascii() and major.isdecimal() and int(major) >= _EXPIRE_TIME_SINCE


def acl_line(session: Session, permission: str) -> str:
    """Return the command that grants a permission to the user we came as."""
    return f"ACL SETUSER {session.user} {permission}"


def gap(fact: str, what: str, why: str, fix: str) -> Gap:
    """Return a gap in what Redis tells."""
    return Gap(source="redis", fact=fact, what=ServerText(what), why=ServerText(why), fix=ServerText(fix))


def loading(told: Mapping[str, str]) -> TooSlow:
    """Return the error of a server that still loads its keys, with how far it is."""
    done, left = told.get("loading_loaded_perc", ""), told.get("loading_eta_seconds", "")
    far = f": {visible(done)} % done, about {visible(left)} s left" if done else ""
    message = f"the server is loading its keys into memory{far}"
    return TooSlow(message, rung=Rung.QUERY, fix="wait until it has: redis-cli INFO persistence")
