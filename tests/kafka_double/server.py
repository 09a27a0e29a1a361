"""Every broker of the double in one selectors loop, with the network's delay and a count of requests.

A request's answer leaves one round trip after the request came, in order on its connection, so
requests sent together are answered together. The first answer of a connection takes a round
trip more: that of TCP's own handshake, which loopback hides. Bandwidth is not modelled.
"""

from __future__ import annotations

import contextlib
import functools
import selectors
import socket
import struct
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kafka_double import list_offsets
from kafka_double.versions import api_name, label

if TYPE_CHECKING:
    from collections.abc import Callable

    from kafka_double.answers import Cluster
    from kafka_double.world import Place

_READ_BYTES = 1 << 18
_LIST_OFFSETS = 2
_API_VERSIONS, _UNSUPPORTED_VERSION = 18, 35
_LENGTH = struct.Struct(">i")
_HEADER = struct.Struct(">hhi")


@dataclass(eq=False)
class _Connection:
    """One client of one broker: what it has sent of a frame, and what it is to be answered when."""

    socket: socket.socket
    broker: int
    received: bytearray = field(default_factory=bytearray)
    due: deque[tuple[float, memoryview]] = field(default_factory=deque)
    answered: int = 0
    full: bool = False


class Listeners:
    """One listening port for each broker; `serve` answers until `stop` says so."""

    def __init__(self, brokers: int, latency_s: float) -> None:
        self.requests: dict[int, Counter[str]] = {node: Counter() for node in range(1, brokers + 1)}
        self.seen_s: dict[str, tuple[float, float]] = {}
        self.latency_s = latency_s
        self._ready = selectors.DefaultSelector()
        self._open: dict[socket.socket, _Connection] = {}
        self._answers: dict[tuple[int, int, int, bytes], tuple[str, bytes]] = {}
        self._offsets: dict[int, dict[tuple[Place, int], bytes]] = {node: {} for node in self.requests}
        self.ports: dict[int, int] = {}
        for node in self.requests:
            listener = socket.create_server(("127.0.0.1", 0), backlog=128)
            listener.setblocking(False)
            self.ports[node] = listener.getsockname()[1]
            self._ready.register(listener, selectors.EVENT_READ, node)

    def serve(self, cluster: Cluster, control: int, command: Callable[[], bool]) -> None:
        """Answer; `command` is called when `control` can be read, and ends it by returning False."""
        self._ready.register(control, selectors.EVENT_READ, command)
        while True:
            for key, events in self._ready.select(self._until_due_s()):
                if callable(key.data):
                    if not key.data():
                        return
                elif isinstance(key.data, int):
                    self._accept(key.fileobj, key.data)
                elif events & selectors.EVENT_WRITE:
                    self._wait_for_room(key.data, full=False)
                else:
                    self._read(key.data, cluster)
            now = time.monotonic()
            for connection in [one for one in self._open.values() if one.due and not one.full]:
                self._send(connection, now)

    def _until_due_s(self) -> float | None:
        moments = [one.due[0][0] for one in self._open.values() if one.due and not one.full]
        return max(0.0, min(moments) - time.monotonic()) if moments else None

    def _accept(self, listener: object, node: int) -> None:
        assert isinstance(listener, socket.socket)
        client, _ = listener.accept()
        client.setblocking(False)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = self._open[client] = _Connection(client, node)
        self._ready.register(client, selectors.EVENT_READ, connection)

    def _read(self, connection: _Connection, cluster: Cluster) -> None:
        try:
            got = connection.socket.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            got = b""
        if not got:
            self._close(connection)
            return
        arrived = time.monotonic()
        received = connection.received
        received += got
        while len(received) >= _LENGTH.size:
            end = _LENGTH.size + _LENGTH.unpack_from(received)[0]
            if len(received) < end:
                break
            frame = bytes(received[_LENGTH.size : end])
            del received[:end]
            answer = self._answer(connection.broker, frame, cluster)
            if answer is None:  # as a real broker does with what it does not understand
                self._close(connection)
                return
            trips = 1 if connection.answered else 2
            connection.answered += 1
            connection.due.append((arrived + trips * self.latency_s, memoryview(answer)))

    def _answer(self, node: int, frame: bytes, cluster: Cluster) -> bytes | None:
        key, version, correlation_id = _HEADER.unpack_from(frame)
        request, _ = cluster.handlers.get(key, (None, None))
        oldest, newest = cluster.versions.get(key, (0, -1))
        if key == _API_VERSIONS and key in cluster.versions and version > newest:
            self._count(node, api_name(key))
            return self._framed(correlation_id, struct.pack(">hi", _UNSUPPORTED_VERSION, 0), flexible=False)
        if request is None or not oldest <= version <= newest:
            self._count(node, f"refused {api_name(key)} v{version}")
            return None
        flexible = request.flexible_version_q(version)
        (name_bytes,) = struct.unpack_from(">h", frame, _HEADER.size)
        start = _HEADER.size + 2 + max(0, name_bytes) + (1 if flexible else 0)  # no tags are sent
        if key == _LIST_OFFSETS and version in list_offsets.VERSIONS:
            body = frame[start:]
            self._count(node, f"ListOffsets {list_offsets.about(body)}")
            find = functools.partial(cluster.offset, node)
            return self._framed(correlation_id, list_offsets.answered(body, find, self._offsets[node]), flexible=True)
        asked = (node, key, version, frame[start:])
        if asked not in self._answers:
            decoded = request.decode(frame[start:], version=version)
            answer = bytes(cluster.handlers[key][1](node, decoded).encode(version=version))
            self._answers[asked] = (label(key, decoded), answer)
        name, body = self._answers[asked]
        self._count(node, name)
        return self._framed(correlation_id, body, flexible=flexible and key != _API_VERSIONS)

    def _count(self, node: int, name: str) -> None:
        self.requests[node][name] += 1
        now = time.monotonic()
        self.seen_s[name] = (self.seen_s.get(name, (now,))[0], now)

    def forget(self) -> None:
        """Begin to count anew."""
        for counted in self.requests.values():
            counted.clear()
        self.seen_s.clear()

    def _framed(self, correlation_id: int, body: bytes, *, flexible: bool) -> bytes:
        header = _LENGTH.pack(correlation_id) + (b"\0" if flexible else b"")
        return _LENGTH.pack(len(header) + len(body)) + header + body

    def _send(self, connection: _Connection, now: float) -> None:
        while connection.due and connection.due[0][0] <= now:
            moment, answer = connection.due.popleft()
            try:
                sent = connection.socket.send(answer)
            except BlockingIOError:
                sent = 0
            except OSError:
                self._close(connection)
                return
            if sent < len(answer):
                connection.due.appendleft((moment, answer[sent:]))
                self._wait_for_room(connection, full=True)
                return

    def _wait_for_room(self, connection: _Connection, *, full: bool) -> None:
        """Leave a client alone while its receive window is full."""
        connection.full = full
        wanted = selectors.EVENT_WRITE if full else selectors.EVENT_READ
        self._ready.modify(connection.socket, wanted, connection)

    def _close(self, connection: _Connection) -> None:
        self._ready.unregister(connection.socket)
        del self._open[connection.socket]
        with contextlib.suppress(OSError):
            connection.socket.close()
