"""A Kafka node of one's own: broker and controller in one small Java process.

``python -m diag.lab.kafka`` only prepares: it fetches the jars and makes the class archive.
Source: Kafka 4.3 documentation, "Configuration" and "KRaft"; KIP-975 for class-data sharing.
Measured on 2 cores (Kafka 4.3.1, OpenJDK 17): ready in 2.3 s and 334 MB resident at first;
1.2 s and 288 MB with a class archive; 1.0 s and 145 MB with the smaller buffers below too.
"""

from __future__ import annotations

import os
import sys
from signal import SIGTERM
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from diag.errors import DiagError, UsageError
from diag.lab import folders, kafka_files, kafka_metadata, launch, process
from diag.lab.servers import KafkaServer
from diag.text import visible

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_FLAGS: Final = ["-Xms64m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"]
_READY_S: Final = 60.0
_WRITE_ARCHIVE_S: Final = 60.0
_PLAIN: Final = "org.apache.kafka.common.security.plain.PlainLoginModule"
_SCRAM: Final = "org.apache.kafka.common.security.scram.ScramLoginModule"

DEFAULTS: Final = {
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


class Installed(Struct, frozen=True, kw_only=True):
    """A Java runtime, Kafka's classes, and the flags that make a small node of them."""

    runtime: kafka_files.Java
    classes: str
    flags: list[str]

    def command(self, settings: Path) -> list[str]:
        """Return the command line of a node with these settings."""
        return [self.runtime.program, *self.flags, "-cp", self.classes, "kafka.Kafka", str(settings)]


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
    java = installed()
    return _start(folder, java, properties or {}, users or {})


def prepare() -> None:
    """Fetch or make everything that `start_kafka` keeps in the cache. Raises as it does."""
    installed()


def installed() -> Installed:
    """Return what nodes are started with; fetch and make it first when it is missing. Raises as `start_kafka`."""
    runtime = kafka_files.java()
    classes = kafka_files.class_path(kafka_files.kafka_jars())
    archive = _class_archive(runtime, classes)
    shared = [f"-XX:SharedArchiveFile={archive}"] if archive.stat().st_size else []
    return Installed(runtime=runtime, classes=classes, flags=[*_FLAGS, *shared])


def written(properties: Mapping[str, str]) -> bytes:
    """Return the text of a properties file."""
    return "".join(f"{key}={_escaped(properties[key])}\n" for key in properties).encode()


def environment() -> dict[str, str]:
    """Return the variables a node is started with."""
    return {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ} | {"TZ": "UTC"}


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
                java = Installed(runtime=runtime, classes=classes, flags=flags)
                node = _start(workshop / "kafka", java, {}, {})
                process.stop(node.pid, SIGTERM, patience_s=_WRITE_ARCHIVE_S)
                unfinished.touch()  # a runtime that cannot write archives is not asked again
                for outdated in archive.parent.glob("classes-*.jsa"):  # of another runtime or other flags; 48 MB each
                    outdated.unlink()
                unfinished.rename(archive)
            finally:
                folders.remove(workshop)
    return archive


def _start(folder: Path, java: Installed, properties: Mapping[str, str], users: Mapping[str, str]) -> KafkaServer:
    data, log, settings = folders.make(folder) / "data", folder / "kafka.log", folder / "server.properties"
    cluster_id = ""

    def start(ports: tuple[int, ...]) -> int:
        nonlocal cluster_id
        folders.remove(data)
        chosen = DEFAULTS | {"log.dirs": str(data)} | listeners(*ports) | _sasl(users) | dict(properties)
        folders.write_whole(settings, written(chosen))
        cluster_id = kafka_files.format_folder(data, settings, users, runtime=java.runtime, classes=java.classes)
        return process.spawn(java.command(settings), log=log, env=environment(), cwd=folder)

    def is_ready(_pid: int, ports: tuple[int, ...]) -> bool:
        return kafka_metadata.lists(ports[0], cluster_id, ports[:1])

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


def listeners(broker: int, controller: int, *sasl: int) -> dict[str, str]:
    """Return the properties that make a node listen on these ports of loopback."""
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


def main() -> None:
    """Prepare, and leave with one line when that fails."""
    try:
        prepare()
    except DiagError as error:
        sys.exit(f"{error.message} {error.hint}".rstrip())


if __name__ == "__main__":
    main()
