"""What went wrong in a conversation with Redis, in one sentence each, and what would help.

By the code word of the reply, which classes of exceptions lump together. PING is never sent,
since a server that cannot save answers it with MISCONF while all that we read still works.
Source: redis.io, "Redis serialization protocol specification" (simple errors), "ACL", "SCRIPT KILL", redis.conf.
"""

from __future__ import annotations

import re
from typing import Final

from redis.exceptions import InvalidResponse, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from diag.errors import Denied, Rung, SourceError, TooSlow, Unreachable, Unreadable
from diag.text import visible
from diag.wire.probe import Probe

_WAITS: Final = {
    "LOADING": (
        "the server is loading its keys into memory",
        "wait until it has; INFO persistence says how far it is (loading_loaded_perc)",
    ),
    "BUSY": (
        "a script keeps the server busy, and it answers nothing else",
        "redis-cli SCRIPT KILL ends it, unless it has written already",
    ),
    "MASTERDOWN": (
        "this replica has lost its primary and may not answer from old keys",
        "ask the primary; INFO replication says where it was and since when the link is down",
    ),
    "CLUSTERDOWN": (
        "the cluster does not serve these keys",
        "redis-cli CLUSTER INFO says how many slots are without a node",
    ),
}
_MANAGED: Final = "the command is renamed or switched off here, as managed services do with CONFIG and others"


def explain(error: Exception, probe: Probe) -> SourceError:
    """Translate what a driver or a server said into an error that names the rung."""
    if probe.deadline.passed:
        return probe.too_slow()
    said = visible(str(error)).removeprefix("ERR ")
    code = said.partition(" ")[0].upper()
    if isinstance(error, InvalidResponse):
        return Unreachable(f"this does not answer like Redis: {said}", rung=Rung.DECODE, fix="check the port")
    if isinstance(error, TimeoutError | RedisTimeoutError):
        return TooSlow("no answer from this server in its share of the time", rung=probe.rung, fix="raise --deadline")
    if code in ("NOAUTH", "WRONGPASS", "AUTHENTICATION") or "AUTH" in code or "invalid username-password" in said:
        return Denied(said, rung=Rung.AUTH, fix="check the user and password of this target")
    if code == "DENIED" or "max number of clients" in said:
        fix = "redis-cli CONFIG GET maxclients, INFO clients" if code != "DENIED" else "see the server's own words"
        return Denied(said, rung=Rung.CONNECT, fix=fix)
    if "NOPERM" in said or "no permissions" in said:
        return Denied(said, rung=Rung.AUTHORISE, fix="see diag checks explain for the least ACL")
    if code in _WAITS:
        why, fix = _WAITS[code]
        return TooSlow(f"{why} ({said})", rung=Rung.QUERY, fix=fix)
    if isinstance(error, ResponseError):
        unknown = "unknown command" in said.lower()
        return Unreadable(f"{said.split(', with args')[0]}: {_MANAGED}" if unknown else said, rung=Rung.QUERY)
    reason = visible(getattr(error, "strerror", "") or type(error).__name__)
    return Unreachable(f"the connection was lost: {reason}", rung=probe.rung, fix="run diag again")


def is_elsewhere(error: Exception) -> bool:
    """Tell whether a key's slot is on another node, or on its way there."""
    return bool(re.match(r"(?:MOVED|ASK|TRYAGAIN)\b", str(error)))
