"""A name server that never answers: the resolver cannot be interrupted, and the command ends all the same.

Real, not mocked: in a mount namespace of its own the command reads a resolv.conf that names a
UDP socket of ours, which hears the question and says nothing.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from typing import TYPE_CHECKING

import pytest
from faults.command import run, words_for
from faults.contract import saw_nothing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from faults.fixtures import InTime

_DEADLINE_S = 1.2
_NAME_SERVER = "127.0.0.153"
_PATIENCE = "options timeout:30 attempts:5"
_INSIDE = 'mount --bind "$1" /etc/resolv.conf && shift && exec "$@"'


@pytest.fixture
def name_server() -> Iterator[socket.socket]:
    """A name server that hears and never answers."""
    if os.geteuid():
        pytest.skip("NOT TRIED: a silent resolver needs root (port 53, a mount namespace).")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind((_NAME_SERVER, 53))
        listening.settimeout(0)
        yield listening


@pytest.fixture
def before(tmp_path: Path) -> list[str]:
    """What runs a command where that name server is the only one."""
    settings = tmp_path / "resolv.conf"
    settings.write_text(f"nameserver {_NAME_SERVER}\n{_PATIENCE}\n")
    settings.chmod(0o644)
    words = [shutil.which("unshare") or "unshare", "--mount", "sh", "-c", _INSIDE, "sh", str(settings)]
    seen = subprocess.run([*words, "cat", "/etc/resolv.conf"], capture_output=True, text=True, check=False)
    if _PATIENCE not in seen.stdout:
        why = f"NOT TRIED: no mount namespace here: {seen.stderr.strip()}"
        pytest.fail(why) if os.environ.get("CI") == "true" else pytest.skip(why)
    return words


def test_a_resolver_that_never_answers_is_left_behind(
    kind: str, name_server: socket.socket, before: list[str], home: Path, in_time: InTime
) -> None:
    ran = run(words_for(kind, f"{kind}.example:7"), _DEADLINE_S, home, before=before)
    question = name_server.recv(512)
    assert kind.encode() + b"\x07example" in question
    saw_nothing(ran, kind, "resolve")
    in_time(ran, kind, _DEADLINE_S)
