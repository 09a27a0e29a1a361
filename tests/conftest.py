"""Real servers for the tests: each fixture's server ends with pytest, even by kill -9.

The session's servers are shared, so a test leaves them as it found them; one that pauses,
kills or configures a server asks for a private one. Under xdist each worker has its own.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NoReturn, Protocol, TypeVar

import pytest

from diag.lab import folders, process, services
from diag.lab.postgres import majors
from diag.lab.servers import (
    KafkaCluster,
    KafkaServer,
    MissingServer,
    PostgresServer,
    PrometheusServer,
    RedisServer,
    Server,
    Servers,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from diag.lab.openmetrics import Sample

AServer = TypeVar("AServer", PostgresServer, RedisServer, KafkaServer, KafkaCluster, PrometheusServer)
_FIXTURES = {
    "postgres": "postgres",
    "postgres_standby": "postgres_standby",
    "redis": "redis_server",
    "kafka": "kafka",
    "kafka_cluster": "kafka_cluster",
    "prometheus": "prometheus",
}
_HOW_TO_GET_IT = "Run: make deps"


class StartPostgres(Protocol):
    """Starts a PostgreSQL server that ends with the test."""

    def __call__(self, *, settings: Mapping[str, str] | None = None, major: int = 0) -> PostgresServer:
        """See `services.start_postgres`."""


class StartRedis(Protocol):
    """Starts a Redis server that ends with the test."""

    def __call__(self, *, requirepass: str = "", directives: Sequence[str] = ()) -> RedisServer:
        """See `services.start_redis`."""


class StartKafka(Protocol):
    """Starts a Kafka broker that ends with the test."""

    def __call__(
        self, *, properties: Mapping[str, str] | None = None, users: Mapping[str, str] | None = None
    ) -> KafkaServer:
        """See `services.start_kafka`."""


class StartKafkaCluster(Protocol):
    """Starts a Kafka cluster that ends with the test."""

    def __call__(self, *, nodes: int = 3, properties: Mapping[str, str] | None = None) -> KafkaCluster:
        """See `services.start_kafka_cluster`."""


class StartPrometheus(Protocol):
    """Starts a Prometheus server that ends with the test."""

    def __call__(
        self, *, history: Iterable[Sample] = (), scrapes: Sequence[str] = (), web: str = "", prefix: str = ""
    ) -> PrometheusServer:
        """See `services.start_prometheus`."""


class ServersFor(Protocol):
    """Gives the session's servers of some kinds, and starts no other."""

    def __call__(self, kinds: Sequence[str]) -> Servers:
        """Kinds as a scenario's `NEEDS` names them."""


@pytest.fixture(scope="session")
def lab_folder() -> Iterator[Path]:
    """A temporary folder that a server can live in even when it runs as another user (pytest's own is closed)."""
    folder = folders.private_folder()
    yield folder
    folders.remove(folder)


@pytest.fixture(scope="session")
def postgres(lab_folder: Path) -> Iterator[PostgresServer]:
    """The session's PostgreSQL server."""
    yield from _running(lambda: services.start_postgres(lab_folder / "postgres"))


@pytest.fixture(scope="session")
def postgres_standby(lab_folder: Path) -> Iterator[PostgresServer]:
    """The session's PostgreSQL standby, with a primary of its own."""
    yield from _running(lambda: services.start_standby(lab_folder / "postgres_standby"))


MAJORS = (13, 14, 17, 18)  # beside the distribution's own; `.ci/deps` fetches them


class PostgresOf(Protocol):
    """Gives the session's server of a major version, started when first asked for."""

    def __call__(self, major: int) -> PostgresServer:
        """One of `every_major`; skips the test where that version is not installed."""


@pytest.fixture(scope="session")
def postgres_of(lab_folder: Path) -> Iterator[PostgresOf]:
    """The session's servers by major version; several sessions that are all kept waiting need many connections."""
    started: dict[int, PostgresServer] = {}

    def start(major: int) -> PostgresServer:
        if major not in started:
            folder = lab_folder / f"postgres-{major}"
            settings = {"max_connections": "300"}
            started[major] = _start_or_leave(lambda: services.start_postgres(folder, settings=settings, major=major))
        return started[major]

    yield start
    for server in started.values():
        services.stop(server)


def every_major() -> list[int]:
    """Every major version that is installed, and those that have to be."""
    return sorted({*MAJORS, *majors()})


@pytest.fixture(scope="session")
def redis_server(lab_folder: Path) -> Iterator[RedisServer]:
    """The session's Redis server."""
    yield from _running(lambda: services.start_redis(lab_folder / "redis"))


@pytest.fixture(scope="session")
def kafka(lab_folder: Path) -> Iterator[KafkaServer]:
    """The session's Kafka broker."""
    yield from _running(lambda: services.start_kafka(lab_folder / "kafka"))


@pytest.fixture(scope="session")
def kafka_cluster(lab_folder: Path) -> Iterator[KafkaCluster]:
    """The session's three Kafka nodes, all up: 5 s and 450 MB, for what one broker cannot show."""
    yield from _running(lambda: services.start_kafka_cluster(lab_folder / "kafka_cluster"))


