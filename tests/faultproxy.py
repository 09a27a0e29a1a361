"""A TCP fault proxy in front of a server on loopback, and an independent count of what crossed it.

One selectors loop serves every connection. With a thread for each direction, closing a
socket while the other thread is blocked in recv on it sends nothing, so that a reset
silently becomes a hang.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Self

if TYPE_CHECKING:
    from collections.abc import Iterator

_HOST = "127.0.0.1"
_AT_ONCE_BYTES, _REACH_SERVER_S = 65_536, 2.0
_FULL_FOR_S = 0.001  # how long to leave a client alone whose receive window is full
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER: on, for 0 s
_FOR_EVER = 1 << 62


@dataclass(frozen=True)
class Fault:
    """What goes wrong with the bytes that flow `toward` one side, on each connection.

    silence: accept, read and never answer; the server is not even asked.
    delay, drip: every piece comes `delay_s` later; or byte by byte, `bytes_per_s`.
    hang, fin, reset: `at_byte` bytes pass (0: what came first is held), then nothing more comes;
    or the stream ends in order; or the client gets RST. flip: the byte at `at_byte` is inverted.
    """

    what: Literal["nothing", "silence", "delay", "drip", "hang", "fin", "reset", "flip"]
    at_byte: int = 0
    toward: Literal["client", "server"] = "client"
    delay_s: float = 0.0
    bytes_per_s: float = 1.0

    @property
    def passes(self) -> int:
        """How many bytes pass before nothing more does."""
        return self.at_byte if self.what in ("hang", "fin", "reset") else _FOR_EVER


NOTHING = Fault("nothing")


@dataclass(eq=False)
class _Stream:
    """One direction of one connection: from a source to a sink, with the fault in between."""

    source: socket.socket
    sink: socket.socket
    fault: Fault
    taken: int = 0
    passed: int = 0
    due: deque[tuple[float, bytes]] = field(default_factory=deque)
    source_ended: bool = False
    sink_ended: bool = False

    def take(self, got: bytes) -> None:
        """Let the fault have what came; what survives is due now or later."""
        start, now = self.taken, time.monotonic()
        self.taken += len(got)
        got = got[: max(0, self.fault.passes - start)]
        place = self.fault.at_byte - start
        if self.fault.what == "flip" and 0 <= place < len(got):
            got = got[:place] + bytes([got[place] ^ 0xFF]) + got[place + 1 :]
        if self.fault.what == "drip":
            now, step_s = max(now, self.due[-1][0]) if self.due else now, 1 / self.fault.bytes_per_s
            self.due.extend((now + step_s * (nth + 1), got[nth : nth + 1]) for nth in range(len(got)))
        elif got:
            self.due.append((now + self.fault.delay_s, got))

    def hand_on(self) -> bytes:
        """Send what is due and return it. Raises `OSError` when the sink is gone."""
        sent = b""
        while self.due and self.due[0][0] <= time.monotonic():
            _, piece = self.due.popleft()
            try:
                count = self.sink.send(piece)
            except BlockingIOError:
                count = 0
            sent += piece[:count]
            if count < len(piece):
                self.due.appendleft((time.monotonic() + _FULL_FOR_S, piece[count:]))
                break
        self.passed += len(sent)
        return sent

    @property
    def struck(self) -> str:
        """The fault, once everything has passed that it lets pass."""
        return self.fault.what if self.taken and self.passed >= self.fault.passes else ""

    @property
    def should_end(self) -> bool:
        """True when the sink has everything it will ever get, and is to be told so."""
        return not self.due and self.struck != "hang" and (self.source_ended or self.struck == "fin")


@dataclass(eq=False)
class _Connection:
    """A client, the server it wanted (None: it is never asked), and the streams between them."""

    client: socket.socket
    server: socket.socket | None = None
    streams: tuple[_Stream, ...] = ()

    @property
    def sockets(self) -> list[socket.socket]:
        return [one for one in (self.client, self.server) if one]


class FaultProxy:
    """Stands before the server on `server_port`, on a port of its own, while the context lasts.

    Each new connection gets the `fault` of that moment; `answers` keeps what clients were sent.
    `rewrite` makes a broker advertise the proxy's port: answers get as many other bytes.
    """

    def __init__(self, server_port: int, fault: Fault = NOTHING) -> None:
        """Choose the port. Nobody is served before the context is entered."""
        self.fault, self.rewrite = fault, (b"", b"")
        self.connections = 0
        self.to_server_bytes = 0
        self.answers = bytearray()
        self._server_port = server_port
        self._listener = socket.create_server((_HOST, 0))
        self.port: int = self._listener.getsockname()[1]
        self._rope, self._bell = socket.socketpair()
        self._open: dict[socket.socket, _Connection] = {}
        self._ready = selectors.DefaultSelector()
        self._thread = threading.Thread(target=self._serve, name=f"fault proxy on {self.port}")

    def __enter__(self) -> Self:
        """Begin to accept."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Close every connection and let go of the port."""
        self._rope.close()
        self._thread.join()

    def _serve(self) -> None:
        with self._ready, self._listener, self._bell:
            self._ready.register(self._listener, selectors.EVENT_READ)
            self._ready.register(self._bell, selectors.EVENT_READ)
            while not any(self._attend(key.fileobj) for key, _ in self._ready.select(self._until_due_s())):
                for connection in set(self._open.values()):
                    self._advance(connection)
            for connection in set(self._open.values()):
                self._close(connection)

    def _until_due_s(self) -> float | None:
        moments = [stream.due[0][0] for one in self._open.values() for stream in one.streams if stream.due]
        return max(0.0, min(moments) - time.monotonic()) if moments else None

    def _attend(self, fileobj: object) -> bool:
        """Read from or accept whoever is ready; tell whether it is time to go."""
        if fileobj is self._listener:
            self._accept()
        elif fileobj in self._open:
            self._read(fileobj)
        return fileobj is self._bell

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        self.connections += 1
        connection = _Connection(client)
        if self.fault.what != "silence":
            try:
                server = socket.create_connection((_HOST, self._server_port), _REACH_SERVER_S)
            except OSError:
                client.close()
                return
            to_client, to_server = (self.fault, NOTHING) if self.fault.toward == "client" else (NOTHING, self.fault)
            streams = (_Stream(server, client, to_client), _Stream(client, server, to_server))
            connection = _Connection(client, server, streams)
        for one in connection.sockets:
            one.settimeout(0)
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._open[one] = connection
            self._ready.register(one, selectors.EVENT_READ)

    def _read(self, source: socket.socket) -> None:
        connection = self._open[source]
        try:
            got = source.recv(_AT_ONCE_BYTES)
        except OSError:
            got = b""
        if source is connection.client:
            self.to_server_bytes += len(got)
        elif self.rewrite[0]:
            got = got.replace(*self.rewrite)
        for stream in (stream for stream in connection.streams if stream.source is source):
            stream.take(got)
            stream.source_ended = not got
        if not got:
            self._ready.unregister(source)
        if not got and not connection.streams:
            self._close(connection)

    def _advance(self, connection: _Connection) -> None:
        for stream in connection.streams:
            try:
                sent = stream.hand_on()
            except OSError:
                self._close(connection)
                return
            if stream.sink is connection.client:
                self.answers += sent
            if stream.struck == "reset":
                connection.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
                self._close(connection)
                return
            if stream.should_end and not stream.sink_ended:
                stream.sink_ended = True
                with contextlib.suppress(OSError):
                    stream.sink.shutdown(socket.SHUT_WR)
        if connection.streams and all(stream.source_ended and stream.sink_ended for stream in connection.streams):
            self._close(connection)

    def _close(self, connection: _Connection) -> None:
        for one in connection.sockets:
            self._open.pop(one, None)
            with contextlib.suppress(KeyError):
                self._ready.unregister(one)
            one.close()


@contextlib.contextmanager
def full_port() -> Iterator[int]:
    """Give a port whose queue is full: the kernel drops further SYNs, so a connect just waits."""
    with socket.create_server((_HOST, 0), backlog=0) as listener, contextlib.ExitStack() as held:
        for _ in range(2):
            waiting = held.enter_context(socket.socket())
            waiting.settimeout(0)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]
