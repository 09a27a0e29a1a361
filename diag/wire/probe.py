"""One look at one server: its deadline, the rung it is on, and what it has cost so far.

Per-read time-outs bound nothing: a slow drip resets them, and a driver may retry. The one
thing every driver obeys is its socket being shut down, so a probe keeps the sockets of its
look and shuts them when the deadline passes.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
import time
from typing import Self

from diag.errors import Rung, TooSlow
from diag.figures import duration
from diag.findings import Footprint

_TCP_INFO_BYTES = 136
_BYTES_ACKED_AND_RECEIVED = 120  # offset of tcpi_bytes_acked in struct tcp_info, linux/tcp.h since 4.1


class Deadline:
    """A moment on the monotonic clock after which nothing may still be waited for."""

    def __init__(self, allowed_s: float) -> None:
        """Start the clock: `allowed_s` seconds from now."""
        self.allowed_s = allowed_s
        self._ends = time.monotonic() + allowed_s

    @property
    def remaining_s(self) -> float:
        """Seconds left, never below 0."""
        return max(0.0, self._ends - time.monotonic())

    @property
    def passed(self) -> bool:
        """True once nothing is left."""
        return time.monotonic() >= self._ends


class Probe:
    """One look at one target, from name resolution to the last answer.

    A context manager: leaving it stops the watchdog. `secrets` collects credentials that only
    the driver came to know (a pass file), so that they can be masked as well.
    """

    def __init__(self, deadline: Deadline, *, client_name: str = "diag", require_tls: bool = False) -> None:
        """Bind the look to the command's deadline.

        `client_name` is what servers list the connection under; `require_tls` is the context's.
        """
        self.deadline = deadline
        self.client_name = client_name
        self.require_tls = require_tls
        self.rung = Rung.RESOLVE
        self.requests = 0
        self.secrets: set[str] = set()
        self._started = time.monotonic()
        self._took_s: float | None = None
        self._sockets: list[socket.socket] = []
        self._bytes = [0, 0]
        self._counted = False
        self._lock = threading.Lock()
        self._watchdog: threading.Timer | None = None

    def __enter__(self) -> Self:
        """Start the watchdog."""
        self._started = time.monotonic()
        self._watchdog = threading.Timer(self.deadline.remaining_s, self.cut)
        self._watchdog.daemon = True
        self._watchdog.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the watchdog and note how long the look took."""
        if self._watchdog is not None:
            self._watchdog.cancel()
        self._took_s = time.monotonic() - self._started
        self._count_bytes()

    def at(self, rung: Rung) -> None:
        """Say which rung is being tried; raises `TooSlow` when the deadline has passed."""
        self.rung = rung
        if self.deadline.passed:
            raise self.too_slow()

    def too_slow(self) -> TooSlow:
        """Return the error that names this rung and the time that was allowed."""
        return TooSlow(
            f"no answer within {duration(self.deadline.allowed_s)}",
            rung=self.rung,
            fix="raise --deadline, or look at why the server does not answer",
        )

    def watch(self, connected: socket.socket | int) -> None:
        """Put a socket under the watchdog, by object or file descriptor (which is duplicated)."""
        fileno = connected if isinstance(connected, int) else connected.fileno()
        with self._lock:
            self._sockets.append(socket.socket(fileno=os.dup(fileno)))
        if self.deadline.passed:
            self.cut()

    def cut(self) -> None:
        """Shut every watched socket, so that whoever is blocked on it wakes up with an error."""
        with self._lock:
            for watched in self._sockets:
                with contextlib.suppress(OSError):
                    watched.shutdown(socket.SHUT_RDWR)

    def _count_bytes(self) -> None:
        """Add up what crossed the watched sockets and let go of them; ours outlive the driver's close."""
        with self._lock:
            for watched in self._sockets:
                with contextlib.suppress(OSError, struct.error, AttributeError):
                    told = watched.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
                    sent, received = struct.unpack_from("=QQ", told, _BYTES_ACKED_AND_RECEIVED)
                    self._bytes[0] += received
                    self._bytes[1] += sent
                    self._counted = True
                watched.close()
            self._sockets.clear()

    def wait(self, span_s: float) -> None:
        """Let `span_s` pass between two samples; raises `TooSlow` if the deadline comes first."""
        time.sleep(min(span_s, self.deadline.remaining_s))
        self.at(self.rung)

    @property
    def footprint(self) -> Footprint:
        """What the look cost the server, so far."""
        taken = time.monotonic() - self._started if self._took_s is None else self._took_s
        received, sent = self._bytes if self._counted else (None, None)
        return Footprint(requests=self.requests, took_s=round(taken, 4), bytes_in=received, bytes_out=sent)
