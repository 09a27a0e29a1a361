"""The files a Kafka node is started from: a Java runtime, the jars, and a formatted folder.

Jars come from Maven by the POM beside this file; both are made once and kept in the cache.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
import subprocess
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from diag import places
from diag.errors import DiagError
from diag.lab import folders, process
from diag.lab.servers import MissingServer
from diag.text import visible

if TYPE_CHECKING:
    from collections.abc import Mapping

POM: Final = Path(__file__).resolve().parent / "pom.xml"
_JAVA_AT_LEAST: Final = 17  # Kafka 4 asks for it
_RESOLVE_S: Final = 600.0  # 45 MB, and Maven's own plugins the first time
_FORMAT_S: Final = 60.0
_SHORT_S: Final = 30.0


class Java(Struct, frozen=True):
    """A Java runtime; `words` is what it says of its version, enough to tell two builds apart."""

    program: str
    words: str


def kafka_version() -> str:
    """Return the version of Kafka that the POM pins."""
    found = re.search(r"<kafka\.version>([^<]+)</kafka\.version>", POM.read_text("utf-8"))
    if found is None:
        msg = f"{POM} does not name a Kafka version."
        raise DiagError(msg)
    return found.group(1)


def kafka_folder() -> Path:
    """Return the cache folder of the pinned version."""
    return places.cache() / f"kafka-{kafka_version()}"


def kafka_jars() -> Path:
    """Return the folder with the jars of Kafka and of all it needs; resolve them first when they are missing.

    Other processes wait meanwhile. Raises MissingServer without Maven, DiagError when Maven fails.
    """
    library, made_from = kafka_folder() / "lib", kafka_folder() / "lib" / "pom.xml"
    with folders.locked(places.cache() / "lab" / "kafka-jars.lock"):
        if not made_from.is_file() or made_from.read_bytes() != POM.read_bytes():
            folders.make(kafka_folder())
            unfinished = kafka_folder() / ".lib.unfinished"
            folders.remove(unfinished)
            _resolve(unfinished)
            shutil.copy(POM, unfinished)
            folders.remove(library)
            unfinished.rename(library)
    return library


def class_path(library: Path) -> str:
    """Name every jar, in a fixed order: a class archive is valid for that very text only."""
    return ":".join(str(jar) for jar in sorted(library.glob("*.jar")))


def java() -> Java:
    """Find a Java runtime that can run Kafka. Raises MissingServer when there is none."""
    home = os.environ.get("JAVA_HOME", "")
    found = [Path(home) / "bin" / "java"] if home else []
    on_path = shutil.which("java")
    found += [Path(on_path)] if on_path else []
    found += sorted(Path("/usr/lib/jvm").glob("*/bin/java"), reverse=True)
    for program in found:
        if not os.access(program, os.X_OK):
            continue
        words = subprocess.run(  # noqa: S603  argv, no shell; ends at once
            [str(program), "-version"], capture_output=True, text=True, check=False, timeout=_SHORT_S
        ).stderr
        version = re.search(r'version "(\d+)', words)
        if version and int(version.group(1)) >= _JAVA_AT_LEAST:
            return Java(str(program.resolve()), words)
    msg = f"Kafka needs a Java runtime of version {_JAVA_AT_LEAST} or later, and none is installed."
    raise MissingServer(msg, hint="make deps")


def archive_file(runtime: Java, classes: str, flags: list[str]) -> Path:
    """Return where the class archive for this runtime, class path and set of flags belongs."""
    key = hashlib.sha256("\n".join([runtime.words, classes, *flags]).encode()).hexdigest()[:16]
    return kafka_folder() / f"classes-{key}.jsa"


def format_folder(data: Path, settings: Path, users: Mapping[str, str], *, runtime: Java, classes: str) -> str:
    """Make `data` a formatted log folder of node 1; return the id of its new cluster.

    Without users it is a copy of one that Kafka's storage tool made once, with ids of its
    own; users (name → password) become SCRAM credentials, which only the tool can write.
    """
    cluster_id = new_id()
    if users:
        _format(settings, cluster_id, users, runtime=runtime, classes=classes)
    else:
        copy_formatted(data, 1, cluster_id, runtime=runtime, classes=classes)
    return cluster_id


def copy_formatted(data: Path, node_id: int, cluster_id: str, *, runtime: Java, classes: str) -> None:
    """Make `data` the log folder of a node of that cluster, by copying one that Kafka's storage tool made once.

    The voters of a cluster must be in the nodes' settings: the copy names none (KIP-853, "static" quorum).
    """
    template = kafka_folder() / "formatted"
    with folders.locked(places.cache() / "lab" / "kafka-format.lock"):
        if not template.is_dir():
            workshop = folders.private_folder()
            try:
                unfinished = kafka_folder() / ".formatted.unfinished"
                folders.remove(unfinished)
                small = workshop / "server.properties"
                folders.write_whole(small, _smallest_properties(unfinished).encode())
                _format(small, new_id(), {}, runtime=runtime, classes=classes)
                unfinished.rename(template)
            finally:
                folders.remove(workshop)
    shutil.copytree(template, data)
    described = data / "meta.properties"
    text = described.read_text("utf-8")
    for key, value in (("cluster.id", cluster_id), ("directory.id", new_id()), ("node.id", str(node_id))):
        text = re.sub(rf"(?m)^{re.escape(key)}=.*$", f"{key}={value}", text)
    folders.write_whole(described, text.encode())


def _resolve(library: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        msg = "Maven (mvn) is not installed; it fetches Kafka's jars."
        raise MissingServer(msg, hint="make deps")
    workshop = folders.private_folder()
    try:
        # Strict checksums: a damaged or altered download fails instead of warning.
        options = ["-q", "-B", "-C", "-ntp", "-Dstyle.color=never", "-f", str(POM)]
        plugin = "org.apache.maven.plugins:maven-dependency-plugin"  # in the version that the POM pins
        goal = [f"{plugin}:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={library}"]
        log = workshop / "maven.log"
        try:
            process.run([maven, *options, *goal], log=log, deadline_s=_RESOLVE_S, cwd=workshop)
        except DiagError as error:  # Maven names the cause first and closes with general advice
            found = re.search(r"\[ERROR\] (.*)", log.read_text("utf-8", "replace"))
            cause = visible(found.group(1)) if found else error.message
            msg = f"Maven could not fetch Kafka's jars: {cause}"
            raise DiagError(msg, hint="Once the network or Maven's settings allow it: make deps") from error
    finally:
        folders.remove(workshop)


def _format(settings: Path, cluster_id: str, users: Mapping[str, str], *, runtime: Java, classes: str) -> None:
    scram = [
        word
        for name, password in users.items()
        for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512")
        for word in ("--add-scram", f"{mechanism}=[name={name},password={password}]")
    ]
    jvm = [
        runtime.program,
        "-Xmx64m",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-XX:-UsePerfData",
        "-cp",
        classes,
    ]
    tool = ["kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(settings), *scram]
    process.run([*jvm, *tool], log=settings.parent / "format.log", deadline_s=_FORMAT_S)


def _smallest_properties(data: Path) -> str:
    return "\n".join(
        [
            "process.roles=broker,controller",
            "node.id=1",
            "controller.quorum.voters=1@127.0.0.1:9093",
            "listeners=PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093",
            "controller.listener.names=CONTROLLER",
            f"log.dirs={data}",
            "",
        ]
    )


def new_id() -> str:
    """Make an id as Kafka does: 16 random bytes in URL-safe base64, never one that looks like an option."""
    while (text := base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")).startswith("-"):
        pass
    return text
