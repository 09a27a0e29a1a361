"""One connection to Redis on a socket of our own; no retries, no handshake we did not ask for.

redis-py packs the commands, hiredis parses the replies: redis-py's own parsing drops the code word of an
error, and its defaults (ten retries with back-off) would repeat a wrong password and hide a closed port for seconds.
Source: redis.io, "Redis serialization protocol specification", "ACL", "Sentinel".
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import socket
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias, TypeVar
from urllib.parse import unquote, urlsplit

import hiredis
import msgspec
from msgspec import Struct, field
from redis.backoff import NoBackoff
from redis.connection import Connection
from redis.exceptions import InvalidResponse, RedisError, ResponseError
from redis.retry import Retry

from diag import config
from diag.errors import Denied, Rung, SourceError, Unreachable, Unreadable
from diag.snapshots.base import Target
from diag.sources.redis.faults import explain
from diag.text import ServerText, visible
from diag.wire.dial import Tls, dial, is_loopback
from diag.wire.greeting import looks_like
from diag.wire.probe import Probe

_PORT = 6379
_PIECE_BYTES = 65_536
_CONTAINERS = frozenset(("client", "cluster", "config", "memory", "object", "sentinel"))  # of our commands
_MORE = object()  # what the parser says when a reply is not whole yet
Reply: TypeAlias = Any
Argument: TypeAlias = str | bytes | int
T = TypeVar("T")


class LookUps(Struct):
    """Our own look-ups of keys on a connection so far, which the server counts among its hits and misses.

    `calls` are all commands of ours that it counts among its calls, by the name it gives them.
    """

    hits: int = 0
    misses: int = 0
    calls: Counter[str] = field(default_factory=Counter)

    def called(self, name: str, replies: Sequence[Reply]) -> None:
        """Keep one command of ours for each reply; one that was not permitted is no call."""
        refused = sum(isinstance(reply, ResponseError) for reply in replies)
        self.calls[name] += len(replies) - refused

    def copy(self) -> LookUps:
        """Return what was so far."""
        return LookUps(hits=self.hits, misses=self.misses, calls=self.calls.copy())


class Way(Struct, frozen=True, kw_only=True):
    """How a server is reached, and as whom: enough to open another connection there, or to one of its nodes.

    `patience_s` bounds the connecting and every exchange, where other servers are asked as well.
    """

    host: str
    port: int
    database: int = 0
    user: str = ""
    password: str = ""
    tls: Tls | None = None
    name: str = "default"
    patience_s: float = math.inf


class Session(Struct, frozen=True, kw_only=True):
    """An open connection, already authenticated and on the asked database.

    `dialled` is the way to open another one, which `closing` ends with this; `ears` holds what listens there,
    `around` the other servers that are asked with this one. `cluster` is what the target's configuration says.
    """

    connection: Dialled
    probe: Probe
    target: Target
    user: str
    database: int
    dialled: Way
    cluster: bool = False
    own: LookUps
    ears: list[Any] = field(default_factory=list)
    around: list[Any] = field(default_factory=list)
    closing: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)


class Dialled(Connection):
    """A redis-py connection over a socket that we dialled, so that every rung has its name."""

    def __init__(self, connected: socket.socket) -> None:
        """Take the socket over."""
        self._dialled = connected
        self.own = LookUps()
        self._reader = hiredis.Reader(protocolError=InvalidResponse, replyError=ResponseError, notEnoughData=_MORE)
        super().__init__(retry=Retry(NoBackoff(), 0), protocol=2, driver_info=None, socket_timeout=None)

    def _connect(self) -> socket.socket:
        return self._dialled

    @property
    def socket(self) -> socket.socket:
        """The socket while it is open. Raises `OSError` afterwards."""
        opened: socket.socket | None = self._sock
        if opened is None:
            raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
        return opened

    def replies(self, count: int) -> list[Reply]:
        """Wait for that many replies. Raises `OSError`, `EOFError` at the end of the stream, `InvalidResponse`."""
        found: list[Reply] = []
        parsed = self._reader.gets
        while len(found) < count:
            reply = parsed()
            if reply is _MORE:
                self._hear()
            else:
                found.append(reply)
        return found

    def _hear(self) -> None:
        heard = self.socket.recv(_PIECE_BYTES)
        if not heard:
            raise EOFError
        if not self.greeted:
            _is_redis(heard)
            self.greeted = True
        self._reader.feed(heard)

    greeted = False
    """Whether anything was heard yet."""


@contextlib.contextmanager
def connect(target: config.AnyTarget, probe: Probe) -> Iterator[Session]:
    """Open one connection. Raises a `SourceError` that names the rung."""
    assert isinstance(target, config.RedisTarget)
    try:
        parts = urlsplit(target.url)
        host, port, database = parts.hostname or "", parts.port or _PORT, int(parts.path.strip("/") or 0)
    except ValueError as error:
        message = "the Redis address is not redis://[user@]host[:port][/database]"
        raise Unreachable(message, rung=Rung.RESOLVE, fix="write it so; rediss:// asks for TLS") from error
    if parts.scheme not in ("redis", "rediss") or not host:
        message = f"the Redis address has scheme {visible(parts.scheme)!r}, not redis:// or rediss://"
        raise Unreachable(message, rung=Rung.RESOLVE, fix="write redis://host:port/database")
    tls = _tls(target) if parts.scheme == "rediss" else None
    if target.sentinel_master:
        host, port = _ask_sentinel(target, host, port, probe, tls)
    way = Way(
        host=host,
        port=port,
        database=database,
        user=target.username or unquote(parts.username or ""),
        password=unquote(parts.password or "") or config.password(target),
        tls=tls,
        name=target.name,
    )
    with reach(way, probe, cluster=target.cluster) as session:
        yield session


@contextlib.contextmanager
def reach(way: Way, probe: Probe, *, cluster: bool = False) -> Iterator[Session]:
    """Open a connection that way. Raises a `SourceError` that names the rung."""
    connected = dial(way.host, way.port, probe, way.tls, patience_s=way.patience_s)
    local = is_loopback(connected)
    if probe.require_tls and way.tls is None and not local:
        connected.close()
        raise Denied("the context requires TLS and this target has none", rung=Rung.TLS, fix="use rediss://")
    connection, closing = Dialled(connected), contextlib.ExitStack()
    try:
        connection.connect()
        _authenticate(connection, probe, way)
        _choose(connection, probe, way)
        yield Session(
            connection=connection,
            probe=probe,
            user=way.user or "default",
            database=way.database,
            dialled=way,
            cluster=cluster,
            own=connection.own,
            closing=closing,
            target=Target(
                kind="redis",
                name=way.name,
                address=visible(f"{way.host}:{way.port}/{way.database}"),
                encrypted=way.tls is not None,
                verified=way.tls is not None and way.tls.verify,
                local=local,
            ),
        )
    finally:
        closing.close()
        connection.disconnect()
        connected.close()


def _tls(target: config.RedisTarget) -> Tls:
    return Tls(ca_file=target.ca_file, cert_file=target.cert_file, key_file=target.key_file, verify=target.tls_verify)


def _ask_sentinel(target: config.RedisTarget, host: str, port: int, probe: Probe, tls: Tls | None) -> tuple[str, int]:
    connection = Dialled(dial(host, port, probe, tls))
    try:
        connection.connect()
        (found,) = exchange(connection, probe, [("SENTINEL", "GET-MASTER-ADDR-BY-NAME", target.sentinel_master)])
    finally:
        connection.disconnect()
    if isinstance(found, ResponseError):
        raise explain(found, probe)
    if not isinstance(found, list):
        message = f"the Sentinel knows no master {visible(target.sentinel_master)!r}"
        raise Unreachable(message, rung=Rung.RESOLVE, fix="redis-cli -p PORT SENTINEL MASTERS lists them")
    address, port_written = shaped(found, tuple[bytes, bytes])
    return ServerText.of_bytes(address).raw, int(port_written) if port_written.isdigit() else 0


def _authenticate(connection: Dialled, probe: Probe, way: Way) -> None:
    probe.at(Rung.AUTH)
    if not way.password:
        return
    probe.secrets.add(way.password)
    words = ("AUTH", way.user, way.password) if way.user else ("AUTH", way.password)
    (reply,) = exchange(connection, probe, [words], within_s=way.patience_s)
    if isinstance(reply, ResponseError):
        raise explain(reply, probe)


def _choose(connection: Dialled, probe: Probe, way: Way) -> None:
    """Name the connection (a server that forbids it loses only that) and select the database."""
    commands: list[tuple[Argument, ...]] = [("CLIENT", "SETNAME", probe.client_name)]
    if way.database:  # 0 is where a connection begins, and the least ACL needs no right to stay there
        commands.append(("SELECT", way.database))
    reply = exchange(connection, probe, commands, within_s=way.patience_s)[-1]
    if isinstance(reply, ResponseError):
        explained = explain(reply, probe)
        if way.database or explained.rung in (Rung.AUTH, Rung.CONNECT):
            raise explained
    probe.at(Rung.QUERY)


def ask(session: Session, commands: Sequence[tuple[Argument, ...]]) -> list[Reply]:
    """Exchange on a session, within its own patience."""
    return exchange(session.connection, session.probe, commands, within_s=session.dialled.patience_s)


def exchange(
    connection: Dialled, probe: Probe, commands: Sequence[tuple[Argument, ...]], *, within_s: float = math.inf
) -> list[Reply]:
    """Send commands in one write and read their replies; an error reply stands in its place.

    Raises `TooSlow`, `Unreachable` or `Unreadable` when the conversation itself breaks.
    """
    send(connection, probe, b"".join(connection.pack_commands(commands)), within_s=within_s)
    replies = receive(connection, probe, len(commands), within_s=within_s)
    for words, reply in zip(commands, replies, strict=True):
        connection.own.called(_counted_as(words), [reply])
    return replies


def _counted_as(words: tuple[Argument, ...]) -> str:
    """Return the name under which commandstats counts a command."""
    name = str(words[0]).lower()
    return f"{name}|{str(words[1]).lower()}" if name in _CONTAINERS else name


def send(connection: Dialled, probe: Probe, packed: bytes, *, within_s: float = math.inf) -> None:
    """Send bytes that are whole commands. Raises as `exchange`."""
    probe.at(probe.rung)
    probe.requests += 1
    try:
        connection.socket.settimeout(max(0.001, min(within_s, probe.deadline.remaining_s)))
        connection.socket.sendall(packed)
    except OSError as error:
        raise explain(error, probe) from error


def receive(connection: Dialled, probe: Probe, count: int, *, within_s: float = math.inf) -> list[Reply]:
    """Read that many replies. Raises as `exchange`."""
    try:
        connection.socket.settimeout(max(0.001, min(within_s, probe.deadline.remaining_s)))
        return connection.replies(count)
    except EOFError as error:
        raise probe.too_slow() if probe.deadline.passed else _closed(probe, first=not connection.greeted) from error
    except (RedisError, OSError) as error:
        raise explain(error, probe) from error


def _is_redis(heard: bytes) -> None:
    """Look at a server's first bytes. Raises `Unreachable` when it greets like another kind."""
    speaker = looks_like(heard[:16])
    if speaker and speaker != "Redis":
        raise Unreachable(f"this answers like {speaker}, not Redis", rung=Rung.DECODE, fix="check the port")


def _closed(probe: Probe, *, first: bool) -> Unreachable:
    if first:
        message = "the server closed the connection without a word"
        return Unreachable(message, rung=Rung.DECODE, fix="is this a Redis port?")
    return Unreachable("the server closed the connection", rung=probe.rung, fix="run diag again")


def shaped(reply: Reply, wanted: type[T]) -> T:
    """Return a reply that has the shape the command promises. Raises `Unreadable` when it has not."""
    try:
        return msgspec.convert(reply, wanted)
    except msgspec.ValidationError as error:
        message = f"a reply is not what the command promises: {visible(str(error))}"
        raise Unreadable(message, rung=Rung.DECODE, fix="is something between here and Redis?") from error


def refused(session: Session, refusal: ResponseError, permission: str) -> SourceError:
    """Explain an error reply; a missing permission with the line that grants it."""
    explained = explain(refusal, session.probe)
    if isinstance(explained, Denied) and explained.rung is Rung.AUTHORISE:
        return Denied(explained.message, rung=Rung.AUTHORISE, fix=f"ACL SETUSER {session.user} {permission}")
    return explained
