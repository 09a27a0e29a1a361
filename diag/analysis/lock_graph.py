"""Who waits for whom, from one reading of pg_locks.

A request waits for holders of a conflicting mode (hard edges) and for earlier requests in
its queue that it must not overtake (soft edges). Queues are kept per locked object, so the
work grows with the number of waiters, not with its square.
Source: PostgreSQL manual, "Explicit Locking", table "Conflicting Lock Modes"; the order of a
queue: `JoinWaitQueue` in storage/lmgr/proc.c and the README beside it.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from heapq import merge
from itertools import chain
from operator import itemgetter
from typing import Final, Generic, TypeAlias, TypeVar

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


T = TypeVar("T")


class _InOrder(Generic[T]):
    """Things in order, grouped by lock mode: those in conflict with a mode are found without a look at the rest."""

    def __init__(self, things: Iterable[tuple[LockMode, T]]) -> None:
        self._of_mode: dict[LockMode, list[tuple[int, T]]] = {}
        for place, (mode, thing) in enumerate(things):
            self._of_mode.setdefault(mode, []).append((place, thing))

    def in_conflict(self, mode: LockMode) -> Iterator[tuple[int, T]]:
        """Yield place and thing, in order, where the modes cannot be held together."""
        return merge(*(self._of_mode.get(other, ()) for other in _CONFLICTS[mode]), key=itemgetter(0))


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
        held: dict[LockTag, list[tuple[Actor, LockMode]]] = {}
        waiting: dict[LockTag, list[Wait]] = {}
        for lock in facts.locks:
            actor = self._actor(lock)
            if lock.granted:
                held.setdefault(lock.tag, []).append((actor, lock.mode))
            elif lock.pid is not None:
                wait = Wait(actor=actor, pid=lock.pid, tag=lock.tag, mode=lock.mode, waited_s=lock.waited_s)
                waiting.setdefault(lock.tag, []).append(wait)
        self._blocked_by = facts.blocked_by
        self._held = {tag: held.get(tag, []) for tag in waiting}  # where nobody waits, nobody is in the way
        self.queues: dict[LockTag, tuple[Wait, ...]] = {
            tag: self._in_queue_order(tag, waits) for tag, waits in waiting.items()
        }
        self._holders = {tag: _InOrder((mode, (actor, mode)) for actor, mode in of) for tag, of in self._held.items()}
        self._queued = {tag: _InOrder((wait.mode, wait) for wait in queue) for tag, queue in self.queues.items()}
        self._places = {id(wait): place for queue in self.queues.values() for place, wait in enumerate(queue)}
        self._roots: dict[Actor, Actor] = {}

    def _actor(self, lock: Lock) -> Actor:
        if lock.pid is None:
            return self._gids.get(lock.virtualtransaction, ServerText(lock.virtualtransaction))
        return self._leaders.get(lock.pid, lock.pid)

    def _in_queue_order(self, tag: LockTag, waits: list[Wait]) -> tuple[Wait, ...]:
        """Order by arrival, except that a holder goes before the first waiter its own lock keeps waiting."""
        arrived = sorted(waits, key=lambda wait: (-(wait.waited_s or 0.0), wait.pid))
        if any(wait.pid in self._blocked_by for wait in waits):
            return _in_told_order(arrived, self._blocked_by)
        mine: dict[Actor, list[LockMode]] = {}
        for actor, mode in self._held.get(tag, ()):
            mine.setdefault(actor, []).append(mode)
        queue: list[Wait] = []
        first: dict[LockMode, int] = {}  # where the first request of each mode stands
        for wait in arrived:
            kept_waiting = {mode for own in mine.get(wait.actor, ()) for mode in _CONFLICTS[own]}
            place = min((first[mode] for mode in kept_waiting if mode in first), default=len(queue))
            queue.insert(place, wait)
            if place < len(queue) - 1:
                first = {mode: at + (at >= place) for mode, at in first.items()}
            first[wait.mode] = min(first.get(wait.mode, place), place)
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
        for _, (actor, mode) in self._holders[wait.tag].in_conflict(wait.mode):
            if actor != wait.actor:
                yield actor, mode

    def ahead(self, wait: Wait) -> Iterator[Wait]:
        """Yield the earlier conflicting requests of the queue: the soft edges of a request."""
        mine = self._places[id(wait)]
        for place, other in self._queued[wait.tag].in_conflict(wait.mode):
            if place >= mine:
                return
            if other.actor != wait.actor:
                yield other

    def blocker(self, wait: Wait) -> tuple[Actor, str, LockMode] | None:
        """Return the first in the way of a request, with the mode it has: a "hard" holder, else a "soft" request."""
        for actor, mode in self.holders(wait):
            return actor, "hard", mode
        for other in self.ahead(wait):
            return other.actor, "soft", other.mode
        return None

    def root(self, actor: Actor) -> Actor:
        """Follow the edges to an actor that waits for nobody; in a cycle, stop where it closes."""
        path: dict[Actor, None] = {}
        while actor not in path:
            if actor in self._roots:
                actor = self._roots[actor]
                break
            path[actor] = None
            wait = self.waits.get(actor)
            blocker = self.blocker(wait) if wait else None
            if blocker is None:
                break
            actor = blocker[0]
        else:
            return actor  # of a cycle the answer depends on where one came from
        self._roots.update(dict.fromkeys(path, actor))
        return actor

    def roots(self, actor: Actor) -> tuple[Actor, ...]:
        """Return every actor at the end of some path of waiting, nearest first; none within a pure cycle."""
        found: list[Actor] = []
        seen: set[Actor] = {actor}
        near = deque([actor])
        while near:
            here = near.popleft()
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
        leaving = _Leaving(self._held, self.queues, self._mine, self._waiting_in)
        for actor in gone:
            leaving.leave(actor)
        leaving.settle()
        return frozenset(actor for actor in leaving.out.difference(gone) if actor in self.waits)

    def cycles(self) -> tuple[tuple[Actor, ...], ...]:
        """Return the cycles of waiting: actors that would not go on whoever outside their cycle ended."""
        leaving = _Leaving(self._held, self.queues, self._mine, self._waiting_in)
        for holder in self._mine:
            if holder not in self.waits:
                leaving.leave(holder)
        leaving.settle()
        stuck = {waiter: wait for waiter, wait in self.waits.items() if waiter not in leaving.out}
        found: list[tuple[Actor, ...]] = []
        seen: set[Actor] = set()
        for start in stuck:
            path: list[Actor] = []
            actor: Actor | None = start
            while actor is not None and actor not in seen:
                seen.add(actor)
                path.append(actor)
                in_the_way = chain((who for who, _ in self.holders(stuck[actor])), self._ahead_of(stuck[actor]))
                actor = next((other for other in in_the_way if other in stuck), None)
            if actor in path:
                found.append(tuple(path[path.index(actor) :]))
        return tuple(found)

    def _ahead_of(self, wait: Wait) -> Iterator[Actor]:
        return (other.actor for other in self.ahead(wait))

    @cached_property
    def _mine(self) -> dict[Actor, list[tuple[LockTag, LockMode]]]:
        """What each actor holds where somebody waits."""
        found: dict[Actor, list[tuple[LockTag, LockMode]]] = {}
        for tag, holders in self._held.items():
            for actor, mode in holders:
                found.setdefault(actor, []).append((tag, mode))
        return found

    @cached_property
    def _waiting_in(self) -> dict[Actor, list[LockTag]]:
        found: dict[Actor, list[LockTag]] = {}
        for tag, queue in self.queues.items():
            for wait in queue:
                found.setdefault(wait.actor, []).append(tag)
        return found


def _in_told_order(arrived: list[Wait], blocked_by: Mapping[Pid, tuple[int, ...]]) -> tuple[Wait, ...]:
    """Order a queue by the server's own word on who blocks whom; where it says nothing, as they seem to have come."""
    here = {wait.pid: wait for wait in arrived}
    before = {pid: {other for other in blocked_by.get(Pid(pid), ()) if other in here and other != pid} for pid in here}
    behind: dict[int, list[int]] = {}
    for pid, others in before.items():
        for other in others:
            behind.setdefault(other, []).append(pid)
    ready = deque(pid for pid, others in before.items() if not others)
    order: dict[int, None] = {}
    while ready:
        pid = ready.popleft()
        order[pid] = None
        for later in behind.get(pid, ()):
            before[later].discard(pid)
            if not before[later]:
                ready.append(later)
    return tuple(here[pid] for pid in (*order, *(pid for pid in here if pid not in order)))


