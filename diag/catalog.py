"""Which checks exist: by listing files, importing none.

`diag/checks/pg_locks/lock_queue.py` is the check `pg-locks/lock-queue`.
"""

from __future__ import annotations

import difflib
from pathlib import Path

from diag.errors import UsageError
from diag.text import visible

_CHECKS = Path(__file__).resolve().parent / "checks"


def commands() -> tuple[str, ...]:
    """Return the diagnostic commands, in the order of the alphabet."""
    return tuple(sorted(_slug(entry.name) for entry in _CHECKS.iterdir() if (entry / "__init__.py").is_file()))


def slugs(command: str = "") -> tuple[str, ...]:
    """Return the slugs of one command, or of all."""
    wanted = (command,) if command else commands()
    return tuple(
        f"{name}/{_slug(file.stem)}"
        for name in wanted
        for file in sorted((_CHECKS / _file(name)).glob("*.py"))
        if not file.stem.startswith("_")
    )


def command_module(command: str) -> str:
    """Return the import name of the folder of a command."""
    return f"diag.checks.{_file(command)}"


def check_module(slug: str) -> str:
    """Return the import name of a check."""
    return f"diag.checks.{_file(slug).replace('/', '.')}"


def known(slug: str, command: str = "") -> str:
    """Return the full slug for `slug` (its command may be left out). Raises `UsageError`, naming near matches."""
    every = slugs(command)
    full = slug if "/" in slug or not command else f"{command}/{slug}"
    if full in every:
        return full
    near = difflib.get_close_matches(full, every, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else "diag checks list names them all"
    message = f"there is no check {visible(slug)!r}"
    raise UsageError(message, hint=hint)


def _slug(name: str) -> str:
    return name.replace("_", "-")


def _file(slug: str) -> str:
    return slug.replace("-", "_")
