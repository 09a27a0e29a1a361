"""A Kafka node of one's own: broker and controller in one small Java process.

``python -m diag.lab.kafka`` only prepares: it fetches the jars and makes the class archive.
Source: Kafka 4.3 documentation, "Configuration" and "KRaft"; KIP-975 for class-data sharing.
Measured on 2 cores (Kafka 4.3.1, OpenJDK 17): ready in 2.3 s and 334 MB resident at first;
1.2 s and 288 MB with a class archive; 1.0 s and 145 MB with the smaller buffers below too.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from signal import SIGTERM
from typing import TYPE_CHECKING, Final

from diag.errors import DiagError, UsageError
from diag.lab import folders, kafka_files, launch, process
from diag.lab.servers import KafkaServer
from diag.text import visible

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_FLAGS: Final = ["-Xms64m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"]
_READY_S: Final = 60.0
_ANSWER_S: Final = 5.0
_WRITE_ARCHIVE_S: Final = 60.0
_NO_TOPICS: Final = struct.pack(">ib", 0, 0)  # ask about none, create none
_API_VERSIONS, _METADATA = (18, 0), (3, 4)  # key and version; 4.x answers both
_PLAIN: Final = "org.apache.kafka.common.security.plain.PlainLoginModule"
_SCRAM: Final = "org.apache.kafka.common.security.scram.ScramLoginModule"

_DEFAULTS: Final = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    "auto.create.topics.enable": "false",
    # One node keeps one copy.
    "offsets.topic.num.partitions": "5",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.num.partitions": "5",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "5",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    # Groups form, and members are given up, in a second and not in a minute.
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "group.consumer.min.session.timeout.ms": "1000",
    "group.consumer.min.heartbeat.interval.ms": "200",
    "group.share.min.session.timeout.ms": "1000",
    "group.share.min.heartbeat.interval.ms": "200",
    # Retention acts while somebody watches.
    "log.retention.check.interval.ms": "1000",
    "log.initial.task.delay.ms": "500",
    # The defaults (128 MB for the cleaner alone) are for a machine of its own.
    "log.cleaner.dedupe.buffer.size": "4194304",
    "num.network.threads": "2",
    "num.io.threads": "2",
    "background.threads": "2",
}


def start_kafka(
    folder: Path, *, properties: Mapping[str, str] | None = None, users: Mapping[str, str] | None = None
) -> KafkaServer:
    """Start a node with its files below `folder`, which is made if need be and is removed by `services.stop`.

    `properties` prevail over the lab's. `users` (name → password) opens a second listener,
    SASL_PLAINTEXT, where they log in by PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512; the first
    stays open to everybody, as User:ANONYMOUS. The first call fetches jars and makes the
    class archive. Raises MissingServer without Java or Maven, DiagError when the node does
    not start.
    """
    runtime = kafka_files.java()
    classes = kafka_files.class_path(kafka_files.kafka_jars())
    archive = _class_archive(runtime, classes)
    shared = [f"-XX:SharedArchiveFile={archive}"] if archive.stat().st_size else []
    return _start(folder, [*_FLAGS, *shared], runtime, classes, properties or {}, users or {})


def prepare() -> None:
    """Fetch or make everything that `start_kafka` keeps in the cache. Raises as it does."""
    runtime = kafka_files.java()
    _class_archive(runtime, kafka_files.class_path(kafka_files.kafka_jars()))


def _class_archive(runtime: kafka_files.Java, classes: str) -> Path:
    """Return the archive of Kafka's classes, written by a node that was started for it; empty if Java could not."""
    archive = kafka_files.archive_file(runtime, classes, _FLAGS)
    with folders.locked(archive.parent / "classes.lock"):
        if not archive.exists():
            workshop = folders.private_folder()
            unfinished = archive.with_suffix(".unfinished")
            unfinished.unlink(missing_ok=True)
            try:
                flags = [*_FLAGS, f"-XX:ArchiveClassesAtExit={unfinished}"]
                node = _start(workshop / "kafka", flags, runtime, classes, {}, {})
                process.stop(node.pid, SIGTERM, patience_s=_WRITE_ARCHIVE_S)
                unfinished.touch()  # a runtime that cannot write archives is not asked again
                for outdated in archive.parent.glob("classes-*.jsa"):  # of another runtime or other flags; 48 MB each
                    outdated.unlink()
                unfinished.rename(archive)
            finally:
                folders.remove(workshop)
    return archive


