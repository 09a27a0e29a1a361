"""Reach one Prometheus and ask it single questions.

`prometheus_api_client` puts the requests together; it sends them through a session of ours.
Whoever answers the API will do (Thanos, Mimir, VictoriaMetrics), so health is a query that succeeds.
Source: Prometheus documentation, "HTTP API".
"""

from __future__ import annotations

import contextlib
from base64 import b64encode
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import msgspec
from msgspec import Struct
from prometheus_api_client import PrometheusConnect
from prometheus_api_client.exceptions import PrometheusApiClientException

from diag import config
from diag.errors import Rung, Unreachable, Unreadable
from diag.snapshots.base import Target
from diag.sources.prometheus.http import BoundedSession
from diag.text import visible
from diag.wire.dial import Tls
from diag.wire.probe import Probe

_PORTS = {"http": 80, "https": 443}
T = TypeVar("T")


class Session(Struct, frozen=True, kw_only=True):
    """A server that has answered. `now_s` is its clock then, seconds since 1970."""

    client: Any
    http: BoundedSession
    probe: Probe
    target: Target
    dialled: config.PrometheusTarget
    now_s: float


class Instant(Struct, frozen=True):
    """One series of an instant vector: its labels, and one value, still text."""

    metric: dict[str, str]
    value: tuple[float, str]


class Samples(Struct, frozen=True):
    """One series of a range vector: its labels, and the samples as they were scraped, values still text."""

    metric: dict[str, str]
    values: tuple[tuple[float, str], ...] = ()


@contextlib.contextmanager
def connect(target: config.AnyTarget, probe: Probe) -> Iterator[Session]:
    """Open a session and ask for something trivial. Raises a `SourceError` that names the rung."""
    assert isinstance(target, config.PrometheusTarget)
    scheme, host, port, prefix = _parts(target.url)
    tls = (
        Tls(ca_file=target.ca_file, cert_file=target.cert_file, key_file=target.key_file, verify=target.tls_verify)
        if scheme == "https"
        else None
    )
    shown = f"[{host}]" if ":" in host else host
    with BoundedSession(probe, tls, _headers(target, probe)) as http:
        client = PrometheusConnect(url=f"{scheme}://{shown}:{port}{prefix}", session=http)
        http.only_ours()
        answered = asked(http, client.custom_query, list[Instant], "vector(1)", params=_within(probe))
        if not answered:
            message = "it answers vector(1) with nothing"
            raise Unreachable(message, rung=Rung.DECODE, fix="is this Prometheus?")
        yield Session(
            client=client,
            http=http,
            probe=probe,
            dialled=target,
            now_s=answered[0].value[0],
            target=Target(
                kind="prometheus",
                name=target.name,
                address=visible(f"{shown}:{port}{prefix}"),
                encrypted=tls is not None,
                verified=tls is not None and tls.verify,
                local=http.local,
            ),
        )


def _parts(url: str) -> tuple[str, str, int, str]:
    """Read scheme, host, port and path prefix. Raises `Unreachable` for what is none of ours."""
    fix = "write http://host:9090, https:// for TLS, and the path prefix if it has one"
    try:
        parts = urlsplit(url.strip())
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        message = "the Prometheus address is not http[s]://host[:port][/prefix]"
        raise Unreachable(message, rung=Rung.RESOLVE, fix=fix) from error
    if parts.scheme not in _PORTS or not host:
        message = f"the Prometheus address has scheme {visible(parts.scheme)!r}, not http:// or https://"
        raise Unreachable(message, rung=Rung.RESOLVE, fix=fix)
    if parts.query or parts.fragment or not url.strip().isprintable() or " " in url.strip():
        message = "the Prometheus address has more than a path after its host"
        raise Unreachable(message, rung=Rung.RESOLVE, fix=fix)
    return parts.scheme, host, port or _PORTS[parts.scheme], parts.path.rstrip("/")


def _headers(target: config.PrometheusTarget, probe: Probe) -> dict[str, str | bytes]:
    """Say who we are: a bearer token, or user and password; a password without a user is a token, too."""
    parts = urlsplit(target.url.strip())
    user = target.username or unquote(parts.username or "")
    password = unquote(parts.password or "") or config.password(target)
    if password:
        probe.secrets.add(password)
    headers: dict[str, str | bytes] = {"User-Agent": probe.client_name, "Accept": "application/json"}
    token = target.token or ("" if user else password)
    if token:
        headers["Authorization"] = f"Bearer {token}".encode()
    elif user:
        packed = b64encode(f"{user}:{password}".encode()).decode()
        probe.secrets.add(packed)
        headers["Authorization"] = f"Basic {packed}"
    if target.tenant:
        headers["X-Scope-OrgID"] = target.tenant.encode()
    return headers


def _within(probe: Probe) -> dict[str, str]:
    """Let the server, too, give up when nobody waits any more."""
    return {"timeout": f"{max(1, round(probe.deadline.remaining_s))}s"}


def instant(session: Session, query: str, at_s: int) -> list[Instant]:
    """Ask for an instant vector at a moment. Raises a `SourceError`."""
    words = {"time": str(at_s), **_within(session.probe)}
    return asked(session.http, session.client.custom_query, list[Instant], query, params=words)


def raw(session: Session, selector: str, at_s: int, span_s: int) -> list[Samples]:
    """Ask for the samples of the `span_s` seconds up to a moment, with the times they were scraped at."""
    words = {"time": str(at_s), **_within(session.probe)}
    return asked(session.http, session.client.custom_query, list[Samples], f"{selector}[{span_s}s]", params=words)


def known_series(session: Session, selectors: Sequence[str], start_s: int, end_s: int) -> list[dict[str, str]]:
    """Ask which series there were in a span, by the index only. Raises a `SourceError`."""
    start, end = (datetime.fromtimestamp(at_s, UTC) for at_s in (start_s, end_s))
    words = {"match[]": [*selectors]}
    return asked(session.http, session.client.get_series, list[dict[str, str]], start, end, params=words)


def number(written: str) -> float:
    """Read the value of a sample. Raises `Unreadable` when it is none."""
    try:
        return float(written)
    except ValueError as error:
        message = f"a sample is no number: {visible(repr(written[:40]))}"
        raise Unreadable(message, rung=Rung.DECODE, fix="is something between here and Prometheus?") from error


def asked(http: BoundedSession, ask: Any, wanted: type[T], *words: Any, **named: Any) -> T:
    """Call the client and give its answer a type. Raises a `SourceError`."""
    try:
        return msgspec.convert(ask(*words, **named), wanted)
    except (PrometheusApiClientException, msgspec.ValidationError, KeyError, TypeError, ValueError) as error:
        if http.probe.deadline.passed:
            raise http.probe.too_slow() from error
        message = f"an answer is not what the API promises: {visible(str(error))[:200]}"
        raise Unreadable(message, rung=Rung.DECODE, fix="is something between here and Prometheus?") from error
