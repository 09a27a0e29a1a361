"""Nearly every connection is taken: the next program, or the person on call, is refused.

What matters is who has them and in which state: idle ones are a pool too large, idle in transaction
a program that forgets, waiting ones have one root somewhere, which is to be mended instead.

Facts    pg_stat_get_activity(NULL), max_connections and what is reserved of it; one round trip
Units    connections = client backends; ratio of those that ordinary roles may have
Source   PostgreSQL manual: "Connections and Authentication" (max_connections, reserved_connections)
Blind    limits of a role, a database or a pooler in front
"""

from collections import Counter
from collections.abc import Iterator

from msgspec import Struct

from diag.analysis.open_transactions import CLIENT
from diag.findings import Basis, Check, Evidence, Finding, Quantity, Risk, Severity, ShellCommand, Step, Subject, say
from diag.snapshots.postgres import Backend, PgTransactions

_MOST_SHOWN = 5


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How full is too full."""

    used_ratio: float = 0.9  # one more pool of ten on a server with a hundred
    critical_used_ratio: float = 0.97  # the default three left: the next restart of a program fails


def judge(facts: PgTransactions, limits: Limits) -> Iterator[Finding]:
    """Find out whether the connections run out, and who has them."""
    clients = [one for one in facts.backends if one.backend_type in (CLIENT, None) and one.database is not None]
    allowed = facts.settings.max_connections - facts.settings.reserved_connections
    used = len(clients) + 1  # and ours
    if used < limits.used_ratio * allowed:
        return
    waiting = sum(one.wait_event_type == "Lock" for one in clients)
    yield Finding(
        severity=Severity.CRITICAL if used >= limits.critical_used_ratio * allowed else Severity.WARNING,
        basis=Basis.OBSERVED,
        subject=Subject(),
        summary=say(
            "{used} of {allowed} connections are taken; {waiting} of them wait for a lock",
            used=used,
            allowed=allowed,
            waiting=waiting,
        ),
        evidence=(
            Evidence(name="connections", value=Quantity(used, "connections"), source="pg_stat_activity"),
            Evidence(name="for ordinary roles", value=Quantity(allowed, "connections"), source="max_connections"),
            *_counted(clients),
        ),
        steps=(*((_see_who_waits(waiting),) if waiting else ()), _LESS_NOT_MORE),
    )


def _counted(clients: list[Backend]) -> Iterator[Evidence]:
    found = Counter((one.application_name, one.client_address, one.state or "state hidden") for one in clients)
    for (client, address, state), count in found.most_common(_MOST_SHOWN):
        where = say(" at {address}", address=address) if address is not None else say("")
        taken = say("{count} of {client}{where}", count=count, client=client, where=where)
        yield Evidence(name=state, value=taken, source="pg_stat_activity")


def _see_who_waits(count: int) -> Step:
    return Step(
        title=say("Find what is in the way of the {count} that wait; their connections then come back", count=count),
        risk=Risk.READ_ONLY,
        command=ShellCommand(("diag", "pg-locks")),
        expect=say("who is in the way, and what frees how many"),
    )


_LESS_NOT_MORE = Step(
    title=say("Let the largest client's pool keep fewer; a higher max_connections needs a restart"),
    risk=Risk.REVERSIBLE,
    expect=say("the count falls; reserved_connections (from 16) keeps some for the person on call next time"),
)

CHECK = Check(title="Connections run out", facts=PgTransactions, needs=("backends",), limits=Limits(), judge=judge)
