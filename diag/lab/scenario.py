"""Scenarios: which there are, and the process that holds one in effect.

A scenario is a module ``<command>/<check>.py`` (underscores) below a folder of scenarios,
with ``NEEDS``, the kinds of server it breaks, and ``broken(servers)``, a context manager
inside which the fault is in effect. It may have ``OPTIONS``, words the command needs to see
the fault, ``GAPS``, the facts that the fault itself hides, and take ``seed=0``, by which sizes
and choices differ. ``python -m diag.lab.scenario SLUG …`` enters it and
holds it until SIGTERM; only the supervisor starts that.
"""

from __future__ import annotations

import argparse
import importlib.util
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

from diag.errors import DiagError, UsageError
from diag.lab import folders
from diag.lab.servers import Servers
from diag.text import visible

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from types import FrameType, ModuleType

SHIPPED: Final = Path(__file__).resolve().parent
_LOOK_S: Final = 0.02


class Word(Struct, frozen=True, kw_only=True):
    """What the holder reports once: the fault is in effect (`error` empty), or why it is not."""

    error: str = ""
    hint: str = ""


def slugs(folder: Path = SHIPPED) -> tuple[str, ...]:
    """List the scenarios in `folder` as ``command/check``, by looking at file names only."""
    found = (path for path in folder.glob("*/*.py") if not path.name.startswith("_"))
    return tuple(sorted(f"{path.parent.name}/{path.stem}".replace("_", "-") for path in found))


def file_of(slug: str, folder: Path = SHIPPED) -> Path:
    """Return the file of a scenario. Raises UsageError when there is no such scenario."""
    known = slugs(folder)
    if slug not in known:
        msg = f"The lab has no scenario called {visible(slug)}."
        raise UsageError(msg, hint=f"It has {', '.join(known)}." if known else "This build of diag ships none.")
    return folder / (slug.replace("-", "_") + ".py")


def hold(slug: str, folder: Path, servers: Servers, report: Path) -> None:
    """Enter the scenario, write a `Word` to `report`, stay until SIGTERM or SIGINT, and leave it in order."""
    asked_to_leave = False
    in_effect = False

    def leave(_number: int, _frame: FrameType | None) -> None:
        nonlocal asked_to_leave
        asked_to_leave = True
        if not in_effect:  # still being set up: unwind from wherever it is
            raise SystemExit

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)
    with _broken(slug, folder, servers):
        in_effect = True
        folders.write_whole(report, msgspec.json.encode(Word()))
        while not asked_to_leave:
            time.sleep(_LOOK_S)


def _broken(slug: str, folder: Path, servers: Servers) -> AbstractContextManager[None]:
    module = _load(file_of(slug, folder), slug)
    missing = [kind for kind in module.NEEDS if getattr(servers, kind, None) is None]
    if missing:
        msg = f"The scenario {slug} needs {' and '.join(missing)}, which this lab does not run."
        raise UsageError(msg, hint=f"diag lab down, then diag lab up {' '.join(module.NEEDS)}")
    broken: AbstractContextManager[None] = module.broken(servers)
    return broken


def _load(file: Path, slug: str) -> ModuleType:
    """Import one scenario by its file, so that a folder of them need be no package."""
    name = "diag.lab." + slug.replace("-", "_").replace("/", ".")
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        msg = f"{file} is not a Python module."
        raise DiagError(msg)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # type hints of Structs in the module are looked up there
    spec.loader.exec_module(module)
    return module


def main(arguments: list[str] | None = None) -> None:
    """Hold one scenario; what goes wrong is reported to the supervisor, the traceback to the log."""
    parser = argparse.ArgumentParser(prog="python -m diag.lab.scenario")
    parser.add_argument("slug")
    for name in ("--folder", "--servers", "--report"):
        parser.add_argument(name, type=Path, required=True)
    asked = parser.parse_args(arguments)
    word: Word | None = Word(error=f"The scenario {asked.slug} failed; its traceback is in the log.")
    try:
        servers = msgspec.json.decode(asked.servers.read_bytes(), type=Servers)
        hold(asked.slug, asked.folder, servers, asked.report)
        word = None
    except DiagError as error:
        traceback.print_exc()
        word = Word(error=error.message, hint=error.hint)
    except SystemExit:  # asked to leave before the fault was in effect
        word = None
    finally:
        if word is not None:
            folders.write_whole(asked.report, msgspec.json.encode(word))
    if word is not None:
        sys.exit(1)


if __name__ == "__main__":
    main()
