"""What the supervisor does with its servers: start, break, heal, close; and whom it may touch."""

from __future__ import annotations

import os
import pwd
import secrets
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

import diag
from diag.errors import DiagError, UsageError
from diag.lab import folders, process, scenario, services
from diag.lab import state as states
from diag.lab.servers import KINDS, Server, Servers, folder_of, identity_of, stop_signal
from diag.lab.state import Fault, LabState
from diag.text import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

_SET_UP_S: Final = 120.0  # a scenario may have to fill a topic first
_LEAVE_S: Final = 60.0  # what its context manager may take to undo it: a broker may have to start again


class Keeper:
    """Owns one lab. Use it from the main thread; `close` it in the end."""

    def __init__(self, scenarios: Path, note: str) -> None:
        """Take a private folder; nothing runs yet."""
        folder = folders.private_folder()
        supervisor = process.identity(os.getpid())
        if supervisor is None:
            msg = "The lab needs /proc."
            raise DiagError(msg)
        self._state = LabState(
            nonce=secrets.token_hex(16),
            supervisor=supervisor,
            started_at=datetime.now(UTC),
            folder=str(folder),
            socket=str(folder / "socket"),
            scenarios=str(scenarios),
            servers=Servers(),
            note=note,
        )
        folders.write_whole(folder / states.NONCE_FILE, self._state.nonce.encode())

    def look(self) -> LabState:
        """Return the lab as it is now; a scenario whose holder ended on its own is dropped, with a note."""
        gone = [fault for fault in self._state.broken if not process.is_alive(fault.holder)]
        for fault in gone:
            process.stop(fault.holder.pid, signal.SIGKILL)  # reaps it and whatever it started
            self._forget(fault, note=f"The scenario {fault.slug} ended on its own: {self._holder_words()}")
        return self._state

    def start(self, kinds: Sequence[str]) -> None:
        """Start the servers, one after the other, and write the state file. Raises as `services.start`."""
        servers = {}
        for kind in KINDS:
            if kind in kinds:
                folder = Path(self._state.folder) / kind
                servers[kind] = services.start(kind, folder)
                folders.write_whole(folder / states.NONCE_FILE, self._state.nonce.encode())
        self._replace(servers=msgspec.structs.replace(Servers(), **servers))

    def break_(self, slug: str) -> None:
        """Put a scenario into effect. Raises UsageError for one there is not, DiagError when it fails."""
        scenario.file_of(slug, Path(self._state.scenarios))
        if slug in {fault.slug for fault in self.look().broken}:
            msg = f"The scenario {slug} is in effect already."
            raise UsageError(msg, hint=f"diag lab heal {slug}")
        self._confirm()
        holder = self._hold(slug)
        self._replace(broken=(*self._state.broken, Fault(slug=slug, holder=holder)))

    def heal(self, slug: str) -> None:
        """End one scenario, or all of them when `slug` is empty; return when each has undone its fault.

        Raises UsageError when that one is not in effect, DiagError when one could not undo its fault.
        """
        chosen = [fault for fault in self.look().broken if slug in {"", fault.slug}]
        if slug and not chosen:
            msg = f"The scenario {visible(slug)} is not in effect."
            raise UsageError(msg, hint="diag lab status")
        failed = []
        for fault in reversed(chosen):
            code = process.stop(fault.holder.pid, signal.SIGTERM, patience_s=_LEAVE_S)
            self._forget(fault)
            if code:
                failed.append(fault.slug)
        if failed:
            msg = f"The scenario {', '.join(failed)} did not undo its fault: {self._holder_words()}"
            raise DiagError(msg, hint="diag lab down, then diag lab up")

    def close(self) -> None:
        """Heal, stop every child by its pid, and remove the folder and the state file, if these are still ours."""
        for fault in reversed(self._state.broken):
            process.stop(fault.holder.pid, signal.SIGTERM, patience_s=_LEAVE_S)
        for server in reversed(self._state.servers.running):
            if process.is_child(server.pid):
                process.stop(server.pid, stop_signal(server))
        process.stop_all()
        folder = Path(self._state.folder)
        if states.carries_nonce(folder, self._state.nonce):
            folders.remove(folder)
        if self._file_is_ours():
            states.state_file().unlink(missing_ok=True)

    def _hold(self, slug: str) -> process.Identity:
        folder = Path(self._state.folder)
        given, report = folder / "scenario-servers.json", folder / "scenario-report.json"
        folders.write_whole(given, msgspec.json.encode(self._state.servers))
        report.unlink(missing_ok=True)
        module = [sys.executable, "-P", "-m", "diag.lab.scenario", slug]
        paths = ["--folder", self._state.scenarios, "--servers", str(given), "--report", str(report)]
        pid = process.spawn([*module, *paths], log=self._holder_log(), env=environment(), cwd=folder)
        settled = process.wait_until(lambda: report.exists() or process.exit_code(pid) is not None, _SET_UP_S)
        holder = process.identity(pid)
        try:
            word = msgspec.json.decode(report.read_bytes(), type=scenario.Word)
        except (OSError, msgspec.DecodeError):
            took = "ended" if settled else f"was not in effect after {_SET_UP_S:.0f} s"
            word = scenario.Word(error=f"The scenario {slug} {took}: {self._holder_words()}")
        if holder is not None and not word.error:
            return holder
        process.stop(pid, signal.SIGTERM)
        why = word.error or f"The scenario {slug} ended at once."
        raise DiagError(why, hint=word.hint or f"See {self._holder_log()}")

    def _confirm(self) -> None:
        """Raise DiagError unless file, nonce, pid, start and user of every server are as this process left them."""
        if not self._file_is_ours():
            msg = "The lab's state file was changed by somebody else, so nothing was done."
            raise DiagError(msg, hint="diag lab down, then diag lab up")
        for server in self._state.servers.running:
            if not self._is_ours(server):
                msg = f"The lab's {server.kind} (pid {server.pid}) is not running as it was started."
                raise DiagError(msg, hint="diag lab down, then diag lab up")

    def _file_is_ours(self) -> bool:
        try:
            found = states.read()
        except DiagError:
            return False
        return found is not None and (found.nonce, found.servers) == (self._state.nonce, self._state.servers)

    def _is_ours(self, server: Server) -> bool:
        users = {os.geteuid()}
        if server.kind == "postgres" and os.geteuid() == 0:
            users.add(pwd.getpwnam("postgres").pw_uid)
        return (
            process.is_child(server.pid)
            and process.is_alive(identity_of(server))
            and process.owner_uid(server.pid) in users
            and states.carries_nonce(folder_of(server), self._state.nonce)
        )

    def _forget(self, gone: Fault, *, note: str = "") -> None:
        left = tuple(fault for fault in self._state.broken if fault != gone)
        self._replace(broken=left, note=note or self._state.note)

    def _replace(self, **changes: object) -> None:
        self._state = msgspec.structs.replace(self._state, **changes)
        states.write(self._state)

    def _holder_log(self) -> Path:
        return Path(self._state.folder) / "scenario.log"

    def _holder_words(self) -> str:
        return process.last_words(self._holder_log())


def environment() -> dict[str, str]:
    """Return the environment in which a child finds this very `diag`, installed or not."""
    here = str(Path(diag.__file__).resolve().parent.parent)
    known = os.environ.get("PYTHONPATH", "")
    return {**os.environ, "PYTHONPATH": f"{here}{os.pathsep}{known}" if known else here}
