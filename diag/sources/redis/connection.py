"""One connection to Redis on a socket of our own; no retries, no handshake we did not ask for.

redis-py packs the commands and parses the replies. Its defaults (ten retries with back-off)
would repeat a wrong password and hide a closed port for seconds.
Source: redis.io, "Redis serialization protocol specification", "ACL", "Sentinel".
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias, TypeVar
from urllib.parse import unquote, urlsplit

import msgspec
from msgspec import Struct, field
from redis.backoff import NoBackoff
from redis.connection import Connection
from redis.exceptions import InvalidResponse, RedisError, ResponseError
from redis.retry import Retry

from diag import config
from diag.errors import Denied, Rung, SourceError, TooSlow, Unreachable, Unreadable
from diag.snapshots.base import Target
from diag.text import ServerText, visible
from diag.wire.dial import Tls, dial, is_loopback
from diag.wire.greeting import looks_like
from diag.wire.probe import Probe

_PORT = 6379
Reply: TypeAlias = Any
Argument: TypeAlias = str | bytes | int
T = TypeVar("T")


class LookUps(Struct):
    """Our own look-ups of keys on a connection so far, which the server counts among its hits and misses."""

    hits: int = 0
    misses: int = 0


class Session(Struct, frozen=True, kw_only=True):
    """An open connection, already authenticated and on the asked database.

    `dialled` is the target to open another one, which `closing` ends with this; `ears` holds what listens there.
    """

    connection: Connection
    probe: Probe
    target: Target
    user: str
    database: int
    dialled: config.RedisTarget
    own: LookUps = field(default_factory=LookUps)
    ears: list[Any] = field(default_factory=list)
    closing: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)


class _Dialled(Connection):
    """A redis-py connection over a socket that we dialled, so that every rung has its name."""

    def __init__(self, connected: socket.socket) -> None:
        self._dialled = connected
        super().__init__(retry=Retry(NoBackoff(), 0), protocol=2, driver_info=None, socket_timeout=None)

    def _connect(self) -> socket.socket:
        return self._dialled


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
    connected = dial(host, port, probe, tls)
    local = is_loopback(connected)
    if probe.require_tls and tls is None and not local:
        connected.close()
        raise Denied("the context requires TLS and this target has none", rung=Rung.TLS, fix="use rediss://")
    connection, closing = _Dialled(connected), contextlib.ExitStack()
    user = target.username or unquote(parts.username or "")
    try:
        connection.connect()
        _authenticate(connection, probe, user, unquote(parts.password or "") or config.password(target))
        _choose(connection, probe, database)
        yield Session(
            connection=connection,
            probe=probe,
            user=user or "default",
            database=database,
            dialled=target,
            closing=closing,
            target=Target(
                kind="redis",
                name=target.name,
                address=visible(f"{host}:{port}/{database}"),
                encrypted=tls is not None,
                verified=tls is not None and tls.verify,
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
    connection = _Dialled(dial(host, port, probe, tls))
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


def _authenticate(connection: Connection, probe: Probe, user: str, password: str) -> None:
    probe.at(Rung.AUTH)
    if not password:
        return
    probe.secrets.add(password)
    (reply,) = exchange(connection, probe, [("AUTH", user, password) if user else ("AUTH", password)])
    if isinstance(reply, ResponseError):
        raise explain(reply, probe)


def _choose(connection: Connection, probe: Probe, database: int) -> None:
    """Name the connection (a server that forbids it loses only that) and select the database."""
    commands: list[tuple[Argument, ...]] = [("CLIENT", "SETNAME", probe.client_name)]
    if database:  # 0 is where a connection begins, and the least ACL needs no right to stay there
        commands.append(("SELECT", database))
    reply = exchange(connection, probe, commands)[-1]
    if isinstance(reply, ResponseError) and (database or "AUTH" in str(reply).upper()):
        raise explain(reply, probe)
    probe.at(Rung.QUERY)


def exchange(connection: Connection, probe: Probe, commands: Sequence[tuple[Argument, ...]]) -> list[Reply]:
    """Send commands in one write and read their replies; an error reply stands in its place.

    Raises `TooSlow`, `Unreachable` or `Unreadable` when the conversation itself breaks.
    """
    probe.at(probe.rung)
    first = probe.requests == 0
    probe.requests += 1
    sock: Any = connection._sock  # noqa: SLF001  redis-py has no public way to bound one exchange
    sock.settimeout(max(0.001, probe.deadline.remaining_s))
    try:
        connection.send_packed_command(connection.pack_commands(commands), check_health=False)
        greeting = b"" if not first or isinstance(sock, ssl.SSLSocket) else sock.recv(16, socket.MSG_PEEK)
        if first and not greeting and not isinstance(sock, ssl.SSLSocket):
            message = "the server closed the connection without a word"
            silent = Unreachable(message, rung=Rung.DECODE, fix="is this a Redis port?")
            raise probe.too_slow() if probe.deadline.passed else silent
        speaker = looks_like(greeting)
        if speaker and speaker != "Redis":
            raise Unreachable(f"this answers like {speaker}, not Redis", rung=Rung.DECODE, fix="check the port")
        return [_reply(connection) for _ in commands]
    except (RedisError, OSError) as error:
        raise explain(error, probe) from error


def _reply(connection: Connection) -> Reply:
    try:
        return connection.read_response(disconnect_on_error=True)
    except ResponseError as refused:
        return refused


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


def explain(error: Exception, probe: Probe) -> SourceError:
    """Translate by the code word of the reply: redis-py's classes lump different things together."""
    if probe.deadline.passed:
        return probe.too_slow()
    said = visible(str(error))
    code = said.partition(" ")[0].upper()
    if isinstance(error, InvalidResponse):
        return Unreachable(f"this does not answer like Redis: {said}", rung=Rung.DECODE, fix="check the port")
    if code in ("NOAUTH", "WRONGPASS", "AUTHENTICATION") or "AUTH" in code or "invalid username-password" in said:
        return Denied(said, rung=Rung.AUTH, fix="check the user and password of this target")
    if code == "DENIED" or "max number of clients" in said:
        return Denied(said, rung=Rung.CONNECT, fix="see the server's own words")
    if "NOPERM" in said or "no permissions" in said:
        return Denied(said, rung=Rung.AUTHORISE, fix="see diag checks explain for the least ACL")
    if code in ("LOADING", "BUSY", "MASTERDOWN", "CLUSTERDOWN"):
        return TooSlow(said, rung=Rung.QUERY, fix="wait until the server has finished, then run diag again")
    if isinstance(error, ResponseError):
        return Unreadable(said, rung=Rung.QUERY)
    if "closed by server" in said.lower():
        return Unreachable("the server closed the connection", rung=probe.rung, fix="run diag again")
    reason = visible(getattr(error, "strerror", "") or type(error).__name__)  # redis-py's text names another host
    return Unreachable(f"the connection was lost: {reason}", rung=probe.rung, fix="run diag again")
