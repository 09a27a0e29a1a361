"""A requests session that cannot outlive its deadline, outgrow its bounds, or wander off.

Its sockets are dialled here, so every rung has its name and the watchdog can shut them. Nothing is
taken from the environment (proxies, .netrc), no redirect is followed, and one answer that says
"not now" is asked for once more.
"""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import msgspec
import requests
from msgspec import Struct
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError

from diag.errors import Denied, Rung, SourceError, TooSlow, Unreachable, Unreadable
from diag.text import visible
from diag.wire.dial import Tls, dial, is_loopback
from diag.wire.greeting import looks_like
from diag.wire.probe import Probe

_MOST_BYTES = 32_000_000  # of one answer, unpacked: a million samples
_LONGEST_QUERY = 1_500  # characters in a URL; many proxies stop at 2 000, so a longer one goes in the body
_PIECE_BYTES = 65_536
_SHOWN = 200  # characters of a server's own words
_PATIENCE_S = 1.0  # until the second try, when the server does not say how long
_NOT_NOW = (429, 503)


class TooMuch(Unreadable):
    """The server will not, or must not, answer so much at once; less may do."""


class Envelope(Struct, frozen=True, rename="camel"):
    """What every answer of the API is wrapped in."""

    status: str = ""
    error_type: str = ""
    error: str = ""
    warnings: tuple[str, ...] | None = None
    infos: tuple[str, ...] | None = None


class BoundedSession(requests.Session):
    """What `prometheus_api_client` talks through.

    `warnings` and `infos` collect those of all answers, which the client drops. `local` is True once a
    connection was made that does not leave this machine.
    """

    def __init__(self, probe: Probe, tls: Tls | None, headers: Mapping[str, str | bytes]) -> None:
        """Prepare a session to one server; `tls` None means plain HTTP."""
        super().__init__()
        self.probe = probe
        self.tls = tls
        self.local = False
        self.warnings: list[str] = []
        self.infos: list[str] = []
        self.trust_env = False
        self.headers.update(headers)
        self.only_ours()

    def only_ours(self) -> None:
        """Dial for ourselves; the client has just put an adapter of its own in front."""
        self.adapters.clear()
        self.mount("https://" if self.tls else "http://", _Adapter(self))

    def request(self, *words: Any, **asked: Any) -> requests.Response:
        """Send one request and return its whole answer, status 200 and a success. Raises a `SourceError`.

        Only method, address and parameters are taken; the rest of the client's words are settled here.
        """
        method, url = words or (asked["method"], asked["url"])
        answer, body = self._once(method, url, asked)
        if answer.status_code in _NOT_NOW and _envelope(body) is None:  # an answer of the API itself will not change
            wait_s = _retry_after_s(answer)
            if wait_s < self.probe.deadline.remaining_s:
                self.probe.wait(wait_s)
                answer, body = self._once(method, url, asked)
        envelope = _envelope(body)
        if answer.status_code != http.client.OK or envelope is None or envelope.status != "success":
            raise _refusal(answer, body, envelope)
        self.warnings += envelope.warnings or ()
        self.infos += envelope.infos or ()
        return answer

    def _once(self, method: str, url: str, asked: Mapping[str, Any]) -> tuple[requests.Response, bytes]:
        self.probe.at(self.probe.rung)
        self.probe.requests += 1
        parameters = {"params": asked.get("params")}
        if len(urlencode(asked.get("params") or {}, doseq=True)) > _LONGEST_QUERY:
            method, parameters = "POST", {"data": asked["params"]}
        timeout_s = max(0.001, self.probe.deadline.remaining_s)
        try:
            with super().request(
                method, url, **parameters, timeout=timeout_s, stream=True, allow_redirects=False
            ) as answer:
                body = _whole(answer)
        except (requests.RequestException, HTTPError, OSError) as error:
            raise _broken(error, self.probe) from error
        answer._content = body  # noqa: SLF001  read by pieces, which requests does not keep
        return answer, body


def _whole(answer: requests.Response) -> bytes:
    body = bytearray()
    for piece in answer.iter_content(_PIECE_BYTES):
        body += piece
        if len(body) > _MOST_BYTES:
            message = f"the answer is larger than {_MOST_BYTES // 1_000_000} MB"
            raise TooMuch(message, rung=Rung.QUERY, fix="ask for less with --history, or name fewer series")
    return bytes(body)


class _Adapter(HTTPAdapter):
    """Makes connections through `dial`, keeps one, and repeats nothing."""

    def __init__(self, session: BoundedSession) -> None:
        self._session = session
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)

    def init_poolmanager(self, *words: Any, **named: Any) -> None:
        super().init_poolmanager(*words, **named)
        session = self._session

        class Plain(HTTPConnection):
            def connect(self) -> None:
                self.sock = _dialled(session, self.host, self.port)

        class Encrypted(HTTPSConnection):
            def connect(self) -> None:
                self.sock = _dialled(session, self.host, self.port)
                self.is_verified = True  # or urllib3 warns on stderr; the report says what was verified

        class Pool(HTTPConnectionPool):
            ConnectionCls = Plain

        class EncryptedPool(HTTPSConnectionPool):
            ConnectionCls = Encrypted

        self.poolmanager.pool_classes_by_scheme = {"http": Pool, "https": EncryptedPool}