class _Leaving:
    """Lets actors go one after the other; a queue is looked at again only when something about it has changed."""

    def __init__(
        self,
        held: dict[LockTag, list[tuple[Actor, LockMode]]],
        queues: dict[LockTag, tuple[Wait, ...]],
        mine: dict[Actor, list[tuple[LockTag, LockMode]]],
        waiting_in: dict[Actor, list[LockTag]],
    ) -> None:
        self.out: set[Actor] = set()
        self._queues, self._mine, self._waiting_in = queues, mine, waiting_in
        self._left = {tag: Counter(mode for _, mode in holders) for tag, holders in held.items()}
        self._changed: dict[LockTag, None] = dict.fromkeys(queues)

    def leave(self, actor: Actor, here: LockTag | None = None) -> None:
        """Let an actor go; `here` is the queue that is being looked at, and knows already."""
        self.out.add(actor)
        for tag, mode in self._mine.get(actor, ()):
            self._left[tag][mode] -= 1
            self._changed[tag] = None
        self._changed.update((tag, None) for tag in self._waiting_in.get(actor, ()) if tag != here)

    def settle(self) -> None:
        """Let everybody go whom nobody that is left keeps waiting."""
        while self._changed:
            tag = next(iter(self._changed))
            del self._changed[tag]
            ahead: set[LockMode] = set()
            for wait in self._queues[tag]:
                if wait.actor in self.out:
                    continue
                own = Counter(mode for other, mode in self._mine.get(wait.actor, ()) if other == tag)
                others = {mode for mode, count in self._left[tag].items() if count > own[mode]}
                if _CONFLICTS[wait.mode].isdisjoint(others | ahead):
                    self.leave(wait.actor, tag)
                else:
                    ahead.add(wait.mode)


