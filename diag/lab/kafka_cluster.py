"""A Kafka cluster of one's own: several small nodes, each broker and controller, with one parent.

The parent (`nodes.py`) lets any process that holds the `KafkaCluster` kill, pause and start single
nodes, as a scenario must that is no parent of theirs; it ends, and they with it, when its owner ends.
Source: Kafka 4.3 documentation, "KRaft" (static voters), "Broker configs", KIP-631 (fencing).
"""

from __future__ import annotations

import os
import socket
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from diag.errors import DiagError, UsageError
from diag.lab import folders, kafka, kafka_files, kafka_metadata, launch, process
from diag.lab.servers import KafkaCluster, KafkaNode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PARENT: Final = Path(__file__).resolve().parent / "nodes.py"
_READY_S: Final = 120.0
_ORDER_S: Final = 30.0
_COPIES: Final = 3
_INTERNAL: Final = ("offsets.topic", "transaction.state.log", "share.coordinator.state.topic")

_DEFAULTS: Final = {
    # A dead node is missed in seconds; not in one, because a busy machine is no dead node.
    "broker.heartbeat.interval.ms": "500",
    "broker.session.timeout.ms": "5000",
    # What a scenario has put somewhere stays there.
    "auto.leader.rebalance.enable": "false",
}


def start_kafka_cluster(folder: Path, *, nodes: int = 3, properties: Mapping[str, str] | None = None) -> KafkaCluster:
    """Start a cluster with its files below `folder`, which is made if need be and is removed by `services.stop`.

    Returns when every node lists all brokers. `properties` prevail over the lab's, on every node.
    Raises as `start_kafka`.
    """
    java = kafka.installed()
    below, log = folders.make(folders.make(folder) / "nodes"), folder / "parent.log"
    if not folders.fits_a_socket(_orders(below)):
        msg = f"The path {_orders(below)} is too long for a Unix socket."
        raise DiagError(msg, hint="Set TMPDIR to a shorter one.")
    cluster_id = kafka_files.new_id()

    def start(ports: tuple[int, ...]) -> int:
        folders.remove(below)
        plans = _laid_out(folders.make(below), cluster_id, ports, java, properties or {})
        folders.write_whole(below / "nodes.json", msgspec.json.encode(plans))
        command = [sys.executable, "-I", "-S", str(_PARENT), str(below)]
        return process.spawn(command, log=log, env=kafka.environment(), cwd=below)

    def is_ready(_pid: int, ports: tuple[int, ...]) -> bool:
        brokers = ports[:nodes]
        return all(kafka_metadata.lists(port, cluster_id, brokers) for port in brokers)

    pid, ports = launch.on_free_ports("Kafka's cluster", start, is_ready, ports=2 * nodes, log=log, deadline_s=_READY_S)
    who = process.identity(pid)
    made = tuple(_node(below, node_id, port) for node_id, port in enumerate(ports[:nodes], start=1))
    return KafkaCluster(
        pid=pid,
        started_ticks=who.started_ticks if who else 0,
        data_folder=str(below),
        log=str(log),
        version=kafka_files.kafka_version(),
        cluster_id=cluster_id,
        bootstrap_servers=",".join(node.bootstrap_servers for node in made),
        nodes=made,
    )


def node_pids(cluster: KafkaCluster) -> dict[int, int]:
    """Return the pid of each node by its id; 0 where the node is down. Raises DiagError when the cluster is gone."""
    return _order(cluster, "status")


def kill_node(cluster: KafkaCluster, node_id: int) -> None:
    """End a node at once and in no order (SIGKILL); who dials it is refused. It may be down already."""
    _order(cluster, f"kill {_known(cluster, node_id)}")


