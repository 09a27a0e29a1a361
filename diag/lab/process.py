"""Child processes that end with their owner, found and stopped by pid, never by name.

The owner is the process that calls `spawn`. Every child gets a parent-death signal
(prctl(2), PR_SET_PDEATHSIG), its own session, and a log file. The signal is tied to the
*thread* that forked, so only the main thread may spawn.
"""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from diag.errors import DiagError
from diag.text import visible

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_HERE: Final = Path(__file__).resolve().parent
_POLL_S: Final = 0.01
_KILLED_S: Final = 10.0  # what the kernel may take to end a killed process under heavy load
_LOG_LINES: Final = 3

_children: Final[dict[int, subprocess.Popen[bytes]]] = {}
_guards: Final[dict[int, subprocess.Popen[bytes]]] = {}


class Identity(Struct, frozen=True):
    """A process told apart from a later one with the same pid.

    `started_ticks` is field 22 of /proc/PID/stat: clock ticks from boot to its start.
    """

    pid: int
    started_ticks: int


def spawn(  # noqa: PLR0913  a process has that many sides
    argv: Sequence[str],
    *,
    log: Path,
    user: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    death_signal: signal.Signals = signal.SIGKILL,
) -> int:
    """Start `argv` as a child that gets `death_signal` when this process ends; return its pid.

    `user` is an operating-system user to become (only root can); `env` replaces the whole
    environment; output is appended to `log`, a file of mode 0600.
    Raises DiagError off the main thread, off Linux, and when `user` does not exist.
    """
    if not sys.platform.startswith("linux"):
        msg = "The lab needs Linux: it relies on parent-death signals and /proc."
        raise DiagError(msg)
    if threading.current_thread() is not threading.main_thread():
        msg = "A lab server can be started from the main thread only."
        raise DiagError(msg)
    uid = gid = -1
    if user is not None:
        try:
            account = pwd.getpwnam(user)
        except KeyError:
            msg = f"There is no operating-system user {visible(user)}."
            raise DiagError(msg, hint="make deps") from None
        uid, gid = account.pw_uid, account.pw_gid
    shim = [sys.executable, "-I", "-S", str(_HERE / "tied.py")]
    tie = [str(os.getpid()), str(int(death_signal)), str(uid), str(gid)]
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        child = subprocess.Popen(  # noqa: S603  argv, no shell
            [*shim, *tie, *argv],
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            env=None if env is None else dict(env),
            cwd=cwd,
            start_new_session=True,
        )
    finally:
        os.close(descriptor)
    _children[child.pid] = child
    return child.pid


