"""What is shown of a backend with an open transaction, and the ways to end it."""

from collections.abc import Iterator

from diag.analysis.xmin_horizon import held_by
from diag.findings import Command, Evidence, Phrase, Quantity, Risk, ShellCommand, Step, say
from diag.findings.commands import cancel_backend, look_at_backend, terminate_backend
from diag.snapshots.postgres import Backend, PgTransactions

_ACTIVITY = "pg_stat_activity"
_POOLED = 3  # sessions from one address: fewer are a program's own


def seen(facts: PgTransactions, backend: Backend) -> Iterator[Evidence]:
    """Yield the evidence on one backend: its transaction, its locks, what it holds back, its client."""
    for name, moment in (
        ("transaction open for", backend.transaction_started_at),
        ("in this state for", backend.state_changed_at),
    ):
        since_s = facts.since_s(moment)
        if since_s is not None:
            yield Evidence(name=name, value=Quantity(since_s, "s"), source=_ACTIVITY)
    if backend.state:
        yield Evidence(name="state", value=backend.state, source=_ACTIVITY)
    yield Evidence(name="locks held", value=Quantity(facts.locks_held.get(backend.pid, 0), "locks"), source="pg_locks")
    yield Evidence(name="holds vacuum back", value=held_back(backend), source="pg_stat_activity.backend_xid, _xmin")
    yield Evidence(name="last statement", value=backend.query, source=_ACTIVITY)
    yield Evidence(name="client", value=backend.application_name, source=_ACTIVITY)
    if backend.client_address is not None:
        yield Evidence(name="client address", value=backend.client_address, source=_ACTIVITY)


def held_back(backend: Backend) -> Phrase:
    """Say whether a backend holds the xmin horizon, and by how much."""
    age = held_by(backend)
    if age is None:
        return say("no: it has neither a snapshot nor a transaction id")
    return say("by {age}", age=Quantity(age, "transactions"))


def look(backend: Backend) -> Step:
    """Look first: its owner may end it without any loss."""
    return Step(
        title=say("See what pid {pid} is doing, and whose it is", pid=backend.pid),
        risk=Risk.READ_ONLY,
        command=look_at_backend(backend.pid),
        expect=say("its state, client and open time are there; if its owner commits or rolls back, nothing is lost"),
    )


def behind_a_pooler(facts: PgTransactions, backend: Backend) -> tuple[Step, ...]:
    """Lead to the real client, where so many sessions share one address that a pooler may stand there."""
    address = backend.client_address
    alike = sum(one.client_address == address for one in facts.backends)
    if address is None or alike < _POOLED:
        return ()
    console = ("psql", ("--host=", address), "--port=6432", "--dbname=pgbouncer")
    return (
        Step(
            title=say(
                "{n} come from {address}: if that is pgbouncer, find the client behind pid {pid} on its console",
                n=Quantity(alike, "sessions"),
                address=address,
                pid=backend.pid,
            ),
            risk=Risk.READ_ONLY,
            command=ShellCommand((*console, "--command=SHOW SERVERS", "--command=SHOW CLIENTS")),
            expect=say(
                "the server with remote_pid {pid} has in link the ptr of a client: its addr and port are the real ones",
                pid=backend.pid,
            ),
        ),
    )


def end(backend: Backend) -> Step:
    """Cancel what runs, end what is idle: an idle session has nothing to cancel."""
    running = backend.state == "active"
    signal = cancel_backend if running else terminate_backend
    verb = say("Cancel the running statement of") if running else say("End")
    command: Command = signal(backend.pid, backend.backend_started_at)
    return Step(
        title=say("{verb} pid {pid}, if its owner cannot", verb=verb, pid=backend.pid),
        risk=Risk.DISRUPTIVE,
        command=command,
        expect=say("its transaction is rolled back; whoever ran it sees an error"),
    )
