"""Queues that end at the same actors are one trouble, however many objects they are on."""

from collections.abc import Callable, Iterator

from msgspec import Struct

from diag.analysis.lock_graph import Actor, LockGraph, Wait
from diag.findings import Evidence, Phrase, Quantity, say
from diag.snapshots.postgres import Backend, LockMode, LockTag, PgLocks

NO_DEADLOCK = say("a deadlock: every chain of waiting ends at somebody who waits for nobody")


class Trouble(Struct, frozen=True, kw_only=True):
    """The queues that lead to the same roots. There are no roots in a cycle."""

    roots: tuple[Actor, ...]
    queues: tuple[tuple[Wait, ...], ...]

    @property
    def longest(self) -> Quantity:
        """The longest wait of all."""
        return Quantity(max(wait.waited_s or 0.0 for queue in self.queues for wait in queue), "s")

    @property
    def waiting(self) -> Quantity:
        """How many backends wait."""
        return Quantity(len({wait.actor for queue in self.queues for wait in queue}), "backends")

    @property
    def main(self) -> tuple[Wait, ...]:
        """The longest queue."""
        return max(self.queues, key=len)


def troubles(locks: PgLocks, graph: LockGraph, wanted: Callable[[LockTag], bool]) -> Iterator[Trouble]:
    """Yield the troubles of the wanted queues that the person asked about."""
    found: dict[tuple[Actor, ...], list[tuple[Wait, ...]]] = {}
    for tag, queue in graph.queues.items():
        if wanted(tag) and locks.asked_for(tag):
            found.setdefault(graph.roots(queue[0].actor), []).append(queue)
    for roots, queues in found.items():
        yield Trouble(roots=roots, queues=tuple(queues))


def more(count: int, what: str) -> Phrase:
    """Say how many there are beside the one that is named."""
    return say(" and {more} {what}", more=count - 1, what=what) if count > 1 else say("")


def seen(locks: PgLocks, role: str, actor: Actor) -> Iterator[Evidence]:
    """Yield what pg_stat_activity shows of a backend: statement, state, age of its transaction, client."""
    backend = locks.backend(actor) if isinstance(actor, int) else None
    if backend is None:
        return
    yield Evidence(name=f"{role}: statement", value=backend.query, source="pg_stat_activity")
    if backend.state:
        yield Evidence(name=f"{role}: state", value=backend.state, source="pg_stat_activity")
    if backend.transaction_started_at:
        open_s = (locks.observed_at - backend.transaction_started_at).total_seconds()
        yield Evidence(name=f"{role}: transaction open for", value=Quantity(open_s, "s"), source="pg_stat_activity")
    yield Evidence(name=f"{role}: client", value=backend.application_name, source="pg_stat_activity")
    if backend.client_address is not None:
        yield Evidence(name=f"{role}: client address", value=backend.client_address, source="pg_stat_activity")


def holds(graph: LockGraph, wait: Wait, actor: Actor) -> Iterator[Evidence]:
    """Yield in which mode an actor holds what a request waits for; nothing when it is further up the chain."""
    modes = [mode for holder, mode in graph.holders(wait) if holder == actor]
    if modes:
        strongest = max(modes, key=tuple(LockMode).index)
        yield Evidence(name="in the way holds", value=strongest, source="pg_locks.mode, granted")


def held_by_one(graph: LockGraph) -> dict[int, Wait]:
    """Return, for each backend that waits for nobody, the longest wait that its lock alone causes."""
    found: dict[int, Wait] = {}
    for wait in sorted(graph.waits.values(), key=lambda wait: -(wait.waited_s or 0.0)):
        holders = {holder for holder, _ in graph.holders(wait)}
        if len(holders) == 1:
            (holder,) = holders
            if isinstance(holder, int) and holder not in graph.waits:
                found.setdefault(holder, wait)
    return found


def silent_before_s(locks: PgLocks, holder: Backend, wait: Wait) -> float:
    """Return how long the holder had been silent when the other asked; -1 when it was not, or is not known."""
    if holder.state_changed_at is None or wait.waited_s is None:
        return -1.0
    return (locks.observed_at - holder.state_changed_at).total_seconds() - wait.waited_s
