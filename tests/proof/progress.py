"""What a proof has tried so far, kept from run to run, and its figures in RESULTS.md.

A trial is tried once for each state of the code: the commit and whatever differs from it.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from diag import places

_HERE = Path(__file__).resolve().parent
_RESULTS = _HERE / "RESULTS.md"
_SHORT = 12


class Progress:
    """The trials of one suite on this state of the code, one JSON object a line."""

    def __init__(self, suite: str) -> None:
        """Read what an earlier run has left."""
        self.suite = suite
        self.code = _state_of_the_code()
        self._file = places.cache() / "proof" / f"{suite}-{self.code}.jsonl"
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self.trials: dict[str, dict[str, Any]] = {}
        if self._file.exists():
            for line in self._file.read_text("utf-8").splitlines():
                self._keep(line)

    def add(self, name: str, **figures: Any) -> None:
        """Keep a trial, at once and for good."""
        line = json.dumps({"name": name, **figures})
        with self._file.open("a", encoding="utf-8") as opened:
            opened.write(f"{line}\n")
        self._keep(line)

    def publish(self, words: str) -> None:
        """Replace this suite's part of RESULTS.md."""
        begin, end = f"<!-- {self.suite}: begin -->", f"<!-- {self.suite}: end -->"
        part = f"{begin}\n{words.strip()}\n\nAt {self.code}, {datetime.now(UTC):%Y-%m-%d}.\n{end}\n"
        text = _RESULTS.read_text("utf-8") if _RESULTS.exists() else "# What `make proof` measured\n"
        before, found, rest = text.partition(begin)
        after = rest.partition(f"{end}\n")[2] if found else ""
        _RESULTS.write_text(f"{before.rstrip()}\n\n{part}{after}", "utf-8")

    def _keep(self, line: str) -> None:
        try:
            trial = json.loads(line)
        except ValueError:  # the last line of a run that was killed
            return
        self.trials[trial["name"]] = trial


def _state_of_the_code() -> str:
    commit = _git("rev-parse", "HEAD").decode().strip()[:_SHORT]
    changed = _git("diff", "HEAD", "--", ":/diag")
    return f"{commit}+{hashlib.sha256(changed).hexdigest()[:_SHORT]}" if changed else commit


def _git(*words: str) -> bytes:
    return subprocess.run(["git", *words], cwd=_HERE, capture_output=True, check=True).stdout
