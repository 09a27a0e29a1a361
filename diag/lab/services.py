"""The servers of the lab: start, pause, resume and stop them, each in a folder of its own.

Whoever starts a server owns it: when that process ends, however it ends, so does the
server. Start from the main thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from diag.errors import UsageError
from diag.lab import folders, process
from diag.lab.kafka import start_kafka
from diag.lab.kafka_cluster import kill_node, node_pids, pause_node, resume_node, start_kafka_cluster, start_node
from diag.lab.postgres import start_postgres, start_standby
from diag.lab.prometheus import start_prometheus
from diag.lab.redis import start_redis
from diag.lab.servers import (
    KINDS,
    KafkaCluster,
    KafkaNode,
    KafkaServer,
    MissingServer,
    PostgresServer,
    PrometheusServer,
    RedisServer,
    Server,
    Servers,
    folder_of,
    identity_of,
    stop_signal,
)
from diag.text import visible

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "KINDS",
    "KafkaCluster",
    "KafkaNode",
    "KafkaServer",
    "MissingServer",
    "PostgresServer",
    "PrometheusServer",
    "RedisServer",
    "Server",
    "Servers",
    "is_running",
    "kill_node",
    "node_pids",
    "pause",
    "pause_node",
    "resume",
    "resume_node",
    "start",
    "start_kafka",
    "start_kafka_cluster",
    "start_node",
    "start_postgres",
    "start_prometheus",
    "start_redis",
    "start_standby",
    "stop",
]


def start(kind: str, folder: Path) -> Server:
    """Start a server of that kind with the lab's own settings. Raises UsageError for a kind there is not."""
    match kind:
        case "postgres":
            return start_postgres(folder)
        case "postgres_standby":
            return start_standby(folder)
        case "redis":
            return start_redis(folder)
        case "kafka":
            return start_kafka(folder)
        case "kafka_cluster":
            return start_kafka_cluster(folder)
        case "prometheus":
            return start_prometheus(folder)
        case _:
            msg = f"The lab has no server called {visible(kind)}."
            raise UsageError(msg, hint=f"It has {', '.join(KINDS)}.")


def is_running(server: Server) -> bool:
    """Tell whether this very server still runs (a paused one does)."""
    return process.is_alive(identity_of(server))


def stop(server: Server) -> None:
    """End the server in order, by force after 10 s, and remove its folder.

    Raises DiagError, and signals nobody, for a server that this process did not start.
    """
    process.stop(server.pid, stop_signal(server))
    if isinstance(server, PostgresServer) and server.primary_pid:
        process.stop(server.primary_pid, stop_signal(server))
    folders.remove(folder_of(server))


def pause(server: Server) -> None:
    """Stop the server and all its processes where they are (SIGSTOP): it accepts connections and answers nothing."""
    process.pause(server.pid)


def resume(server: Server) -> None:
    """Let a paused server go on."""
    process.resume(server.pid)