def run(  # noqa: PLR0913  as spawn
    argv: Sequence[str],
    *,
    log: Path,
    deadline_s: float,
    user: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> None:
    """Run `argv` to its end. Raises DiagError with the last lines of `log` unless it exits with 0 in time."""
    pid = spawn(argv, log=log, user=user, env=env, cwd=cwd)
    try:
        ended = wait_until(lambda: exit_code(pid) is not None, deadline_s)
        code = exit_code(pid)
    finally:
        stop(pid, signal.SIGKILL)
    name = Path(argv[0]).name
    if not ended:
        msg = f"{name} did not finish within {deadline_s:.0f} s: {last_words(log)}"
        raise DiagError(msg)
    if code:
        msg = f"{name} failed with exit code {code}: {last_words(log)}"
        raise DiagError(msg)


def is_child(pid: int) -> bool:
    """Tell whether this process started `pid` and has not stopped it yet."""
    return pid in _children


def exit_code(pid: int) -> int | None:
    """Return how the child `pid` ended, or None while it runs. Raises DiagError for a pid that is no child."""
    return _child(pid).poll()


def stop(pid: int, how: signal.Signals, *, patience_s: float = 10.0) -> int:
    """End the child `pid` and all it started: `how` first, SIGKILL after `patience_s`.

    Returns the child's exit code (negative: the signal that ended it) when all are gone.

    Raises DiagError, and signals nobody, when `pid` is no child of this process.
    """
    child = _child(pid)
    members = family(pid)
    if child.poll() is None:
        child.send_signal(how)
        if how != signal.SIGKILL:
            _continue(members)  # a stopped process would keep the signal for later
        try:
            child.wait(patience_s)
        except subprocess.TimeoutExpired:
            members = family(pid)
            child.kill()
    code = child.wait(_KILLED_S)
    for member in members[1:]:
        if not wait_until(lambda member=member: not is_alive(member), 1.0):  # type: ignore[misc]
            _signal(member, signal.SIGKILL)
            wait_until(lambda member=member: not is_alive(member), _KILLED_S)  # type: ignore[misc]
    _release_guard(pid)
    del _children[pid]
    return code


def stop_all() -> None:
    """Kill every child that is left, whatever it is."""
    for pid in tuple(_children):
        stop(pid, signal.SIGKILL)


def pause(pid: int) -> None:
    """Stop (SIGSTOP) the child `pid` and all it started, until `resume`.

    A guard process kills them should this process end meanwhile, because a stopped
    process cannot follow its parent-death signal unless that is SIGKILL.
    Raises DiagError when `pid` is no child of this process or has ended.
    """
    child = _child(pid)
    root = identity(pid)
    if root is None or child.poll() is not None:
        msg = f"Process {pid} has ended and cannot be paused."
        raise DiagError(msg)
    if pid not in _guards:
        _guards[pid] = subprocess.Popen(  # noqa: S603  argv, no shell
            [sys.executable, "-I", "-S", str(_HERE / "guard.py"), str(pid), str(root.started_ticks)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    stopped: set[Identity] = set()
    while fresh := [member for member in family(pid) if member not in stopped]:  # parents first: nothing new after
        for member in fresh:
            _signal(member, signal.SIGSTOP)
            stopped.add(member)
    wait_until(lambda: all(_has_stopped(member) for member in stopped), _KILLED_S)


def resume(pid: int) -> None:
    """Let the child `pid` and all it started go on. Raises DiagError when `pid` is no child of this process."""
    _child(pid)
    _continue(family(pid))
    _release_guard(pid)


def identity(pid: int) -> Identity | None:
    """Return who `pid` is now, or None when there is no such process or only its exit status is left."""
    fields = _stat(pid)
    return Identity(pid, int(fields[19])) if fields and fields[0] not in "ZX" else None


def is_alive(who: Identity) -> bool:
    """Tell whether this very process still runs (not a later one with its pid)."""
    return identity(who.pid) == who


def owner_uid(pid: int) -> int | None:
    """Return the user who runs `pid`, or None when it is gone."""
    try:
        return Path(f"/proc/{pid}").stat().st_uid
    except OSError:
        return None


def family(pid: int) -> list[Identity]:
    """List `pid` and everything it started, parents first; empty when `pid` is gone."""
    seen: dict[int, tuple[int, int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))) and fields[0] not in "ZX":
            seen[int(entry.name)] = (int(fields[1]), int(fields[19]))
    if pid not in seen:
        return []
    pids = [pid]
    for known in pids:  # grows while it is walked
        pids.extend(child for child, (parent, _) in seen.items() if parent == known)
    return [Identity(member, seen[member][1]) for member in pids]


def resident_bytes(pid: int) -> int:
    """Return the resident memory of `pid` (VmRSS); 0 when it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text("utf-8")
    except OSError:
        return 0
    lines = (line.split() for line in status.splitlines() if line.startswith("VmRSS:"))
    return next((int(parts[1]) * 1024 for parts in lines), 0)


def wait_until(is_so: Callable[[], bool], deadline_s: float) -> bool:
    """Ask `is_so` until it says yes or `deadline_s` have passed; return its last answer."""
    end_s = time.monotonic() + deadline_s
    while not (answer := is_so()) and time.monotonic() < end_s:
        time.sleep(_POLL_S)
    return answer


def last_words(log: Path) -> str:
    """Return the last lines of a log as one line that is safe to show."""
    try:
        lines = [line.strip() for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
    except OSError:
        lines = []
    return visible(" / ".join(lines[-_LOG_LINES:])) or "it wrote nothing"


def _child(pid: int) -> subprocess.Popen[bytes]:
    child = _children.get(pid)
    if child is None:
        msg = f"Process {pid} was not started here, so it is left alone."
        raise DiagError(msg)
    return child


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the third (state) on; the second may hold anything."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    except OSError:
        return []


def _signal(who: Identity, number: signal.Signals) -> None:
    if is_alive(who):
        try:
            os.kill(who.pid, number)
        except ProcessLookupError:
            return


def _has_stopped(who: Identity) -> bool:
    return not is_alive(who) or _stat(who.pid)[:1] == ["T"]


def _continue(members: Sequence[Identity]) -> None:
    for member in reversed(members):  # children first, so that the parent finds them running
        _signal(member, signal.SIGCONT)


def _release_guard(pid: int) -> None:
    guard = _guards.pop(pid, None)
    if guard is not None:
        try:
            guard.communicate(b"g", timeout=_KILLED_S)
        except BrokenPipeError:  # it has ended on its own
            guard.wait(_KILLED_S)