def _dialled(session: BoundedSession, host: str, port: int) -> socket.socket:
    connected = dial(host, port, session.probe, session.tls)
    session.local = is_loopback(connected)
    if session.probe.require_tls and session.tls is None and not session.local:
        connected.close()
        message = "the context requires TLS and this target has none"
        raise Denied(message, rung=Rung.TLS, fix="use https://")
    session.probe.at(Rung.QUERY)
    return connected


def _envelope(body: bytes) -> Envelope | None:
    try:
        envelope = msgspec.json.decode(body, type=Envelope)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return envelope if envelope.status in ("success", "error") else None


def _retry_after_s(answer: requests.Response) -> float:
    said = answer.headers.get("Retry-After", "")
    return float(said) if said.isascii() and said.isdecimal() else _PATIENCE_S


def _refusal(answer: requests.Response, body: bytes, envelope: Envelope | None) -> SourceError:
    """Say what an answer means that is not a success. Source: Prometheus documentation, "HTTP API", Format overview."""
    status, shown = answer.status_code, body[:_SHOWN].decode("utf-8", "replace").strip()
    said = visible((envelope.error if envelope else "") or shown.partition("\n")[0] or answer.reason or "")
    if status == http.client.UNAUTHORIZED:
        fix = "check token, or username and password, of this target"
        return Denied(f"who we are was not accepted (401): {said}", rung=Rung.AUTH, fix=fix)
    if status == http.client.FORBIDDEN:
        fix = "ask for the right to read the series of this tenant"
        return Denied(f"refused (403): {said}", rung=Rung.AUTHORISE, fix=fix)
    if answer.is_redirect:
        where = visible(answer.headers.get("Location", "").partition("?")[0][:_SHOWN])
        fix = "give the address that answers by itself; no redirect is followed"
        return Unreachable(f"it sends us on to {where}", rung=Rung.DECODE, fix=fix)
    if status == http.client.TOO_MANY_REQUESTS:
        fix = f"wait {_retry_after_s(answer):.0f} s, then run diag again"
        return TooSlow(f"too many requests (429): {said}", rung=Rung.QUERY, fix=fix)
    if status in (http.client.SERVICE_UNAVAILABLE, http.client.GATEWAY_TIMEOUT, http.client.BAD_GATEWAY):
        fix = "look at the server itself, or ask for less with --history"
        return TooSlow(f"it cannot answer now ({status}): {said}", rung=Rung.QUERY, fix=fix)
    if envelope and status == http.client.UNPROCESSABLE_ENTITY:
        fix = "ask for less with --history, or name fewer series"
        return TooMuch(f"the query failed (422): {said}", rung=Rung.QUERY, fix=fix)
    if envelope and envelope.status == "error":
        fix = "correct the series named in the context"
        return Unreadable(f"the query was refused ({status}): {said}", rung=Rung.QUERY, fix=fix)
    if "HTTPS server" in shown:
        return Unreachable("this port speaks TLS", rung=Rung.DECODE, fix="use https://")
    fix = "give the address of its API: without /graph and /api/v1, with the path prefix if it has one"
    if "<html" in shown.lower() or "<!doctype" in shown.lower():
        return Unreachable(f"a web page answers ({status}), not Prometheus' API", rung=Rung.DECODE, fix=fix)
    return Unreachable(f"this is not Prometheus' API ({status}): {said}", rung=Rung.DECODE, fix=fix)


def _broken(error: Exception, probe: Probe) -> SourceError:
    """Translate a conversation that broke."""
    if probe.deadline.passed:
        return probe.too_slow()
    causes = list(_causes(error))
    strange = next((one for one in causes if isinstance(one, http.client.BadStatusLine)), None)
    if isinstance(strange, http.client.RemoteDisconnected):
        message = "the server closed the connection without a word"
        return Unreachable(message, rung=Rung.DECODE, fix="is this a Prometheus port?")
    if strange is not None:
        line = str(strange.args[0]).strip()
        speaker = looks_like(line.encode("latin-1", "replace")) or visible(repr(line[:40]))
        return Unreachable(f"this answers like {speaker}, not Prometheus", rung=Rung.DECODE, fix="check the port")
    if isinstance(error, TimeoutError) or any(isinstance(one, TimeoutError) for one in causes):
        return probe.too_slow()
    if isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.InvalidHeader):
        message = "the Prometheus address, token or tenant cannot be sent"
        return Unreachable(message, rung=Rung.RESOLVE, fix="leave out line ends and other control characters")
    lost = next((one for one in causes if isinstance(one, OSError | ssl.SSLError) and one.strerror), None)
    reason = visible(lost.strerror or "") if lost else type(causes[-1]).__name__
    return Unreachable(f"the connection was lost: {reason}", rung=probe.rung, fix="run diag again")


def _causes(error: BaseException) -> list[BaseException]:
    """Return an error and what it was made from, outermost first: requests wraps urllib3, which wraps the rest."""
    found: list[BaseException] = [error]
    for one in found:  # grows while it is walked
        inner = [*one.args, getattr(one, "reason", None), one.__cause__, one.__context__]
        found += [each for each in inner if isinstance(each, BaseException) and each not in found]
    return found