def start_node(cluster: KafkaCluster, node_id: int) -> None:
    """Start a node that is down, on its old data; return when all nodes that run list each other. It may run already.

    Raises DiagError when that takes more than two minutes.
    """
    pids = _order(cluster, f"start {_known(cluster, node_id)}")
    brokers = [node.port for node in cluster.nodes if pids[node.node_id]]

    def is_whole() -> bool:
        return all(kafka_metadata.lists(port, cluster.cluster_id, brokers) for port in brokers)

    if not process.wait_until(is_whole, _READY_S):
        msg = f"Kafka's node {node_id} was not back after {_READY_S:.0f} s."
        raise DiagError(msg, hint=f"See {cluster.nodes[node_id - 1].log}")


def pause_node(cluster: KafkaCluster, node_id: int) -> None:
    """Stop a node where it is (SIGSTOP): it accepts connections and answers nothing."""
    _order(cluster, f"pause {_known(cluster, node_id)}")


def resume_node(cluster: KafkaCluster, node_id: int) -> None:
    """Let a paused node go on."""
    _order(cluster, f"resume {_known(cluster, node_id)}")


def _laid_out(
    below: Path, cluster_id: str, ports: tuple[int, ...], java: kafka.Installed, properties: Mapping[str, str]
) -> dict[str, dict[str, Sequence[str]]]:
    """Write every node's settings and formatted data; return what the parent has to know."""
    count = len(ports) // 2
    brokers, controllers = ports[:count], ports[count:]
    voters = ",".join(f"{number}@{launch.HOST}:{port}" for number, port in enumerate(controllers, start=1))
    plans: dict[str, dict[str, Sequence[str]]] = {}
    for number, (broker, controller) in enumerate(zip(brokers, controllers, strict=True), start=1):
        node = _node(below, number, broker)
        place = folders.make(Path(node.data_folder).parent)
        kafka_files.copy_formatted(
            Path(node.data_folder), number, cluster_id, runtime=java.runtime, classes=java.classes
        )
        chosen = kafka.DEFAULTS | _DEFAULTS | _copies(count) | {"node.id": str(number), "log.dirs": node.data_folder}
        chosen |= kafka.listeners(broker, controller) | {"controller.quorum.voters": voters} | dict(properties)
        settings = place / "server.properties"
        folders.write_whole(settings, kafka.written(chosen))
        addresses = [str(broker), str(controller)]
        plans[str(number)] = {"argv": java.command(settings), "log": node.log, "ports": addresses}
    return plans


def _copies(nodes: int) -> dict[str, str]:
    """Keep internal topics on all nodes, up to three, so that coordinators outlive one of them."""
    copies = min(nodes, _COPIES)
    factors = {f"{topic}.replication.factor": str(copies) for topic in _INTERNAL}
    return factors | {f"{topic}.min.isr": str(max(1, copies - 1)) for topic in _INTERNAL[1:]}


def _node(below: Path, node_id: int, port: int) -> KafkaNode:
    place = below / str(node_id)
    return KafkaNode(
        node_id=node_id,
        port=port,
        data_folder=str(place / "data"),
        log=str(place / "kafka.log"),
        bootstrap_servers=f"{launch.HOST}:{port}",
    )


def _known(cluster: KafkaCluster, node_id: int) -> int:
    known = [node.node_id for node in cluster.nodes]
    if node_id not in known:
        msg = f"The cluster has no node {node_id}."
        raise UsageError(msg, hint=f"It has {', '.join(map(str, known))}.")
    return node_id


def _order(cluster: KafkaCluster, words: str) -> dict[int, int]:
    try:
        with ExitStack() as stack:
            connection = stack.enter_context(socket.socket(socket.AF_UNIX))
            connection.settimeout(_ORDER_S)
            connection.connect(os.fspath(_orders(Path(cluster.data_folder))))
            connection.sendall(f"{words}\n".encode())
            answers = stack.enter_context(connection.makefile("rb"))
            return msgspec.json.decode(answers.read(), type=dict[int, int])
    except (OSError, msgspec.DecodeError) as error:
        msg = f"The parent of Kafka's nodes (pid {cluster.pid}) did not carry out “{words}”."
        raise DiagError(msg, hint=f"See {cluster.log}") from error


def _orders(below: Path) -> Path:
    return below / "orders"
