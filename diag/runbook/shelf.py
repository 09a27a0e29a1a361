"""The books of a folder: which there are, one of them, and a row for each in a list."""

from __future__ import annotations

import difflib
import hashlib
from typing import TYPE_CHECKING

from msgspec import Struct

from diag.errors import RunbookError, UsageError
from diag.runbook.by_hand import with_by_hand
from diag.runbook.model import Runbook, StepClass
from diag.runbook.parse import parse
from diag.text import visible

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_NEAR = 3  # near matches worth showing on one line


class Row(Struct, frozen=True, kw_only=True):
    """One line of `diag runbook list`. `acts` counts the steps that change something."""

    slug: str
    title: str
    findings: tuple[str, ...]
    steps: int
    acts: int
    owner: str
    expires: str


def books(folder: Path) -> Iterator[Path]:
    """Every book below the folder, `<command>/<check>.md`, in the order of their slugs."""
    yield from sorted(path for path in folder.glob("*/*.md") if path.is_file())


def slug(path: Path) -> str:
    """The slug a book has by its place: its folder and its name without `.md`."""
    return f"{path.parent.name}/{path.stem}"


def load(asked: str, folder: Path) -> Runbook:
    """Read the book of that slug.

    Raises `UsageError` naming near matches when there is none, `RunbookError` when it is not
    well formed or not readable.
    """
    there = {slug(path): path for path in books(folder)}
    if asked not in there:
        near = difflib.get_close_matches(asked, there, n=_NEAR, cutoff=0.4)
        hint = f"did you mean {' or '.join(near)}?" if near else "`diag runbook list` shows every book"
        msg = f"there is no runbook `{visible(asked)}`"
        raise UsageError(msg, hint=hint)
    return read(there[asked])


def read(path: Path) -> Runbook:
    """Read one file. Raises `RunbookError` when it is not well formed or not readable."""
    source = "/".join(path.parts[-2:])
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        msg = f"{path.name} is not UTF-8"
        raise RunbookError(msg, problems=(f"{visible(source)}:1: is not UTF-8 text",)) from error
    except OSError as error:
        msg = f"{visible(source)} cannot be read: {error.strerror}"
        raise RunbookError(msg, problems=(f"{visible(source)}:1: cannot be read",)) from error
    return parse(text, source=source)


def pins(folder: Path) -> dict[str, str]:
    """SHA-256 (hex) of every book by slug: what an `include` is pinned by."""
    return {slug(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in books(folder)}


def rows(folder: Path) -> Iterator[Row]:
    """A row for each book, for the list. Raises `RunbookError` at the first one not well formed."""
    for path in books(folder):
        book = read(path)
        yield Row(
            slug=book.slug,
            title=book.title,
            findings=book.findings,
            steps=len(book.steps),
            acts=sum(step.step_class is StepClass.ACT for step in book.steps),
            owner=book.owner,
            expires=book.reviewed.expires.isoformat(),
        )


def renew(path: Path) -> bool:
    """Make the section "by hand" of one file anew; True when the file changed.

    The file is replaced in one step, so a reader sees the old book or the new one. Raises
    `RunbookError` when the book is not well formed.
    """
    book = read(path)
    text = with_by_hand(book)
    if text == book.text:
        return False
    fresh = path.with_name(f".{path.name}.new")
    try:
        fresh.write_bytes(text.encode())
        fresh.chmod(path.stat().st_mode & 0o777)
        fresh.replace(path)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        msg = f"{visible(str(path))} cannot be written: {error.strerror}"
        raise RunbookError(msg) from error
    return True
