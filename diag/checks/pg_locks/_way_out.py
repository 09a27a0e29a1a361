"""The ways out of a lock queue, safest first: look, cancel the request that stops others, end the holder."""

from collections.abc import Iterator

from diag.analysis.lock_graph import Actor, LockGraph, Wait
from diag.findings import Command, Phrase, Quantity, Risk, Step, say
from diag.findings.commands import cancel_backend, look_at_backend, rollback_prepared, terminate_backend
from diag.snapshots.postgres import PgLocks


def called(actor: Actor) -> Phrase:
    """Name a backend or a prepared transaction in a sentence."""
    if isinstance(actor, int):
        return say("pid {pid}", pid=actor)
    return say("the prepared transaction {gid}", gid=actor)


def stopper(graph: LockGraph, queue: tuple[Wait, ...]) -> Wait:
    """Return the request whose cancelling frees most; only the first of each mode can be it."""
    first_of_each_mode = {wait.mode: wait for wait in reversed(queue)}.values()
    return max(first_of_each_mode, key=lambda wait: len(graph.freed_by(wait.actor)))


def way_out(locks: PgLocks, graph: LockGraph, queue: tuple[Wait, ...], root: Actor) -> Iterator[Step]:
    """Yield the steps for one queue and the actor at its root."""
    if isinstance(root, int):
        yield Step(
            title=say("See what {root} is doing, and whose it is", root=called(root)),
            risk=Risk.READ_ONLY,
            command=look_at_backend(root),
            expect=say("its state, client and open time; if its owner commits or rolls back, the queue moves"),
        )
    first = stopper(graph, queue)
    freed = len(graph.freed_by(first.actor))
    if freed:
        backend = locks.backend(first.pid)
        yield Step(
            title=say(
                "Cancel the statement of pid {pid}; {n} behind it go free",
                pid=first.pid,
                n=Quantity(freed, "backends"),
            ),
            risk=Risk.REVERSIBLE,
            command=cancel_backend(first.pid, backend.backend_started_at if backend else None),
            expect=say(
                "the others run at once; the statement of pid {pid} fails and can be tried again, with a lock_timeout",
                pid=first.pid,
            ),
        )
    yield Step(
        title=say(
            "End {root}; {n} go free in the end",
            root=called(root),
            n=Quantity(len(graph.freed_by(root)), "backends"),
        ),
        risk=Risk.DISRUPTIVE,
        command=_end(locks, root),
        expect=say("its transaction is rolled back and the queue moves; whoever ran it sees an error"),
    )


def _end(locks: PgLocks, root: Actor) -> Command:
    """Cancel what runs, terminate what is idle in a transaction, roll back what is prepared."""
    if not isinstance(root, int):
        return rollback_prepared(root)
    backend = locks.backend(root)
    started_at = backend.backend_started_at if backend else None
    running = backend is not None and backend.state == "active"
    return cancel_backend(root, started_at) if running else terminate_backend(root, started_at)
