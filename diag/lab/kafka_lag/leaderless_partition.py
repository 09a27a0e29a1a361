"""A broker dies, and with it the only replica of some partitions of a topic that a live group reads.

The rest goes on: the controllers have two voters of three, internal topics have two replicas of
three, the group keeps its coordinator, and has read everything there was.
"""

from __future__ import annotations

import contextlib
import random
import sys
from collections.abc import Callable, Iterator
from signal import SIGINT
from typing import Any

from kafka import KafkaProducer
from kafka.admin import KafkaAdminClient, NewTopic
from kafka.errors import KafkaError

from diag.lab import kafka_metadata, process, services
from diag.lab.kafka_lag import _traffic
from diag.lab.servers import KafkaCluster, KafkaNode, Servers, folder_of

NEEDS = ("kafka_cluster",)
GAPS = ("log_ends",)  # where nobody leads, nobody tells where the log ends
_DEADLINE_S = 60.0


@contextlib.contextmanager
def broken(servers: Servers, *, seed: int = 0) -> Iterator[None]:
    """Kill a node that is not the group's coordinator; in the end bring it back, remove topic and group."""
    assert servers.kafka_cluster is not None
    cluster, chance = servers.kafka_cluster, random.Random(str(seed))  # noqa: S311  a scenario, no secret
    for node in cluster.nodes:
        services.start_node(cluster, node.node_id)  # one may be down because its scenario was killed
    topic, group = _traffic.fresh("payments"), _traffic.fresh("ledger")
    partitions, records = chance.randint(1, 3) * len(cluster.nodes), chance.randint(20, 200)
    with contextlib.ExitStack() as undo:
        undo.callback(_forget, cluster, topic, group)
        _fill(cluster, topic, partitions, records)
        undo.enter_context(_reading(cluster, topic, group))
        with contextlib.closing(KafkaAdminClient(bootstrap_servers=cluster.bootstrap_servers)) as admin:
            _wait(lambda: _has_read(admin, group, [records] * partitions), "the group has not read everything")
            victim = chance.choice([node for node in cluster.nodes if not _coordinates(admin, node, group)])
        undo.callback(_bring_back, cluster, victim, topic)
        services.kill_node(cluster, victim.node_id)
        _wait(lambda: _leads(cluster, victim, topic) == {False}, f"node {victim.node_id} is said to lead partitions")
        yield


def _fill(cluster: KafkaCluster, topic: str, partitions: int, records: int) -> None:
    """Make a topic of one replica with its partitions on all nodes in turn, and write to each as many records."""
    holders = [node.node_id for node in cluster.nodes]
    placed = {number: [holders[number % len(holders)]] for number in range(partitions)}
    with contextlib.closing(KafkaAdminClient(bootstrap_servers=cluster.bootstrap_servers)) as admin:
        admin.create_topics([NewTopic(topic, replica_assignments=placed)], wait_for_metadata=True)
    with contextlib.closing(KafkaProducer(bootstrap_servers=cluster.bootstrap_servers)) as producer:
        for number in range(partitions * records):
            producer.send(topic, b"payment", partition=number % partitions)
        producer.flush(_DEADLINE_S)


@contextlib.contextmanager
def _reading(cluster: KafkaCluster, topic: str, group: str) -> Iterator[None]:
    """Have one member read the topic and commit once a second: a process, for a thread's library would be ours, too."""
    options = {"auto_offset_reset": "earliest", "auto_commit_interval_ms": 1000, "session_timeout_ms": 6000}
    command = [sys.executable, "-P", "-W", "ignore", "-m", "kafka.consumer", "-b", cluster.bootstrap_servers]
    command += ["-t", topic, "-g", group, "-f", "raw", *(f"-C{name}={value}" for name, value in options.items())]
    member = process.spawn(command, log=folder_of(cluster) / f"{group}.log")
    try:
        yield
    finally:
        process.stop(member, SIGINT)  # it leaves the group


def _has_read(admin: Any, group: str, records: list[int]) -> bool:
    committed = admin.list_group_offsets({group: None})[group].values()
    return [commit.offset for commit in committed] == records


def _coordinates(admin: Any, node: KafkaNode, group: str) -> bool:
    return group in {listed["group_id"] for listed in admin.list_groups(broker_ids=[node.node_id])}


def _leads(cluster: KafkaCluster, victim: KafkaNode, topic: str) -> set[bool]:
    """Ask every other node whether the victim's partitions have a leader; empty while one does not answer."""
    index = cluster.nodes.index(victim)
    said = [kafka_metadata.ask(node.port, [topic]) for node in cluster.nodes if node is not victim]
    leaders = [metadata.leaders.get(topic, {}) for metadata in said if metadata is not None]
    if len(leaders) < len(cluster.nodes) - 1 or not all(leaders):
        return set()
    its_own = [leader[number] for leader in leaders for number in leader if number % len(cluster.nodes) == index]
    return {leader != kafka_metadata.NO_LEADER for leader in its_own}


def _bring_back(cluster: KafkaCluster, victim: KafkaNode, topic: str) -> None:
    services.start_node(cluster, victim.node_id)
    _wait(lambda: _leads(cluster, victim, topic) == {True}, f"node {victim.node_id} does not lead its partitions again")


def _forget(cluster: KafkaCluster, topic: str, group: str) -> None:
    with contextlib.closing(KafkaAdminClient(bootstrap_servers=cluster.bootstrap_servers)) as admin:
        admin.delete_topics([topic], raise_errors=False)

        def is_gone() -> bool:
            admin.delete_groups([group])
            return group not in {listed["group_id"] for listed in admin.list_groups()}

        _wait(is_gone, f"group {group} is not removed")


def _wait(is_so: Callable[[], bool], otherwise: str) -> None:
    """Wait, also through errors that a cluster gives while a coordinator or a leader is on its way."""

    def is_so_by_now() -> bool:
        try:
            return is_so()
        except KafkaError as error:
            if not error.retriable:
                raise
            return False

    if not process.wait_until(is_so_by_now, _DEADLINE_S):
        message = f"after {_DEADLINE_S:.0f} s {otherwise}"
        raise TimeoutError(message)
