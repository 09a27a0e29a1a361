"""One connection to PostgreSQL, and round trips that cannot harm.

libpq is driven step by step, so that its own states tell which rung failed, whatever the
language of the server's messages. A read is one pipelined, read-only transaction whose
limits are set with SET LOCAL, so nothing leaks through a transaction pooler.
Source: PostgreSQL manual, "libpq: Asynchronous Connection", "Pipeline Mode", "Client Connection Defaults".
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import select
import time
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import msgspec
import psycopg
from msgspec import Struct
from psycopg import pq
from psycopg.adapt import Loader
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import dict_row

from diag import config
from diag.errors import Denied, Rung, SourceError, TooSlow, Unreachable, Unreadable
from diag.figures import duration
from diag.snapshots.base import Target, from_wire
from diag.sources.postgres.addresses import addressed
from diag.text import ServerText, visible
from diag.wire.probe import Deadline, Probe

_LOCK_TIMEOUT_MS = 100  # a catalog somebody locks must not keep us in its queue
_LOGIN_LOCK_TIMEOUT_MS = 1_000  # while logging in: so that no backend of ours stays in the queue of a locked catalog
_CHECK_CONNECTION_MS = 500  # the server looks this often whether we are still there (from 14)
_IDLE_MS = 10_000
# Shares of the time allowed. A server that has heard us and then says nothing most likely waits for a lock on one of
# its catalogs, which logging in reads; opening another database takes milliseconds when only one's is locked.
_LOGIN_SHARE = {Rung.AUTH: 0.12, Rung.AUTHORISE: 0.12}  # AuthenticationOk is sent with what follows it
_OTHER_DATABASE_SHARE = 0.05
_CONNECTION_CHECK_SINCE = 14
_STATES = {
    pq.ConnStatus.STARTED: Rung.CONNECT,
    pq.ConnStatus.MADE: Rung.AUTH,
    pq.ConnStatus.SSL_STARTUP: Rung.TLS,
    pq.ConnStatus.AWAITING_RESPONSE: Rung.AUTH,
    pq.ConnStatus.AUTH_OK: Rung.AUTHORISE,
}
_NO_OPTIONS = "startup parameter"  # a pooler refuses them; its name for it has changed over the versions
_NOT_POSTGRES = ("received invalid response", "expected authentication request", "lost synchronization")
# The server's messages at login come without SQLSTATE through libpq; in other languages they stay as they are.
_LOCKED = ("due to lock timeout",)
_FULL = ("too many clients", "connection slots are reserved", "too many connections", "no more connections allowed")
_FULL_FIX = (
    "every connection is taken: as a superuser, or from 16 on with pg_use_reserved_connections, a reserved one may be"
    " left; look at diag pg-long-tx and diag pg-locks with it"
)
_WEAK_TLS = ("", "disable", "allow", "prefer")


class _TolerantText(Loader):
    """Text as UTF-8 where it is, else with its bytes kept: a SQL_ASCII database may hold anything."""

    def load(self, data: Any) -> str:
        return bytes(data).decode("utf-8", "surrogateescape")


class Session(Struct, frozen=True, kw_only=True):
    """An open connection and what is known about its server."""

    connection: psycopg.Connection[dict[str, Any]]
    probe: Probe
    target: Target
    server_major: int
    instead_of: str = ""
    """The database that was asked for, when it let nobody in and another one of the server was opened."""


@contextlib.contextmanager
def connect(target: config.AnyTarget, probe: Probe) -> Iterator[Session]:
    """Open one connection. Raises a `SourceError` that names the rung."""
    assert isinstance(target, config.PostgresTarget)
    wanted = _parameters(target, probe)
    pgconn, instead_of = _opened(wanted, addressed(wanted, probe), probe)
    probe.watch(pgconn.socket)
    probe.secrets.add(pgconn.password.decode(errors="replace"))
    connection = psycopg.Connection(pgconn, row_factory=dict_row)
    try:
        connection.autocommit = True
        connection.prepare_threshold = None
        for type_name in ("text", "name", "varchar", "bpchar"):
            connection.adapters.register_loader(type_name, _TolerantText)
        yield Session(
            connection=connection,
            probe=probe,
            target=_header(target, pgconn),
            server_major=pgconn.server_version // 10_000,
            instead_of=instead_of,
        )
    finally:
        connection.close()


def _parameters(target: config.PostgresTarget, probe: Probe) -> dict[str, Any]:
    try:
        wanted = conninfo_to_dict(target.dsn)
    except psycopg.Error as error:  # libpq quotes the string, which may hold a password
        message = "the connection string cannot be parsed"
        raise Unreachable(
            message,
            rung=Rung.RESOLVE,
            fix="write host=… dbname=… user=…, or postgresql://user@host/dbname (quote special characters as %XX)",
        ) from error
    for name, value in (("user", target.username), ("sslrootcert", target.ca_file), ("sslcert", target.cert_file)):
        if value:
            wanted.setdefault(name, value)
    if target.key_file:
        wanted.setdefault("sslkey", target.key_file)
    if not wanted.get("password") and (word := config.password(target)):
        wanted["password"] = word
        probe.secrets.add(word)
    if probe.require_tls and wanted.get("sslmode", "") in _WEAK_TLS and not _is_local(str(wanted.get("host", ""))):
        wanted["sslmode"] = "require"
    wanted |= {"application_name": probe.client_name, "client_encoding": "UTF8", "connect_timeout": 0}
    wanted["options"] = f"-c lock_timeout={_LOGIN_LOCK_TIMEOUT_MS}"
    return wanted


def _opened(wanted: dict[str, Any], attempts: list[dict[str, Any]], probe: Probe) -> tuple[pq.abc.PGconn, str]:
    """Open the database that is wanted, else one whose catalog nobody locks; locks are seen from every database.

    pg_class and pg_attribute are each database's own; with pg_database or pg_authid locked none can be opened.
    """
    try:
        return _first_answering(attempts, probe, _LOGIN_SHARE), ""
    except Denied as refused:
        if _NO_OPTIONS not in refused.message:
            raise
        without = [{name: value for name, value in one.items() if name != "options"} for one in attempts]
        return _first_answering(without, probe, _LOGIN_SHARE), ""
    except TooSlow as stalled:
        if stalled.rung not in _LOGIN_SHARE or probe.deadline.passed:
            raise
        name = str(wanted.get("dbname") or os.environ.get("PGDATABASE") or wanted.get("user") or "")
        other = "postgres" if name != "postgres" else "template1"
        briefly = dict.fromkeys(_LOGIN_SHARE, _OTHER_DATABASE_SHARE)
        try:
            return _first_answering([{**one, "dbname": other} for one in attempts], probe, briefly), name
        except SourceError:
            raise stalled from None


def _first_answering(attempts: list[dict[str, Any]], probe: Probe, shares: dict[Rung, float]) -> pq.abc.PGconn:
    """Try the addresses in turn, each with its share of the time; a refusal by the server itself is final."""
    refusal: SourceError | None = None
    for left, attempt in zip(range(len(attempts), 0, -1), attempts, strict=True):
        try:
            return _climb(make_conninfo("", **attempt), probe, probe.deadline.remaining_s / left, shares)
        except Denied:
            raise
        except SourceError as error:
            refusal = error
            if probe.deadline.passed:
                break
    assert refusal is not None
    raise refusal


def _climb(conninfo: str, probe: Probe, patience_s: float, shares: dict[Rung, float]) -> pq.abc.PGconn:
    """Connect to one address step by step, noting the rung."""
    patience = Deadline(patience_s)
    probe.at(Rung.CONNECT)
    probe.requests += 1
    pgconn = pq.PGconn.connect_start(conninfo.encode())
    asked_at = time.monotonic()
    polled = pq.PollingStatus.WRITING  # the manual: wait as if this had been the last answer
    while pgconn.status != pq.ConnStatus.BAD and polled != pq.PollingStatus.FAILED:
        probe.rung = _STATES.get(pq.ConnStatus(pgconn.status), probe.rung)
        wait_s = min(patience.remaining_s, shares.get(probe.rung, 1.0) * probe.deadline.allowed_s)
        asked_at = time.monotonic()
        if not _ready(pgconn.socket, writing=polled == pq.PollingStatus.WRITING, wait_s=wait_s):
            pgconn.finish()
            raise probe.too_slow() if patience.passed else _stalled(probe.rung, wait_s)
        polled = pq.PollingStatus(pgconn.connect_poll())
        if polled == pq.PollingStatus.OK:
            return pgconn
    said = pgconn.get_error_message()
    pgconn.finish()
    error = _explain_connect(said, probe.rung)
    silent_s = time.monotonic() - asked_at
    if isinstance(error, Denied) and silent_s * 1000 >= _LOGIN_LOCK_TIMEOUT_MS:
        raise _stalled(probe.rung, silent_s, error.message)  # the lock time-out, in whatever language
    raise error


def _ready(fileno: int, *, writing: bool, wait_s: float) -> bool:
    poll = select.poll()
    poll.register(fileno, select.POLLOUT if writing else select.POLLIN)
    return bool(poll.poll(wait_s * 1000))


def _stalled(rung: Rung, wait_s: float, said: str = "") -> TooSlow:
    ended = f", then: {said}" if said else ""
    return TooSlow(
        f"the server heard us and has said nothing for {duration(wait_s)}{ended}",
        rung=rung,
        fix="look for a lock on pg_authid, pg_database or pg_class (VACUUM FULL, LOCK) from a session that is open;"
        " with a longer --deadline this waits longer",
    )


def _explain_connect(said: str, rung: Rung) -> SourceError:
    words = visible("; ".join(line.strip() for line in said.splitlines() if "Is the server running" not in line))
    if any(sign in said for sign in _NOT_POSTGRES):
        return Unreachable(f"this does not answer like PostgreSQL: {words}", rung=Rung.DECODE, fix="check the port")
    if rung in (Rung.AUTH, Rung.AUTHORISE) and any(sign in said for sign in _LOCKED):
        return _stalled(rung, _LOGIN_LOCK_TIMEOUT_MS / 1000)
    if rung in (Rung.AUTH, Rung.AUTHORISE) and any(sign in said for sign in _FULL):
        return Denied(words, rung=rung, fix=_FULL_FIX)
    if rung in (Rung.AUTH, Rung.AUTHORISE) and ("FATAL" in said or "no password supplied" in said):
        return Denied(
            words, rung=rung, fix="check user, password, database and pg_hba.conf, and whether a connection is left"
        )
    if rung is Rung.TLS or "SSL" in said:
        return Unreachable(words, rung=Rung.TLS, fix="check sslmode and sslrootcert against what the server offers")
    return Unreachable(words, rung=rung, fix="check host and port, and that the server is running")


def _header(target: config.PostgresTarget, pgconn: pq.abc.PGconn) -> Target:
    host = pgconn.host.decode(errors="replace")
    mode = next((option.val or b"" for option in pgconn.info if option.keyword == b"sslmode"), b"")
    encrypted = bool(pgconn.ssl_in_use)
    return Target(
        kind="postgres",
        name=target.name,
        address=visible(f"{host}:{pgconn.port.decode()}/{pgconn.db.decode(errors='replace')}"),
        version=ServerText.of_bytes(pgconn.parameter_status(b"server_version") or b""),
        encrypted=encrypted,
        verified=encrypted and mode.startswith(b"verify"),
        local=_is_local(host) or _is_local(pgconn.hostaddr.decode(errors="replace")),
    )


def _is_local(host: str) -> bool:
    if host.startswith(("/", "@")) or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


Rows = list[dict[str, Any]]


def ask(session: Session, queries: Sequence[tuple[str, dict[str, Any]]]) -> list[Rows]:
    """Run constant queries in one read-only transaction and one round trip; return the rows of each.

    Raises `Denied`, `TooSlow`, `Unreadable` or `Unreachable`.
    """
    probe, connection = session.probe, session.connection
    probe.at(Rung.QUERY)
    probe.requests += 1
    allowed_ms = max(1, int(probe.deadline.remaining_s * 1000))
    try:
        with connection.pipeline():
            connection.execute("BEGIN READ ONLY")
            connection.execute("SET LOCAL search_path = pg_catalog")  # nobody's functions shadow the server's
            if connection.info.parameter_status("server_encoding") == "SQL_ASCII":
                connection.execute("SET LOCAL client_encoding = 'SQL_ASCII'")  # else what is not UTF-8 is an error
            for setting, value_ms in _limits(session.server_major, allowed_ms):
                connection.execute(f"SET LOCAL {setting} = {value_ms}")
            cursors = [connection.execute(query, values) for query, values in queries]
            connection.execute("COMMIT")
        return [cursor.fetchall() for cursor in cursors]
    except (psycopg.Error, UnicodeError) as error:
        raise _explain_query(error, probe) from error
    finally:
        if not connection.closed and connection.info.transaction_status != pq.TransactionStatus.IDLE:
            with contextlib.suppress(psycopg.Error):
                connection.execute("ROLLBACK")


def ask_or_less(
    session: Session, queries: Sequence[tuple[str, dict[str, Any]]], less: Sequence[tuple[str, dict[str, Any]]]
) -> tuple[list[Rows], SourceError | None]:
    """Run `queries` in one round trip; where a catalog they read is locked or closed to this role, run `less`.

    Return the rows, and why it was less. Raises as `ask`.
    """
    try:
        return ask(session, queries), None
    except (Denied, TooSlow, Unreadable) as error:
        if session.probe.deadline.passed:
            raise
        return ask(session, less), error


def _limits(server_major: int, allowed_ms: int) -> Iterator[tuple[str, int]]:
    yield "statement_timeout", allowed_ms
    yield "lock_timeout", min(_LOCK_TIMEOUT_MS, allowed_ms)
    yield "idle_in_transaction_session_timeout", _IDLE_MS
    if server_major >= _CONNECTION_CHECK_SINCE:
        yield "client_connection_check_interval", _CHECK_CONNECTION_MS


def _explain_query(error: Exception, probe: Probe) -> SourceError:
    if probe.deadline.passed:
        return probe.too_slow()
    state = getattr(error, "sqlstate", None)
    said = visible(str(error).splitlines()[0]) if str(error) else type(error).__name__
    if isinstance(error, UnicodeError):
        return Unreadable(f"an answer could not be decoded: {type(error).__name__}", rung=Rung.DECODE)
    if state == "42501":
        return Denied(said, rung=Rung.AUTHORISE, fix="GRANT pg_monitor TO the role diag connects as")
    if state in ("55P03", "57014"):
        return TooSlow(said, rung=Rung.QUERY, fix="somebody holds a lock on a system catalog; look for DDL on pg_*")
    if state is None or state.startswith(("08", "57P")):
        return Unreachable(f"the connection was lost: {said}", rung=Rung.QUERY, fix="run diag again")
    return Unreadable(f"{said} (SQLSTATE {state})", rung=Rung.QUERY)


T = TypeVar("T")


def typed(rows: Rows, wanted: type[T]) -> tuple[T, ...]:
    """Turn rows into structs at the boundary. Raises `Unreadable` when the server's columns are not as expected."""
    try:
        return tuple(msgspec.convert(row, wanted, dec_hook=from_wire, strict=False) for row in rows)
    except msgspec.ValidationError as error:
        message = f"a row is not a {wanted.__name__}: {visible(str(error))}"
        raise Unreadable(message, rung=Rung.DECODE) from error
