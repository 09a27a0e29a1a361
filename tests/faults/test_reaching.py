"""A server that cannot be reached: the rung where it stopped is named, in time."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
from faultproxy import Fault, FaultProxy, full_port
from faults.command import KINDS
from faults.contract import saw_nothing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from faults.fixtures import InTime, Look

_PATIENT_S = 5.0
_DEADLINE_S = 1.2
_CLOSED = "127.0.0.1:1"  # tcpmux: nobody listens there
_FIRST_ANSWER = {"postgres": "tls", "redis": "auth", "kafka": "auth"}
"""The rung that waits for the very first byte; PostgreSQL is asked for TLS first (sslmode=prefer)."""


class _Quiet(BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def http_port() -> Iterator[int]:
    """A web server."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def test_a_refused_port_is_told_at_once(look: Look, kind: str, in_time: InTime) -> None:
    ran = look(kind, _CLOSED, _PATIENT_S)
    saw_nothing(ran, kind, "connect")
    in_time(ran, kind, 0.0)
    assert "refused" in ran.gap["why"]
    assert _CLOSED.rpartition(":")[2] in ran.gap["why"]


def test_a_name_that_does_not_resolve_is_told_at_once(look: Look, kind: str, in_time: InTime) -> None:
    ran = look(kind, "nowhere.invalid:7", _PATIENT_S)
    saw_nothing(ran, kind, "resolve")
    in_time(ran, kind, _PATIENT_S)
    assert "nowhere.invalid" in ran.gap["why"]


def test_a_port_whose_queue_is_full_is_given_up_at_the_deadline(look: Look, kind: str, in_time: InTime) -> None:
    with full_port() as port:
        ran = look(kind, f"127.0.0.1:{port}", _DEADLINE_S)
    saw_nothing(ran, kind, "connect")
    in_time(ran, kind, _DEADLINE_S)


def test_a_server_that_accepts_and_never_answers_is_given_up(look: Look, kind: str, in_time: InTime) -> None:
    with FaultProxy(1, Fault("silence")) as proxy:
        ran = look(kind, f"127.0.0.1:{proxy.port}", _DEADLINE_S)
    saw_nothing(ran, kind, _FIRST_ANSWER[kind])
    in_time(ran, kind, _DEADLINE_S)
    assert proxy.connections == 1
    assert proxy.to_server_bytes > 0


def test_a_silent_postgres_without_tls_is_waited_for_on_rung_auth(look: Look, in_time: InTime) -> None:
    with FaultProxy(1, Fault("silence")) as proxy:
        ran = look("postgres", f"127.0.0.1:{proxy.port}", _DEADLINE_S, "--dsn", _without_tls(proxy.port))
    saw_nothing(ran, "postgres", "auth")
    in_time(ran, "postgres", _DEADLINE_S)


@pytest.mark.parametrize("kind", KINDS)
def test_a_web_server_is_not_taken_for_one_of_ours(look: Look, kind: str, http_port: int, in_time: InTime) -> None:
    ran = look(kind, f"127.0.0.1:{http_port}", _DEADLINE_S)
    in_time(ran, kind, _DEADLINE_S)
    if kind == "redis":  # the only one whose request ends in a newline, so that HTTP answers
        saw_nothing(ran, kind, "decode")
        assert "an HTTP server" in ran.gap["why"]
    else:
        saw_nothing(ran, kind, _FIRST_ANSWER[kind])


@pytest.mark.parametrize(
    ("kind", "other", "rung", "said"),
    [
        ("postgres", "redis_server", "tls", "no answer"),  # Redis waits for a newline
        ("redis", "postgres", "decode", "closed"),  # PostgreSQL closes without a word
        ("kafka", "postgres", "decode", "answers like PostgreSQL"),
        ("kafka", "redis_server", "auth", "no answer"),
    ],
)
def test_a_port_of_another_system_is_told(  # noqa: PLR0913  a row of the table
    look: Look, in_time: InTime, request: pytest.FixtureRequest, *, kind: str, other: str, rung: str, said: str
) -> None:
    port = request.getfixturevalue(other).port
    ran = look(kind, f"127.0.0.1:{port}", _DEADLINE_S)
    saw_nothing(ran, kind, rung)
    in_time(ran, kind, _DEADLINE_S)
    assert said in ran.gap["why"]


def _without_tls(port: int) -> str:
    return f"postgresql://postgres@127.0.0.1:{port}/postgres?sslmode=disable"
