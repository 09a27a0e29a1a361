"""Fixtures: faults in front of the session's servers, the command, and how late it ended."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Protocol

import pytest
from faultproxy import NOTHING, Fault, FaultProxy
from faults.command import CLEAR, GRACE_S, KINDS, Ran, run, words_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from diag.lab.servers import KafkaServer

_GROUPS = 12
_LEAST_BYTES = 1_000  # a conversation that is worth breaking; the groups are that many for it
_WHOLE_S = 10.0
_START_S = 2.0  # 0.1 to 0.4 s on two cores
LATE: dict[str, list[tuple[float, str]]] = {kind: [] for kind in KINDS}


class Proxied(Protocol):
    """Puts a fault in front of the session's server of a kind."""

    def __call__(self, kind: str, fault: Fault = NOTHING) -> AbstractContextManager[FaultProxy]:
        """Every connection of the look crosses the proxy, Kafka's too."""


class Look(Protocol):
    """Runs the command for a kind of server at an address."""

    def __call__(self, kind: str, address: str, deadline_s: float, *more: str) -> Ran:
        """`more` are further words of the command line."""


class InTime(Protocol):
    """Fails unless the command ended by its deadline and half a second; a deadline of 0 stands for "at once"."""

    def __call__(self, ran: Ran, kind: str, deadline_s: float) -> None:
        """See the fixture."""


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Each kind of source in turn."""
    return str(request.param)


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder of the commands' own: no configuration, no pass file."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def look(home: Path) -> Look:
    """Run the command for one server."""

    def look(kind: str, address: str, deadline_s: float, *more: str) -> Ran:
        return run((*words_for(kind, address), *more), deadline_s, home)

    return look


@pytest.fixture(scope="session")
def proxied(request: pytest.FixtureRequest) -> Proxied:
    """A fault proxy in front of a session's server."""

    @contextlib.contextmanager
    def proxied(kind: str, fault: Fault = NOTHING) -> Iterator[FaultProxy]:
        port = request.getfixturevalue(_SERVERS[kind]).port
        with FaultProxy(port, fault) as proxy:
            if kind == "kafka":
                proxy.rewrite = (_advertised(port), _advertised(proxy.port))
            yield proxy

    return proxied


_SERVERS = {"postgres": "postgres", "redis": "redis_server", "kafka": "kafka_with_groups"}


def _advertised(port: int) -> bytes:
    """A broker's address as Metadata answers write it: host, then port."""
    return b"127.0.0.1" + port.to_bytes(4, "big")


@pytest.fixture(scope="session")
def kafka_with_groups(kafka: KafkaServer) -> Iterator[KafkaServer]:
    """The session's broker while some groups have committed."""
    from faults.groups import committed_groups

    with committed_groups(kafka.bootstrap_servers, _GROUPS):
        yield kafka


@pytest.fixture(scope="session")
def whole(look: Look, proxied: Proxied) -> dict[str, bytes]:
    """The answers of a whole conversation with each kind of server."""
    answers = {}
    for kind in KINDS:
        with proxied(kind) as proxy:
            ran = look(kind, f"127.0.0.1:{proxy.port}", _WHOLE_S)
        assert ran.code == CLEAR, ran
        assert proxy.connections == 1
        answers[kind] = bytes(proxy.answers)
        assert len(answers[kind]) > _LEAST_BYTES
    return answers


@pytest.fixture
def in_time(request: pytest.FixtureRequest) -> InTime:
    """Bound a command, plainly: from the beginning of its first look to the end of its process.

    The whole process has that, and its own start-up as the kernel saw it, which has a bound too:
    a command that waits for a server before its clock runs would hide there.
    """

    def in_time(ran: Ran, kind: str, deadline_s: float) -> None:
        if deadline_s:
            LATE[kind].append((ran.took_s - deadline_s, request.node.name))
        assert ran.took_s <= deadline_s + GRACE_S
        assert ran.start_s <= _START_S

    return in_time
