"""The ways out of a lock queue, safest first: look, cancel the requests that stop others, end the holders."""

from collections.abc import Iterator, Sequence

from diag.analysis.lock_graph import Actor, LockGraph, Wait, conflicts
from diag.findings import NoCommand, Phrase, Quantity, Risk, Step, say
from diag.findings.commands import (
    cancel_backend,
    look_at_backend,
    look_at_prepared,
    rollback_prepared,
    terminate_backend,
)
from diag.snapshots.postgres import Backend, PgLocks

_MOST_STEPS = 3  # of one kind: a longer list is not read at night; the JSON has every wait


def called(actor: Actor) -> Phrase:
    """Name a backend or a prepared transaction in a sentence."""
    if isinstance(actor, int):
        return say("pid {pid}", pid=actor)
    return say("the prepared transaction {gid}", gid=actor)


def stoppers(graph: LockGraph, queue: Sequence[Wait]) -> list[Wait]:
    """Return the fewest requests from the front of the queue whose cancelling frees somebody; empty when none do."""
    in_the_way = [
        wait
        for place, wait in enumerate(queue)
        if any(conflicts(wait.mode, other.mode) for other in queue[place + 1 :])
    ]
    for count in range(1, min(_MOST_STEPS, len(in_the_way)) + 1):
        if graph.freed_by(*(wait.actor for wait in in_the_way[:count])):
            return in_the_way[:count]
    return []


def look(root: Actor) -> Step:
    """Look at a holder first: its owner may end it without any loss."""
    return Step(
        title=say("See what {root} is doing, and whose it is", root=called(root)),
        risk=Risk.READ_ONLY,
        command=look_at_backend(root) if isinstance(root, int) else look_at_prepared(root),
        expect=say("its state, client and open time are there; if its owner commits or rolls back, the queue moves"),
    )


def way_out(locks: PgLocks, graph: LockGraph, queue: Sequence[Wait], roots: Sequence[Actor]) -> Iterator[Step]:
    """Yield the steps for one queue and the actors at its roots."""
    yield from (look(root) for root in roots[:_MOST_STEPS] if isinstance(root, int))
    yield from cancellations(locks, graph, queue)
    yield from endings(locks, graph, roots)


def cancellations(locks: PgLocks, graph: LockGraph, queue: Sequence[Wait]) -> Iterator[Step]:
    """Cancel the requests that stop others, where that frees somebody."""
    cancelled = [wait for wait in stoppers(graph, queue) if not _replays(locks.backend(wait.pid))]
    freed = Quantity(len(graph.freed_by(*(wait.actor for wait in cancelled))), "backends")
    for number, wait in enumerate(cancelled, start=1):
        backend = locks.backend(wait.pid)
        yield Step(
            title=say(
                "Cancel the waiting statement of pid {pid}{which}; that frees {freed}",
                pid=wait.pid,
                which=_which(number, len(cancelled)),
                freed=freed,
            ),
            risk=Risk.REVERSIBLE,
            command=cancel_backend(wait.pid, backend.backend_started_at if backend else None),
            expect=say("the others run; the cancelled statement fails and can be tried again, with a lock_timeout"),
        )


def _replays(backend: Backend | None) -> bool:
    """Whether this is the startup process of a standby, with which the whole server would end."""
    return backend is not None and backend.backend_type == "startup"


_END_IT_ON_THE_PRIMARY = Step(
    title=say("End the transaction on the primary whose lock is replayed here; never end the startup process"),
    risk=Risk.READ_ONLY,
    command=NoCommand(say("it is on another server: diag pg-locks --dsn with the address of the primary")),
    expect=say("its end is replayed here and the queue moves"),
)


def _which(number: int, count: int) -> Phrase:
    """Say which of several steps this is, when only all of them together help."""
    return say(" ({number} of {count}, all of them needed)", number=number, count=count) if count > 1 else say("")


def endings(locks: PgLocks, graph: LockGraph, roots: Sequence[Actor]) -> Iterator[Step]:
    """End the holders: cancel what runs, terminate what is idle in a transaction, roll back what is prepared."""
    freed = Quantity(len(graph.freed_by(*roots)), "backends")
    for number, root in enumerate(roots[:_MOST_STEPS], start=1):
        backend = locks.backend(root) if isinstance(root, int) else None
        started_at = backend.backend_started_at if backend else None
        running = backend is not None and backend.state == "active"
        if _replays(backend):
            yield _END_IT_ON_THE_PRIMARY
            continue
        if not isinstance(root, int):
            verb, command = say("Roll back"), rollback_prepared(root)
        elif running:
            verb, command = say("Cancel the running statement of"), cancel_backend(root, started_at)
        else:
            verb, command = say("End"), terminate_backend(root, started_at)
        yield Step(
            title=say(
                "{verb} {root}{which}; that frees {freed} in the end",
                verb=verb,
                root=called(root),
                which=_which(number, len(roots)),
                freed=freed,
            ),
            risk=Risk.DISRUPTIVE,
            command=command,
            expect=say("its transaction is rolled back and the queue moves; whoever ran it sees an error"),
        )
