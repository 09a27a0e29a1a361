"""Where things live: shipped books and templates, and the person's own folders.

In a wheel, `runbooks/` and `templates/` lie inside the package under `shipped/`; in a
checkout they lie beside it. Own folders follow the XDG Base Directory Specification 0.8.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def runbooks() -> Path:
    """Folder of the runbooks that came with this `diag`."""
    return _shipped("runbooks")


def templates() -> Path:
    """Folder of the report templates that came with this `diag`."""
    return _shipped("templates")


def demo_evidence() -> Path:
    """The recorded incident of `diag demo` (an evidence file, taken from the lab)."""
    return _PACKAGE / "lab" / "demo.diag"


def config_file() -> Path:
    """The person's configuration file; it need not exist."""
    return _xdg("XDG_CONFIG_HOME", ".config") / "diag" / "config.toml"


def cache() -> Path:
    """Folder for what can be made again (Kafka's jars, PostgreSQL templates of the lab)."""
    return _xdg("XDG_CACHE_HOME", ".cache") / "diag"


def state() -> Path:
    """Folder for journals, crash files and the lab's state file."""
    return _xdg("XDG_STATE_HOME", ".local/state") / "diag"


def _shipped(name: str) -> Path:
    inside = _PACKAGE / "shipped" / name
    return inside if inside.is_dir() else _PACKAGE.parent / name


def _xdg(variable: str, below_home: str) -> Path:
    asked = os.environ.get(variable, "")
    if asked.startswith("/"):  # the specification: relative paths are ignored
        return Path(asked)
    home = os.environ.get("HOME", "")
    if home.startswith("/"):
        return Path(home) / below_home
    return Path(tempfile.gettempdir()) / f"diag-{os.getuid()}" / below_home
