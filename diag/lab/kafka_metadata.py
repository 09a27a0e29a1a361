"""What one node says of its cluster, asked of it alone and over a socket of its own.

A client library asks whichever broker it likes, and learns of the others meanwhile; whether
*this* node is ready, or who *it* believes leads, only a request to it can tell.
Source: Kafka protocol guide, ApiVersions (18) version 0 and Metadata (3) version 4.
"""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from diag.lab.launch import HOST

if TYPE_CHECKING:
    from collections.abc import Sequence

NO_LEADER: Final = -1
_ANSWER_S: Final = 5.0
_API_VERSIONS, _METADATA = (18, 0), (3, 4)  # key and version; 4.x answers both


class Metadata(Struct, frozen=True, kw_only=True):
    """The brokers a node lists, by their ports, and who leads each partition of the topics asked about."""

    cluster_id: str
    ports: tuple[int, ...]
    leaders: dict[str, dict[int, int]]


def ask(port: int, topics: Sequence[str] = ()) -> Metadata | None:
    """Ask the node on that port for ApiVersions and Metadata; None when it does not answer (yet)."""
    names = b"".join(struct.pack(">h", len(name.encode())) + name.encode() for name in topics)
    body = struct.pack(">i", len(topics)) + names + b"\0"  # create none
    try:
        with socket.create_connection((HOST, port), _ANSWER_S) as connection:
            connection.settimeout(_ANSWER_S)
            versions = _answer(connection, _API_VERSIONS, b"")
            answer = _answer(connection, _METADATA, body)
        return _Reader(answer).metadata() if versions[:2] == b"\0\0" else None
    except (OSError, struct.error, UnicodeDecodeError):
        return None


def lists(port: int, cluster_id: str, ports: Sequence[int]) -> bool:
    """Tell whether the node on `port` is of our cluster and lists exactly the brokers on `ports`."""
    told = ask(port)
    return told is not None and told.cluster_id == cluster_id and sorted(told.ports) == sorted(ports)


def _answer(connection: socket.socket, api: tuple[int, int], body: bytes) -> bytes:
    request = struct.pack(">hhih", *api, 1, -1) + body  # correlation id 1, no client id
    connection.sendall(struct.pack(">i", len(request)) + request)
    with connection.makefile("rb") as answers:
        (length_bytes,) = struct.unpack(">i", answers.read(4))
        return answers.read(length_bytes)[4:]  # without the correlation id


class _Reader:
    """Reads a Metadata answer from its beginning to its end."""

    def __init__(self, message: bytes) -> None:
        self._message = message
        self._at = 0

    def metadata(self) -> Metadata:
        self._number(">i")  # throttle_time_ms
        ports = tuple(self._broker() for _ in range(self._number(">i")))
        cluster_id = self._string()
        self._number(">i")  # controller_id
        leaders = dict(self._topic() for _ in range(self._number(">i")))
        return Metadata(cluster_id=cluster_id, ports=ports, leaders=leaders)

    def _broker(self) -> int:
        self._number(">i")  # node_id
        self._string()  # host
        port = self._number(">i")
        self._string()  # rack
        return port

    def _topic(self) -> tuple[str, dict[int, int]]:
        self._number(">h")  # error_code
        name = self._string()
        self._number(">b")  # is_internal
        return name, dict(self._partition() for _ in range(self._number(">i")))

    def _partition(self) -> tuple[int, int]:
        self._number(">h")  # error_code
        partition, leader = self._number(">i"), self._number(">i")
        for _ in ("replica_nodes", "isr_nodes"):
            for _ in range(self._number(">i")):
                self._number(">i")
        return partition, leader

    def _number(self, form: str) -> int:
        (number,) = struct.unpack_from(form, self._message, self._at)
        self._at += struct.calcsize(form)
        return int(number)

    def _string(self) -> str:
        length_bytes = max(0, self._number(">h"))  # -1 stands for null
        self._at += length_bytes
        return self._message[self._at - length_bytes : self._at].decode()