def _start(  # noqa: PLR0913  the two public ways in differ in all of these
    folder: Path,
    flags: list[str],
    runtime: kafka_files.Java,
    classes: str,
    properties: Mapping[str, str],
    users: Mapping[str, str],
) -> KafkaServer:
    data, log, settings = folders.make(folder) / "data", folder / "kafka.log", folder / "server.properties"
    cluster_id = ""

    def start(ports: tuple[int, ...]) -> int:
        nonlocal cluster_id
        folders.remove(data)
        chosen = _DEFAULTS | {"log.dirs": str(data)} | _listeners(ports) | _sasl(users) | dict(properties)
        folders.write_whole(settings, "".join(f"{key}={_escaped(chosen[key])}\n" for key in chosen).encode())
        cluster_id = kafka_files.format_folder(data, settings, users, runtime=runtime, classes=classes)
        environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ} | {"TZ": "UTC"}
        command = [runtime.program, *flags, "-cp", classes, "kafka.Kafka", str(settings)]
        return process.spawn(command, log=log, env=environment, cwd=folder)

    def is_ready(_pid: int, ports: tuple[int, ...]) -> bool:
        return _lists_itself(ports[0], cluster_id)

    wanted = 3 if users else 2
    pid, ports = launch.on_free_ports("Kafka", start, is_ready, ports=wanted, log=log, deadline_s=_READY_S)
    who = process.identity(pid)
    return KafkaServer(
        pid=pid,
        started_ticks=who.started_ticks if who else 0,
        port=ports[0],
        data_folder=str(data),
        log=str(log),
        version=kafka_files.kafka_version(),
        cluster_id=cluster_id,
        bootstrap_servers=f"{launch.HOST}:{ports[0]}",
        sasl_bootstrap_servers=f"{launch.HOST}:{ports[2]}" if users else "",
    )


def _listeners(ports: tuple[int, ...]) -> dict[str, str]:
    broker, controller, *sasl = ports
    open_to = [f"PLAINTEXT://{launch.HOST}:{broker}", *(f"SASL://{launch.HOST}:{port}" for port in sasl)]
    return {
        "listeners": ",".join([*open_to, f"CONTROLLER://{launch.HOST}:{controller}"]),
        "advertised.listeners": ",".join(open_to),
        "controller.quorum.voters": f"1@{launch.HOST}:{controller}",
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL:SASL_PLAINTEXT",
    }


def _sasl(users: Mapping[str, str]) -> dict[str, str]:
    if not users:
        return {}
    for text in (*users.keys(), *users.values()):
        if not text.isprintable() or set(text) & set('"\\,=[];$'):
            msg = f"A Kafka user of the lab cannot have the name or password {visible(text)}."
            raise UsageError(msg, hint="Letters, digits and - _ . ! are safe.")
    plain = " ".join(f'user_{name}="{password}"' for name, password in users.items())
    prefix = "listener.name.sasl"
    scram = {f"{prefix}.scram-sha-{bits}.sasl.jaas.config": f"{_SCRAM} required;" for bits in (256, 512)}
    return scram | {
        f"{prefix}.sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
        f"{prefix}.plain.sasl.jaas.config": f"{_PLAIN} required {plain};",
    }


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n")


def _lists_itself(port: int, cluster_id: str) -> bool:
    """Ask for ApiVersions and Metadata; true when the answer is of our cluster and names this broker."""
    try:
        with socket.create_connection((launch.HOST, port), _ANSWER_S) as connection:
            connection.settimeout(_ANSWER_S)
            versions = _ask(connection, _API_VERSIONS, b"")
            metadata = _ask(connection, _METADATA, _NO_TOPICS)
    except (OSError, struct.error):
        return False
    no_error = versions[:2] == b"\0\0"
    try:
        return no_error and _brokers(metadata) == (cluster_id, [port])
    except (struct.error, UnicodeDecodeError):
        return False


def _ask(connection: socket.socket, api: tuple[int, int], body: bytes) -> bytes:
    request = struct.pack(">hhih", *api, 1, -1) + body  # correlation id 1, no client id
    connection.sendall(struct.pack(">i", len(request)) + request)
    with connection.makefile("rb") as answers:
        (length_bytes,) = struct.unpack(">i", answers.read(4))
        return answers.read(length_bytes)[4:]  # without the correlation id


def _brokers(metadata: bytes) -> tuple[str, list[int]]:
    """Read cluster id and broker ports from a Metadata answer of version 4."""
    (count,), at = struct.unpack_from(">i", metadata, 4), 8  # after throttle_time_ms
    ports: list[int] = []
    for _ in range(count):
        _, at = _string(metadata, at + 4)  # host, after node_id
        ports += struct.unpack_from(">i", metadata, at)
        _, at = _string(metadata, at + 4)  # rack
    return _string(metadata, at)[0], ports


def _string(message: bytes, at: int) -> tuple[str, int]:
    (length_bytes,) = struct.unpack_from(">h", message, at)
    end = at + 2 + max(0, length_bytes)  # -1 stands for null
    return message[at + 2 : end].decode(), end


def main() -> None:
    """Prepare, and leave with one line when that fails."""
    try:
        prepare()
    except DiagError as error:
        sys.exit(f"{error.message} {error.hint}".rstrip())


if __name__ == "__main__":
    main()
