"""Random piles of waiting sessions on a real server: "frees N" is predicted, one is really ended, and counted."""

from __future__ import annotations

import random

import psycopg

from diag.analysis.lock_graph import Actor, LockGraph
from diag.config import PostgresTarget
from diag.lab.process import wait_until
from diag.lab.sessions import Sessions, Waiter, sessions
from diag.snapshots.base import Scope
from diag.sources import postgres
from diag.text import ServerText
from diag.wire.probe import Deadline, Probe

_TABLES = ("pile_a", "pile_b", "pile_c")
_MODES = (
    "ACCESS SHARE", "ROW SHARE", "ROW EXCLUSIVE", "SHARE UPDATE EXCLUSIVE",
    "SHARE", "SHARE ROW EXCLUSIVE", "EXCLUSIVE", "ACCESS EXCLUSIVE",
)  # fmt: skip
_PATIENT = "SET deadlock_timeout = '1h'"  # cycles stay, and nobody rearranges a queue meanwhile
_GID = "pile"
_SETTLED_S = 10.0
_SETUP = tuple(f"CREATE TABLE IF NOT EXISTS {name} (id int)" for name in _TABLES)


def trial(dsn: str, seed: int) -> tuple[set[int], set[int]]:
    """Build a pile, end one actor in it, and return who was predicted to go free, and who did (pids)."""
    chance = random.Random(seed)
    with sessions(dsn) as lab:
        lab.setup(*_SETUP)
        prepared = _hold(lab, chance)
        try:
            waiters = _wait(lab, chance)
            graph = LockGraph(_look(dsn))
            everyone = {wait.pid for queue in graph.queues.values() for wait in queue}
            gone = chance.choice(_candidates(graph))
            predicted = {actor for actor in graph.freed_by(gone) if isinstance(actor, int)}
            _end(lab, graph, gone)
            left = everyone - predicted - ({gone} if isinstance(gone, int) else set())
            wait_until(lambda: _waiting(lab) == left and _ended(waiters, predicted), _SETTLED_S)
            real = everyone - _waiting(lab) - {gone}
            prepared = prepared and gone != ServerText(_GID)
        finally:
            if prepared:
                lab.setup(f"ROLLBACK PREPARED '{_GID}'")
    return predicted, real


def _hold(lab: Sessions, chance: random.Random) -> bool:
    """Let one to three sessions take locks and sit there, and perhaps a prepared transaction beside them."""
    for _ in range(chance.randint(1, 3)):
        holder = lab.hold("holder", _PATIENT, "BEGIN")
        for name in chance.sample(_TABLES, chance.randint(1, 2)):
            _try(holder, name, chance)
    if chance.random() < 0.3:
        lab.setup("BEGIN")
        if _try(lab.watcher, chance.choice(_TABLES), chance):
            lab.setup(f"PREPARE TRANSACTION '{_GID}'")
            return True
        lab.setup("ROLLBACK")
    return False


def _try(session: psycopg.Connection, table: str, chance: random.Random) -> bool:
    """Take a lock if it is free; a savepoint keeps the others when it is not."""
    session.execute("SAVEPOINT before")
    try:
        session.execute(f"LOCK TABLE {table} IN {chance.choice(_MODES)} MODE NOWAIT".encode())
    except psycopg.errors.LockNotAvailable:
        session.execute("ROLLBACK TO before")
        return False
    return True


def _wait(lab: Sessions, chance: random.Random) -> list[Waiter]:
    """Let sessions ask one after the other; some hold a lock on another table already. Those granted at once go."""
    waiters: list[Waiter] = []
    wanted = chance.randint(4, 14)
    while len(waiters) < wanted or not _waiting(lab):
        waiter = lab.prepare("waiter", _PATIENT, "BEGIN")
        if chance.random() < 0.5:
            _try(waiter.session, chance.choice(_TABLES), chance)
        waiter.ask(f"LOCK TABLE {chance.choice(_TABLES)} IN {chance.choice(_MODES)} MODE; COMMIT")
        wait_until(lambda asked=waiter: not asked.waits or asked.pid in _waiting(lab), _SETTLED_S)
        waiters.append(waiter)
    return waiters


def _candidates(graph: LockGraph) -> list[Actor]:
    """Whom a person would think of ending: whoever is in somebody's way, and the heads of the queues."""
    found: dict[Actor, None] = {}
    for queue in graph.queues.values():
        for wait in queue:
            found.update((actor, None) for actor, _ in graph.holders(wait))
        found[queue[0].actor] = None
    return list(found)


def _end(lab: Sessions, graph: LockGraph, gone: Actor) -> None:
    """End it as the report would: cancel who waits, terminate who is idle, roll back what is prepared."""
    if not isinstance(gone, int):
        lab.setup(f"ROLLBACK PREPARED '{_GID}'")
    else:
        function = "pg_cancel_backend" if gone in graph.waits else "pg_terminate_backend"
        lab.setup(f"SELECT {function}({gone})")


def _ended(waiters: list[Waiter], pids: set[int]) -> bool:
    return all(not waiter.waits for waiter in waiters if waiter.pid in pids)


def _waiting(lab: Sessions) -> set[int]:
    return {pid for (pid,) in lab.watcher.execute("SELECT pid FROM pg_locks WHERE NOT granted").fetchall()}


def _look(dsn: str):
    probe = Probe(Deadline(10.0), client_name="diag/test")
    with probe, postgres.connect(PostgresTarget(dsn=dsn), probe) as session:
        return postgres.pg_locks(session, Scope())
