"""The lab's state file: who runs the lab, where, and what is broken at the moment.

Mode 0600, replaced as a whole. It is believed only while its supervisor is alive: same
pid, same start, same user. Nothing is ever signalled because of what stands in it.
"""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from diag import places
from diag.errors import DiagError
from diag.lab import folders, process
from diag.lab.process import Identity
from diag.lab.servers import Servers

NONCE_FILE: Final = "lab-nonce"  # lies beside each server's data folder
_OTHERS_MAY_WRITE: Final = 0o022


class Fault(Struct, frozen=True, kw_only=True):
    """A scenario that is in effect, and the process that holds it."""

    slug: str
    holder: Identity


class LabState(Struct, frozen=True, kw_only=True):
    """One lab. `note` is a sentence for the person, such as what was cleaned up after the lab before."""

    nonce: str
    supervisor: Identity
    started_at: datetime
    folder: str
    socket: str
    scenarios: str
    servers: Servers
    broken: tuple[Fault, ...] = ()
    note: str = ""


def lab_folder() -> Path:
    """Return the folder of the state file, the lock and the supervisor's log."""
    return places.state() / "lab"


def state_file() -> Path:
    """Return the path of the state file; it need not exist."""
    return lab_folder() / "state.json"


def read() -> LabState | None:
    """Return what the state file says, true or not, or None when there is none.

    Raises DiagError when it is another user's, open to others, or not a state file.
    """
    path = state_file()
    try:
        with path.open("rb") as file:
            facts = os.fstat(file.fileno())
            content = file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        msg = f"The lab's state file {path} cannot be read: {error.strerror}."
        raise DiagError(msg) from error
    if facts.st_uid != os.geteuid() or facts.st_mode & _OTHERS_MAY_WRITE:
        msg = f"The lab's state file {path} could have been written by somebody else, so it is not believed."
        raise DiagError(msg, hint=f"Remove it: rm {path}")
    try:
        return msgspec.json.decode(content, type=LabState)
    except msgspec.DecodeError as error:
        msg = f"{path} is not a state file of this version's lab."
        raise DiagError(msg, hint=f"Remove it: rm {path}") from error


def write(state: LabState) -> None:
    """Replace the state file."""
    folders.write_whole(state_file(), msgspec.json.encode(state))


def supervisor_lives(state: LabState) -> bool:
    """Tell whether the supervisor that wrote this state still runs, under our user."""
    return process.is_alive(state.supervisor) and process.owner_uid(state.supervisor.pid) == os.geteuid()


def carries_nonce(folder: Path, nonce: str) -> bool:
    """Tell whether `folder` belongs to the lab with that nonce."""
    try:
        return (folder / NONCE_FILE).read_text("utf-8") == nonce
    except (OSError, UnicodeDecodeError):
        return False


def clear_stale() -> str:
    """Remove what a lab whose supervisor is dead left behind; return a sentence about it, or an empty one.

    Its folder goes only if it carries the nonce. No process is signalled: the lab's
    servers ended with their supervisor, and a pid in an old file may be anybody's now.
    """
    old = read()
    if old is None or supervisor_lives(old):
        return ""
    folder = Path(old.folder)
    if carries_nonce(folder, old.nonce):
        folders.remove(folder)
    state_file().unlink(missing_ok=True)
    return f"The lab before (supervisor pid {old.supervisor.pid}) ended without cleaning up; its files were removed."
