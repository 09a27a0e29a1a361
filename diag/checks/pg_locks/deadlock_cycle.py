"""Backends wait for each other in a circle: one of them will be cancelled by the server.

After deadlock_timeout (1 s by default) the server looks for a cycle, cancels one of those in it
and the others go on. Seen here, a cycle is younger than that, or the timeout is long; the error
comes again until all code paths take the same things in the same order.

Facts    pg_locks, pg_stat_get_activity(NULL); one round trip, one instant
Units    s = seconds on the server's clock
Source   PostgreSQL manual: "Deadlocks", "deadlock_timeout"
Blind    cycles that came and went between two looks: see the counter in `diag pg-long-tx`
"""

from collections.abc import Iterator

from msgspec import Struct

from diag.analysis.lock_graph import Wait, graph_of
from diag.checks.pg_locks._troubles import seen
from diag.checks.pg_locks._way_out import called
from diag.findings import Basis, Check, Evidence, Finding, NoCommand, Quantity, Risk, Severity, Step, Subject, say
from diag.findings.commands import cancel_backend
from diag.snapshots.postgres import PgLocks

_MOST_SHOWN = 4  # of a cycle: most have two


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A cycle is a fault whatever its age."""

    critical_queue: int = 10  # backends in the cycle and behind it: one small connection pool, all stuck


def judge(locks: PgLocks, limits: Limits) -> Iterator[Finding]:
    """Find the cycles of waiting."""
    graph = graph_of(locks)
    for cycle in graph.cycles():
        waits = [graph.waits[actor] for actor in cycle]
        behind = Quantity(len(graph.freed_by(*cycle)), "backends")
        last = min(waits, key=lambda wait: wait.waited_s or 0.0)
        backend = locks.backend(last.pid)
        name = next((locks.relation_name(wait.tag) for wait in waits if wait.tag.relation), None)
        yield Finding(
            severity=Severity.CRITICAL if len(cycle) + behind.value >= limits.critical_queue else Severity.WARNING,
            basis=Basis.OBSERVED,
            subject=Subject(pid=last.pid, relation=name),
            summary=say(
                "a deadlock of {size}: pid {first} waits for {second}, and so on round to it; {behind} behind it",
                size=Quantity(len(cycle), "backends"),
                first=waits[0].pid,
                second=called(cycle[1 % len(cycle)]),
                behind=behind,
            ),
            evidence=(
                Evidence(name="longest wait", value=_longest(waits), source="pg_locks.waitstart"),
                *(
                    row
                    for wait in waits[:_MOST_SHOWN]
                    for row in seen(locks, f"in the cycle, pid {wait.pid}", wait.pid)
                ),
            ),
            ruled_out=(say("waiting that ends by itself: nobody in the cycle goes on unless one of them gives up"),),
            steps=(
                Step(
                    title=say("Cancel the youngest wait, pid {pid}, if the server has not yet", pid=last.pid),
                    risk=Risk.REVERSIBLE,
                    command=cancel_backend(last.pid, backend.backend_started_at if backend else None),
                    expect=say("its statement fails, its transaction can be tried again, the others go on"),
                ),
                _ONE_ORDER,
            ),
        )


def _longest(waits: list[Wait]) -> Quantity:
    return Quantity(max(wait.waited_s or 0.0 for wait in waits), "s")


_ONE_ORDER = Step(
    title=say("Let every code path lock the same things in the same order"),
    risk=Risk.READ_ONLY,
    command=NoCommand(say("it is a change of the application: SELECT … ORDER BY key FOR UPDATE before the changes")),
    expect=say("pg_stat_database.deadlocks stands still; a longer deadlock_timeout would only hide it for longer"),
)

CHECK = Check(title="Deadlock in progress", facts=PgLocks, needs=("locks",), limits=Limits(), judge=judge)
