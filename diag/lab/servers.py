"""What a running server of the lab is: enough for a client to reach it and for its owner to stop it."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Literal

from msgspec import Struct

from diag.errors import DiagError, ExitCode
from diag.lab.process import Identity

Kind = Literal["postgres", "postgres_standby", "redis", "kafka", "kafka_cluster", "prometheus"]
KINDS: tuple[Kind, ...] = ("postgres", "postgres_standby", "redis", "kafka", "kafka_cluster", "prometheus")
STARTED_UNASKED: tuple[Kind, ...] = ("postgres", "redis", "kafka")  # the others are for a few faults


class MissingServer(DiagError):
    """A program that the lab needs is not installed; the hint says how to get it."""

    exit_code = ExitCode.NO_TARGET


class PostgresServer(Struct, frozen=True, kw_only=True):
    """A PostgreSQL server. `dsn` is for its superuser `postgres`, who needs no password on loopback.

    A standby has the `dsn` and the pid of its primary, with which it was started and is stopped.
    """

    kind: Literal["postgres"] = "postgres"
    pid: int
    started_ticks: int
    port: int
    data_folder: str
    log: str
    version: str
    dsn: str
    socket_folder: str = ""
    primary_dsn: str = ""
    primary_pid: int = 0


class RedisServer(Struct, frozen=True, kw_only=True):
    """A Redis server. `url` holds the password, if one was set."""

    kind: Literal["redis"] = "redis"
    pid: int
    started_ticks: int
    port: int
    data_folder: str
    log: str
    version: str
    url: str


class KafkaServer(Struct, frozen=True, kw_only=True):
    """One Kafka node, broker and controller. `sasl_bootstrap_servers` is empty unless users were asked for."""

    kind: Literal["kafka"] = "kafka"
    pid: int
    started_ticks: int
    port: int
    data_folder: str
    log: str
    version: str
    cluster_id: str
    bootstrap_servers: str
    sasl_bootstrap_servers: str = ""


class KafkaNode(Struct, frozen=True, kw_only=True):
    """One node of a cluster, broker and controller. Its pid is another after each start: see `services.node_pids`."""

    node_id: int
    port: int
    data_folder: str
    log: str
    bootstrap_servers: str


class KafkaCluster(Struct, frozen=True, kw_only=True):
    """Kafka nodes that share a controller quorum. `pid` is of their parent, with which all of them end."""

    kind: Literal["kafka_cluster"] = "kafka_cluster"
    pid: int
    started_ticks: int
    data_folder: str
    log: str
    version: str
    cluster_id: str
    bootstrap_servers: str
    nodes: tuple[KafkaNode, ...]


class PrometheusServer(Struct, frozen=True, kw_only=True):
    """A Prometheus server that scrapes nothing unless told to. `url` holds its prefix."""

    kind: Literal["prometheus"] = "prometheus"
    pid: int
    started_ticks: int
    port: int
    data_folder: str
    log: str
    version: str
    url: str


Server = PostgresServer | RedisServer | KafkaServer | KafkaCluster | PrometheusServer


class Servers(Struct, frozen=True, kw_only=True):
    """The servers of one lab; None where a kind was not asked for."""

    postgres: PostgresServer | None = None
    postgres_standby: PostgresServer | None = None
    redis: RedisServer | None = None
    kafka: KafkaServer | None = None
    kafka_cluster: KafkaCluster | None = None
    prometheus: PrometheusServer | None = None

    @property
    def running(self) -> tuple[Server, ...]:
        """The servers that were started, in the order of `KINDS`."""
        return tuple(server for kind in KINDS if (server := getattr(self, kind)) is not None)


def identity_of(server: Server) -> Identity:
    """Who the server's first process is."""
    return Identity(server.pid, server.started_ticks)


def folder_of(server: Server) -> Path:
    """The folder that was given to `start_…`: it holds the data folder, the log and the configuration."""
    return Path(server.data_folder).parent


def stop_signal(server: Server) -> signal.Signals:
    """How the server is asked to end at once but in order (PostgreSQL: "fast shutdown")."""
    return signal.SIGINT if server.kind == "postgres" else signal.SIGTERM
