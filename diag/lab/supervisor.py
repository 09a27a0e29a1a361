"""`diag lab up`: one process that owns the servers, holds the faults, and takes orders on a Unix socket.

When it ends, in whatever way, its children end too: each has a parent-death signal. It
signals only its own children (see `keeper`); a configured target is never touched, and
clients signal nobody: they write one line of JSON that carries the lab's nonce.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import secrets
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import msgspec
from msgspec import Struct

from diag.errors import DiagError, UsageError
from diag.lab import folders, process, scenario
from diag.lab import state as states
from diag.lab.keeper import Keeper, environment
from diag.lab.servers import KINDS, MissingServer
from diag.lab.state import LabState
from diag.text import visible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

Command = Literal["status", "break", "heal", "down"]

_UP_S: Final = 900.0  # the first time, jars are fetched
_ANSWER_S: Final = 300.0  # setting a scenario up, or undoing several
_CLIENT_S: Final = 5.0  # what a client may take to say its line
_GONE_S: Final = 30.0
_LINE_BYTES: Final = 4096
_ENDING: Final = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)


class _Order(Struct, frozen=True, kw_only=True):
    nonce: str
    command: Command
    slug: str = ""


class _Reply(Struct, frozen=True, kw_only=True):
    """Either a state, or an error; `kind` keeps the exit codes apart."""

    state: LabState | None = None
    error: str = ""
    hint: str = ""
    kind: Literal["usage", "missing", "other"] = "other"


def up(
    kinds: tuple[str, ...],
    *,
    detached: bool,
    ready: Callable[[LabState], None] | None = None,
    scenarios: Path = scenario.SHIPPED,
) -> LabState:
    """Start a lab with servers of these kinds and return its state.

    Detached, a process of its own supervises it, and this returns once the servers
    answer. Otherwise this process does: `ready` is called once, and `up` returns when
    `down`, SIGINT, SIGTERM or SIGHUP has ended the lab. Raises UsageError for an unknown kind and
    when a lab is up already, MissingServer when something is not installed.
    """
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown or not kinds:
        msg = f"The lab has no server called {visible(unknown[0])}." if unknown else "A lab needs at least one server."
        raise UsageError(msg, hint=f"It has {', '.join(KINDS)}.")
    if detached:
        return _up_detached(kinds, scenarios)
    return _supervise(kinds, scenarios, ready or (lambda _state: None))


def state() -> LabState | None:
    """Return the lab that is up, or None; a state file whose supervisor is dead counts for nothing."""
    found = states.read()
    return found if found is not None and states.supervisor_lives(found) else None


def request(command: Command, slug: str = "") -> LabState:
    """Have the supervisor carry out a command; return the lab's state after it (for `down`: before it).

    `break` returns when the fault is in effect, `heal` when it is undone (every fault,
    without a slug), `down` when nothing of the lab is left. Raises UsageError when no lab
    is up or the slug is wrong, DiagError when the command failed.
    """
    found = states.read()
    if found is None:
        msg = "No lab is up."
        raise UsageError(msg, hint="diag lab up")
    if not states.supervisor_lives(found):
        msg = f"No lab is up: its supervisor (pid {found.supervisor.pid}) ended without cleaning up."
        raise UsageError(msg, hint="diag lab up cleans up after it.")
    if command == "break":
        scenario.file_of(slug, Path(found.scenarios))
    reply = _converse(found, _Order(nonce=found.nonce, command=command, slug=slug))
    if reply.state is None:
        raise _as_error(reply)
    if command == "down":
        process.wait_until(lambda: not process.is_alive(found.supervisor), _GONE_S)
    return reply.state


def _converse(lab: LabState, order: _Order) -> _Reply:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_ANSWER_S)
        try:
            connection.connect(lab.socket)
            connection.sendall(msgspec.json.encode(order) + b"\n")
            with connection.makefile("rb") as answers:
                return msgspec.json.decode(answers.read(), type=_Reply)
        except OSError as error:
            msg = f"The lab's supervisor (pid {lab.supervisor.pid}) does not answer: {error.strerror or error}."
            raise DiagError(msg) from error
        except msgspec.DecodeError as error:
            msg = f"The lab's supervisor (pid {lab.supervisor.pid}) ended before it had answered."
            raise DiagError(msg) from error


def _supervise(kinds: Sequence[str], scenarios: Path, ready: Callable[[LabState], None]) -> LabState:
    with _lock(), _signals_interrupt():
        keeper = Keeper(scenarios, states.clear_stale())
        asker: socket.socket | None = None
        started = False
        try:
            keeper.start(kinds)
            with _listen(Path(keeper.look().socket)) as listener:
                started = True
                ready(keeper.look())
                asker = _serve(keeper, listener)
        except KeyboardInterrupt:
            if not started:
                raise
        finally:
            for number in _ENDING:
                signal.signal(number, lambda *_: None)  # already on the way down
            last = keeper.look()
            keeper.close()
            if asker is not None:
                _answer(asker, _Reply(state=last))
    return last


def _serve(keeper: Keeper, listener: socket.socket) -> socket.socket:
    """Carry out orders until one says `down`; return the connection that waits for its answer."""
    while True:
        connection, _ = listener.accept()
        connection.settimeout(_CLIENT_S)
        order = _order(connection, keeper.look().nonce)
        if isinstance(order, _Reply):
            _answer(connection, order)
        elif order.command == "down":
            return connection
        else:
            _answer(connection, _carry_out(keeper, order))


def _order(connection: socket.socket, nonce: str) -> _Order | _Reply:
    """Read one order, or say what is wrong with it."""
    try:
        with connection.makefile("rb") as lines:
            order = msgspec.json.decode(lines.readline(_LINE_BYTES), type=_Order)
    except (OSError, msgspec.DecodeError):
        return _Reply(error="That was no order of this version's lab.", kind="usage")
    if not secrets.compare_digest(order.nonce.encode(), nonce.encode()):
        return _Reply(error="That order is for another lab.", kind="usage")
    return order


def _carry_out(keeper: Keeper, order: _Order) -> _Reply:
    try:
        match order.command:
            case "break":
                keeper.break_(order.slug)
            case "heal":
                keeper.heal(order.slug)
            case _:
                pass
    except DiagError as error:
        return _as_reply(error)
    return _Reply(state=keeper.look())


def _answer(connection: socket.socket, reply: _Reply) -> None:
    with connection:
        try:
            connection.sendall(msgspec.json.encode(reply))
        except OSError:  # the asker did not wait; what was asked is done all the same
            return


def _as_reply(error: DiagError) -> _Reply:
    match error:
        case UsageError():
            return _Reply(error=error.message, hint=error.hint, kind="usage")
        case MissingServer():
            return _Reply(error=error.message, hint=error.hint, kind="missing")
        case _:
            return _Reply(error=error.message, hint=error.hint)


def _as_error(reply: _Reply) -> DiagError:
    kinds: dict[str, type[DiagError]] = {"usage": UsageError, "missing": MissingServer}
    return kinds.get(reply.kind, DiagError)(reply.error, hint=reply.hint)


def _listen(path: Path) -> socket.socket:
    if not folders.fits_a_socket(path):
        msg = f"The path {path} is too long for a Unix socket."
        raise DiagError(msg, hint="Set TMPDIR to a shorter one.")
    listener = socket.socket(socket.AF_UNIX)
    before = os.umask(0o177)
    try:
        listener.bind(str(path))
        listener.listen()
    finally:
        os.umask(before)
    return listener


@contextmanager
def _lock() -> Iterator[None]:
    """Be the only supervisor. Raises UsageError when there is one already."""
    descriptor = os.open(folders.make(states.lab_folder()) / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        found = states.read()
        who = f" (supervisor pid {found.supervisor.pid})" if found else ""
        msg = f"A lab is up already{who}."
        raise UsageError(msg, hint="diag lab down") from None
    try:
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _signals_interrupt() -> Iterator[None]:
    """Have all of `_ENDING` do what SIGINT does; afterwards each does what it did."""
    before = {number: signal.signal(number, signal.default_int_handler) for number in _ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _up_detached(kinds: Sequence[str], scenarios: Path) -> LabState:
    log = folders.make(states.lab_folder()) / "supervisor.log"
    with log.open("wb") as words:
        log.chmod(0o600)
        command = [sys.executable, "-P", "-m", "diag.lab.supervisor", "--scenarios", str(scenarios), *kinds]
        launcher = subprocess.Popen(  # noqa: S603  argv, no shell
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=words,
            env=environment(),
            start_new_session=True,
        )
    try:
        with launcher:  # it ends at once; its pipe stays open in the supervisor until that has reported
            told, _ = launcher.communicate(timeout=_UP_S)
        reply = msgspec.json.decode(told, type=_Reply)
    except subprocess.TimeoutExpired as error:
        msg = f"The lab was not up after {_UP_S:.0f} s."
        raise DiagError(msg, hint=f"See {log}") from error
    except msgspec.DecodeError as error:
        msg = f"The lab's supervisor ended before it was up: {process.last_words(log)}"
        raise DiagError(msg, hint=f"See {log}") from error
    if reply.state is None:
        raise _as_error(reply)
    return reply.state


def _report(reply: _Reply) -> None:
    """Tell the process that waits, once, and let go of its pipe: the log is the only output from now on."""
    try:
        sys.stdout.buffer.write(msgspec.json.encode(reply))
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise KeyboardInterrupt from None  # it was interrupted, so nobody wants this lab
    finally:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())


def main() -> None:
    """Supervise, detached: `up` starts this and reads the report from standard output."""
    parser = argparse.ArgumentParser(prog="python -m diag.lab.supervisor")
    parser.add_argument("--scenarios", type=Path, required=True)
    parser.add_argument("kinds", nargs="+")
    asked = parser.parse_args()
    if os.fork():
        os._exit(0)  # the supervisor is nobody's child now, so nobody has to reap it
    try:
        _supervise(asked.kinds, asked.scenarios, lambda lab: _report(_Reply(state=lab)))
    except DiagError as error:
        _report(_as_reply(error))
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(1)


if __name__ == "__main__":
    main()