_GRAPHS: Final[list[tuple[PgLocks, LockGraph]]] = []
_MOST_KEPT: Final = 4  # targets of one look


def graph_of(facts: PgLocks) -> LockGraph:
    """Return the graph of a snapshot, made once for all checks; snapshots are told apart by identity."""
    for known, graph in _GRAPHS:
        if known is facts:
            return graph
    _GRAPHS[_MOST_KEPT - 1 :] = []
    _GRAPHS.insert(0, (facts, LockGraph(facts)))
    return _GRAPHS[0][1]


class WaitRow(Row, frozen=True, kw_only=True):
    """One row of `facts.waits[]`.

    The root is a backend, or a prepared transaction by its gid.
    `mode` is what it wants, `blocking_mode` what the first in its way holds (hard) or wants (soft).
    """

    pid: int
    blocked_by: tuple[int, ...]
    root_pid: int | None
    root_gid: ServerText | None
    relation: ServerText
    mode: LockMode
    waiting_s: float | None
    kind: str
    blocking_mode: LockMode
    query: SqlText


_MOST_NAMED_BLOCKERS: Final = 8  # a row is for reading; the graph itself has them all


def wait_rows(facts: PgLocks) -> tuple[WaitRow, ...]:
    """Return the waits, longest first, with the first few backends in the way of each."""
    graph = graph_of(facts)
    queries = {backend.pid: backend.query for backend in facts.backends}
    rows = []
    for tag, queue in graph.queues.items():
        name = facts.relation_name(tag) if tag.relation else ServerText(tag.locktype)
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
                    root_gid=None if isinstance(root, int) else root,
                    relation=name,
                    mode=wait.mode,
                    waiting_s=wait.waited_s,
                    kind=blocker[1],
                    blocking_mode=blocker[2],
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
