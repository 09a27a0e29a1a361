"""Starting a server on a free loopback port: choose, start, and choose again when somebody was quicker."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from signal import SIGKILL
from typing import TYPE_CHECKING, Final

from diag.errors import DiagError
from diag.lab import process

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HOST: Final = "127.0.0.1"
_ATTEMPTS: Final = 5
_TAKEN: Final = "address already in use"  # strerror of EADDRINUSE, with or without a capital; all servers log it


def on_free_ports(  # noqa: PLR0913  a server has that many sides
    name: str,
    start: Callable[[tuple[int, ...]], int],
    is_ready: Callable[[int, tuple[int, ...]], bool],
    *,
    ports: int,
    log: Path,
    deadline_s: float,
) -> tuple[int, tuple[int, ...]]:
    """Start a server, wait until it answers, and return its pid and its ports.

    `start` takes as many ports as asked for and returns the child's pid; `is_ready` gets
    both. Raises DiagError with the server's last words when it ends, or when it does not
    answer within `deadline_s`; nothing is left running then.
    """
    for _ in range(_ATTEMPTS):
        log.unlink(missing_ok=True)
        chosen = _free_ports(ports)
        pid = start(chosen)
        answers = False
        try:
            process.wait_until(lambda pid=pid, chosen=chosen: _has_settled(pid, chosen, is_ready), deadline_s)  # type: ignore[misc]
            ended = process.exit_code(pid) is not None
            answers = not ended and is_ready(pid, chosen)
            if answers:
                return pid, chosen
        finally:
            if not answers:  # also when the wait was interrupted
                process.stop(pid, SIGKILL)
        if not (ended and _TAKEN in log.read_text("utf-8", "replace").lower()):
            what = "ended at once" if ended else f"did not answer within {deadline_s:.0f} s"
            msg = f"{name} {what}: {process.last_words(log)}"
            raise DiagError(msg)
    msg = f"{name} found its port taken {_ATTEMPTS} times: {process.last_words(log)}"
    raise DiagError(msg)


def _has_settled(pid: int, ports: tuple[int, ...], is_ready: Callable[[int, tuple[int, ...]], bool]) -> bool:
    return process.exit_code(pid) is not None or is_ready(pid, ports)


def _free_ports(count: int) -> tuple[int, ...]:
    with ExitStack() as held:  # all at once, so that they differ
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind((HOST, 0))
        return tuple(int(probe.getsockname()[1]) for probe in probes)
