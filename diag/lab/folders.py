"""Private folders, locks and whole-file writes of the lab."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from diag.errors import DiagError
from diag.lab import process

if TYPE_CHECKING:
    from collections.abc import Iterator

_PREFIX: Final = "diag-lab-"
_OWNER: Final = "owner.json"
_SOCKET_PATH_BYTES: Final = 107  # sun_path of unix(7), less its closing zero


def private_folder() -> Path:
    """Make an empty temporary folder that other users cannot list.

    They may pass through when this is root, because PostgreSQL then runs as another user.
    Folders that a killed owner left behind are removed first.
    """
    _sweep()
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    folder.chmod(0o711 if os.geteuid() == 0 else 0o700)
    write_whole(folder / _OWNER, msgspec.json.encode(process.identity(os.getpid())))
    return folder


def remove(folder: Path) -> None:
    """Remove a folder and all in it; one that is gone already is fine."""
    with suppress(FileNotFoundError):
        shutil.rmtree(folder)


def make(folder: Path) -> Path:
    """Make a folder of the person's own (mode 0700) with its parents. Raises DiagError when that fails."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        msg = f"The folder {folder} cannot be made: {error.strerror}."
        raise DiagError(msg) from error
    return folder


def must_be_passable(folder: Path) -> None:
    """Raise DiagError when another user could not reach `folder` (for a server that runs as one)."""
    for parent in folder.resolve().parents:
        if not parent.stat().st_mode & 0o001:
            msg = f"Another user cannot pass through {parent}, so no server can run below it as that user."
            raise DiagError(msg, hint="Use a folder that diag.lab.folders.private_folder made.")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an advisory lock on `path`; the kernel frees it when this process ends, however it ends.

    Raises DiagError when the file cannot be written.
    """
    make(path.parent)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        msg = f"{path} cannot be written: {error.strerror}."
        raise DiagError(msg) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file of mode 0600 so that a reader sees the old content or the new one, never a part."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")  # mkstemp: mode 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        Path(name).replace(path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise


def fits_a_socket(path: Path) -> bool:
    """Tell whether a Unix socket can have this path."""
    return len(os.fsencode(path)) <= _SOCKET_PATH_BYTES


def _sweep() -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        try:
            if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
                continue
            owner = msgspec.json.decode((folder / _OWNER).read_bytes(), type=process.Identity)
        except (OSError, msgspec.DecodeError):  # just being made or removed, or not ours: leave it
            continue
        if not process.is_alive(owner):
            shutil.rmtree(folder, ignore_errors=True)  # another sweep may be at it too