@pytest.fixture(scope="session")
def prometheus(lab_folder: Path) -> Iterator[PrometheusServer]:
    """The session's Prometheus server; `diag.lab.prometheus.recorded` gives it a past for a while."""
    yield from _running(lambda: services.start_prometheus(lab_folder / "prometheus"))


@pytest.fixture
def servers_for(request: pytest.FixtureRequest) -> ServersFor:
    """Return what gives a scenario the servers in its `NEEDS`, started when first asked for."""
    return lambda kinds: Servers(**{kind: request.getfixturevalue(_FIXTURES[kind]) for kind in kinds})


@pytest.fixture(scope="session")
def lab_servers(postgres: PostgresServer, redis_server: RedisServer, kafka: KafkaServer) -> Servers:
    """One server of each kind, as a scenario takes them."""
    return Servers(postgres=postgres, redis=redis_server, kafka=kafka)


@pytest.fixture
def private_postgres() -> Iterator[StartPostgres]:
    """Start PostgreSQL servers for one test; each takes about 0.2 s."""
    started = _Started()

    def start(*, settings: Mapping[str, str] | None = None, major: int = 0) -> PostgresServer:
        return started.add(lambda: services.start_postgres(started.next_folder(), settings=settings, major=major))

    yield start
    started.stop()


@pytest.fixture
def private_redis() -> Iterator[StartRedis]:
    """Start Redis servers for one test; each takes about 0.05 s."""
    started = _Started()

    def start(*, requirepass: str = "", directives: Sequence[str] = ()) -> RedisServer:
        return started.add(
            lambda: services.start_redis(started.next_folder(), requirepass=requirepass, directives=directives)
        )

    yield start
    started.stop()


@pytest.fixture
def private_kafka() -> Iterator[StartKafka]:
    """Start Kafka brokers for one test; each takes about 1.2 s, with users 2 s."""
    started = _Started()

    def start(*, properties: Mapping[str, str] | None = None, users: Mapping[str, str] | None = None) -> KafkaServer:
        return started.add(lambda: services.start_kafka(started.next_folder(), properties=properties, users=users))

    yield start
    started.stop()


@pytest.fixture
def private_kafka_cluster() -> Iterator[StartKafkaCluster]:
    """Start Kafka clusters for one test; each of three nodes takes about 5 s."""
    started = _Started()

    def start(*, nodes: int = 3, properties: Mapping[str, str] | None = None) -> KafkaCluster:
        return started.add(
            lambda: services.start_kafka_cluster(started.next_folder(), nodes=nodes, properties=properties)
        )

    yield start
    started.stop()


@pytest.fixture
def private_prometheus() -> Iterator[StartPrometheus]:
    """Start Prometheus servers for one test; each takes about 0.3 s, and its history 0.1 s for each 10 000 samples."""
    started = _Started()

    def start(
        *, history: Iterable[Sample] = (), scrapes: Sequence[str] = (), web: str = "", prefix: str = ""
    ) -> PrometheusServer:
        sides = {"scrapes": scrapes, "web": web, "prefix": prefix}
        return started.add(lambda: services.start_prometheus(started.next_folder(), history=history, **sides))

    yield start
    started.stop()


class _Started:
    """The private servers of one test."""

    def __init__(self) -> None:
        self._folder = folders.private_folder()
        self._servers: list[Server] = []

    def next_folder(self) -> Path:
        return self._folder / str(len(self._servers))

    def add(self, start: Callable[[], AServer]) -> AServer:
        server = _start_or_leave(start)
        self._servers.append(server)
        return server

    def stop(self) -> None:
        for server in self._servers:
            if process.is_child(server.pid):  # unless the test has stopped it
                services.stop(server)
        folders.remove(self._folder)


def _running(start: Callable[[], AServer]) -> Iterator[AServer]:
    server = _start_or_leave(start)
    yield server
    services.stop(server)


def _start_or_leave(start: Callable[[], AServer]) -> AServer:
    try:
        return start()
    except MissingServer as error:
        leave(f"{error.message} {_HOW_TO_GET_IT}")


def leave(why: str) -> NoReturn:
    """A machine without the server skips the test and says so; CI must have it."""
    if os.environ.get("CI") == "true":
        pytest.fail(why)
    pytest.skip(why)


def pytest_configure(config: pytest.Config) -> None:
    """Let kafka-python load its schemas: on Python 3.11 and 3.12 that warns, and warnings are errors here."""
    config.addinivalue_line("filterwarnings", "ignore:(read|open)_text is deprecated:DeprecationWarning")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say loudly what was not tried because a server is missing."""
    skipped = [report for report in terminalreporter.stats.get("skipped", []) if _HOW_TO_GET_IT in str(report.longrepr)]
    if skipped:
        terminalreporter.section("NOT TRIED: servers are missing on this machine", red=True, bold=True)
        for why in sorted({str(report.longrepr[2]) for report in skipped}):
            terminalreporter.line(why)
        terminalreporter.line(f"{len(skipped)} tests were skipped for that.")
