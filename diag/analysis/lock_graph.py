"""Who waits for whom, from one reading of pg_locks.

A request waits for holders of a conflicting mode (hard edges) and for earlier requests in
its queue that it must not overtake (soft edges). Queues are kept per locked object, so the
work grows with the number of waiters, not with its square.
Source: PostgreSQL manual, "Explicit Locking", table "Conflicting Lock Modes"; the order of a
queue: `JoinWaitQueue` in storage/lmgr/proc.c and the README beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import chain
from typing import Final, TypeAlias

from msgspec import Struct

from diag.snapshots.base import Row
from diag.snapshots.postgres import Lock, LockMode, LockTag, PgLocks, Pid
from diag.text import ServerText, SqlText

_MODES: Final = tuple(LockMode)
_CONFLICTS: Final[dict[LockMode, frozenset[LockMode]]] = {
    LockMode.ACCESS_SHARE: frozenset(_MODES[7:]),
    LockMode.ROW_SHARE: frozenset(_MODES[6:]),
    LockMode.ROW_EXCLUSIVE: frozenset(_MODES[4:]),
    LockMode.SHARE_UPDATE_EXCLUSIVE: frozenset(_MODES[3:]),
    LockMode.SHARE: frozenset((LockMode.ROW_EXCLUSIVE, LockMode.SHARE_UPDATE_EXCLUSIVE, *_MODES[5:])),
    LockMode.SHARE_ROW_EXCLUSIVE: frozenset(_MODES[2:]),
    LockMode.EXCLUSIVE: frozenset(_MODES[1:]),
    LockMode.ACCESS_EXCLUSIVE: frozenset(_MODES),
}

Actor: TypeAlias = int | ServerText
"""Who holds or wants a lock: a backend by pid (of the leader), or a prepared transaction by gid."""


def conflicts(one: LockMode, other: LockMode) -> bool:
    """Return True when two actors cannot hold these modes on one object together."""
    return other in _CONFLICTS[one]


class Wait(Struct, frozen=True, kw_only=True):
    """One request that is not granted, in its place in the queue of its object."""

    actor: Actor
    pid: int
    tag: LockTag
    mode: LockMode
    waited_s: float | None


class LockGraph:
    """The wait graph of one instant. Actors are backends (leaders for their workers) and prepared transactions."""

    def __init__(self, facts: PgLocks) -> None:
        """Group the locks by object; nothing is compared pairwise."""
        self._leaders = {backend.pid: backend.leader_pid or backend.pid for backend in facts.backends}
        gids = {prepared.transaction: prepared.gid for prepared in facts.prepared}
        self._gids = {
            lock.virtualtransaction: gids[lock.tag.transactionid]
            for lock in facts.locks
            if lock.pid is None and lock.tag.locktype == "transactionid" and lock.tag.transactionid in gids
        }
        self._held: dict[LockTag, list[tuple[Actor, LockMode]]] = {}
        waiting: dict[LockTag, list[Wait]] = {}
        for lock in facts.locks:
            actor = self._actor(lock)
            if lock.granted:
                self._held.setdefault(lock.tag, []).append((actor, lock.mode))
            elif lock.pid is not None:
                wait = Wait(actor=actor, pid=lock.pid, tag=lock.tag, mode=lock.mode, waited_s=lock.waited_s)
                waiting.setdefault(lock.tag, []).append(wait)
        self.queues: dict[LockTag, tuple[Wait, ...]] = {
            tag: self._in_queue_order(tag, waits) for tag, waits in waiting.items()
        }

    def _actor(self, lock: Lock) -> Actor:
        if lock.pid is None:
            return self._gids.get(lock.virtualtransaction, ServerText(lock.virtualtransaction))
        return self._leaders.get(lock.pid, lock.pid)

    def _in_queue_order(self, tag: LockTag, waits: list[Wait]) -> tuple[Wait, ...]:
        """Order by arrival, except that a holder goes before the first waiter its own lock keeps waiting."""
        arrived = sorted(waits, key=lambda wait: (-(wait.waited_s or 0.0), wait.pid))
        mine: dict[Actor, list[LockMode]] = {}
        for actor, mode in self._held.get(tag, ()):
            mine.setdefault(actor, []).append(mode)
        queue: list[Wait] = []
        for wait in arrived:
            modes = mine.get(wait.actor, ())
            place = len(queue)
            if modes:
                place = next(
                    (at for at, ahead in enumerate(queue) if any(conflicts(ahead.mode, mode) for mode in modes)), place
                )
            queue.insert(place, wait)
        return tuple(queue)

    @cached_property
    def waits(self) -> dict[Actor, Wait]:
        """The request each waiting actor is stuck on; of several (parallel workers), the longest."""
        found: dict[Actor, Wait] = {}
        for queue in self.queues.values():
            for wait in queue:
                known = found.get(wait.actor)
                if known is None or (wait.waited_s or 0.0) > (known.waited_s or 0.0):
                    found[wait.actor] = wait
        return found

    def holders(self, wait: Wait) -> Iterator[tuple[Actor, LockMode]]:
        """Yield who holds a conflicting lock: the hard edges of a request."""
        for actor, mode in self._held.get(wait.tag, ()):
            if actor != wait.actor and conflicts(wait.mode, mode):
                yield actor, mode

    def ahead(self, wait: Wait) -> Iterator[Wait]:
        """Yield the earlier conflicting requests of the queue: the soft edges of a request."""
        for other in self.queues[wait.tag]:
            if other is wait:
                return
            if other.actor != wait.actor and conflicts(wait.mode, other.mode):
                yield other

    def blocker(self, wait: Wait) -> tuple[Actor, str] | None:
        """Return the first thing in the way of a request: ("hard" holder, else "soft" earlier request)."""
        for actor, _ in self.holders(wait):
            return actor, "hard"
        for other in self.ahead(wait):
            return other.actor, "soft"
        return None

    def root(self, actor: Actor) -> Actor:
        """Follow the edges to an actor that waits for nobody; in a cycle, stop where it closes."""
        seen: set[Actor] = set()
        while actor not in seen:
            seen.add(actor)
            wait = self.waits.get(actor)
            blocker = self.blocker(wait) if wait else None
            if blocker is None:
                return actor
            actor = blocker[0]
        return actor

    def roots(self, actor: Actor) -> tuple[Actor, ...]:
        """Return every actor at the end of some path of waiting, nearest first; none within a pure cycle."""
        found: list[Actor] = []
        seen: set[Actor] = {actor}
        near = [actor]
        while near:
            here = near.pop(0)
            wait = self.waits.get(here)
            if wait is None:
                found.append(here)
                continue
            holders = list(dict.fromkeys(holder for holder, _ in self.holders(wait)))
            nexts = holders or [other.actor for other in self.ahead(wait)][:1]  # its queue's head leads on
            near += [other for other in nexts if other not in seen]
            seen.update(nexts)
        return tuple(found)

    def freed_by(self, *gone: Actor) -> frozenset[Actor]:
        """Return who goes free in the end when all of `gone` end or have their requests cancelled.

        Whoever is freed is taken to finish and release in its turn: the actors all of whose
        paths of waiting lead through `gone` (its dominated set).
        """
        out: set[Actor] = set(gone)
        changed = True
        while changed:
            changed = False
            for tag, queue in self.queues.items():
                held = {mode for actor, mode in self._held.get(tag, ()) if actor not in out}
                own = {actor for actor, _ in self._held.get(tag, ())}
                ahead: set[LockMode] = set()
                for wait in queue:
                    if wait.actor in out:
                        continue
                    others = self._modes_of_others(tag, wait.actor, out) if wait.actor in own else held
                    if _CONFLICTS[wait.mode].isdisjoint(others | ahead):
                        out.add(wait.actor)
                        changed = True
                    else:
                        ahead.add(wait.mode)
        return frozenset(actor for actor in out.difference(gone) if actor in self.waits)

    def _modes_of_others(self, tag: LockTag, actor: Actor, out: set[Actor]) -> set[LockMode]:
        return {mode for holder, mode in self._held.get(tag, ()) if holder != actor and holder not in out}


class WaitRow(Row, frozen=True, kw_only=True):
    """One row of `facts.waits[]`."""

    pid: int
    blocked_by: tuple[int, ...]
    root_pid: int | None
    relation: ServerText
    mode: LockMode
    waiting_s: float | None
    kind: str
    query: SqlText


_MOST_NAMED_BLOCKERS: Final = 8  # a row is for reading; the graph itself has them all


def wait_rows(facts: PgLocks) -> tuple[WaitRow, ...]:
    """Return the waits, longest first, with the first few backends in the way of each."""
    graph = LockGraph(facts)
    queries = {backend.pid: backend.query for backend in facts.backends}
    rows = []
    for tag, queue in graph.queues.items():
        for wait in queue if facts.asked_for(tag) else ():
            blocker = graph.blocker(wait)
            if blocker is None:
                continue
            root = graph.root(wait.actor)
            rows.append(
                WaitRow(
                    target=facts.target.name,
                    pid=wait.pid,
                    blocked_by=_first_pids(
                        chain((actor for actor, _ in graph.holders(wait)), (other.actor for other in graph.ahead(wait)))
                    ),
                    root_pid=root if isinstance(root, int) else None,
                    relation=facts.relation_name(wait.tag) if wait.tag.relation else ServerText(wait.tag.locktype),
                    mode=wait.mode,
                    waiting_s=wait.waited_s,
                    kind=blocker[1],
                    query=queries.get(Pid(wait.pid), SqlText("")),
                )
            )
    return tuple(sorted(rows, key=lambda row: -(row.waiting_s or 0.0)))


def _first_pids(actors: Iterable[Actor]) -> tuple[int, ...]:
    pids: list[int] = []
    for actor in actors:
        if isinstance(actor, int) and actor not in pids:
            pids.append(actor)
        if len(pids) == _MOST_NAMED_BLOCKERS:
            break
    return tuple(pids)
