"""Harmless, by the wire: what the real command sends a real broker is recorded, and it only ever reads.

Between the command and the broker stands a recorder that reads every request's header by the
protocol's own rules, without any client library. It alters no request; in answers it only puts
its own port where the broker tells its address.
Source: Kafka protocol guide, "Protocol Primitive Types", "Request Header", "The API keys".
"""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import struct
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.structs import OffsetAndMetadata
from running import diag

from diag.lab import process
from diag.lab.kafka_files import class_path, java, kafka_jars
from diag.lab.kafka_lag import _traffic

if TYPE_CHECKING:
    from collections.abc import Iterator

READS = {
    1: "Fetch",
    2: "ListOffsets",
    3: "Metadata",
    9: "OffsetFetch",
    10: "FindCoordinator",
    15: "DescribeGroups",
    16: "ListGroups",
    17: "SaslHandshake",
    18: "ApiVersions",
    32: "DescribeConfigs",
    36: "SaslAuthenticate",
    61: "DescribeProducers",
    65: "DescribeTransactions",
    66: "ListTransactions",
    69: "ConsumerGroupDescribe",
    77: "ShareGroupDescribe",
    90: "DescribeShareGroupOffsets",
}
"""All that may be sent. Whatever is not here writes, joins, elects, deletes, or is not known to be harmless."""
NEEDED = {"ApiVersions", "Metadata", "ListGroups", "OffsetFetch", "ListOffsets"}
_PRODUCE, _OFFSET_COMMIT, _JOIN_GROUP = 0, 8, 11
_HOST, _READ_BYTES, _PATIENCE_S = "127.0.0.1", 65_536, 30.0


@dataclass(frozen=True)
class Sent:
    """The header of one request. `whole` is False when its bytes did not add up to one."""

    key: int
    version: int
    correlation_id: int
    client_id: str
    whole: bool = True

    @property
    def name(self) -> str:
        return READS.get(self.key, f"API {self.key}")


@dataclass
class _Frames:
    """Splits a stream into messages: a length of four bytes, then as many."""

    left: bytes = b""

    def take(self, got: bytes) -> list[bytes]:
        """Return the messages that are complete, each with its length."""
        self.left += got
        found = []
        while len(self.left) >= 4 and len(self.left) >= (end := 4 + int.from_bytes(self.left[:4], "big")):
            found.append(self.left[:end])
            self.left = self.left[end:]
        return found


def header(frame: bytes) -> Sent:
    """Read what every version of a request header begins with."""
    try:
        key, version, correlation_id, name_bytes = struct.unpack_from(">hhih", frame, 4)
        name = frame[14 : 14 + max(0, name_bytes)]
        return Sent(key, version, correlation_id, name.decode(), whole=len(name) == max(0, name_bytes))
    except (struct.error, UnicodeDecodeError):
        return Sent(-1, -1, -1, "", whole=False)


@dataclass
class Recorder:
    """Stands before a broker while the context lasts, and keeps the header of every request to it."""

    broker_port: int
    sent: list[Sent] = field(default_factory=list)
    torn_bytes: int = 0
    connections: int = 0

    def __enter__(self) -> Self:
        self._listener = socket.create_server((_HOST, 0))
        self.address = f"{_HOST}:{self._listener.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept, name="recorder")]
        self._open: list[socket.socket] = []
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        for one in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)  # close alone would not wake the thread that waits on it
        for thread in self._threads:
            thread.join(_PATIENCE_S)
        for one in (self._listener, *self._open):
            one.close()

    @property
    def names(self) -> set[str]:
        return {one.name for one in self.sent}

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            broker = socket.create_connection((_HOST, self.broker_port))
            self._open += [client, broker]
            for pump in (self._record, self._answer):
                thread = threading.Thread(target=pump, args=(client, broker), name=pump.__name__)
                self._threads.append(thread)
                thread.start()

    def _record(self, client: socket.socket, broker: socket.socket) -> None:
        frames = _Frames()
        with contextlib.suppress(OSError):
            while got := client.recv(_READ_BYTES):
                self.sent += [header(frame) for frame in frames.take(got)]
                broker.sendall(got)
        self.torn_bytes += len(frames.left)
        with contextlib.suppress(OSError):
            broker.shutdown(socket.SHUT_WR)

    def _answer(self, client: socket.socket, broker: socket.socket) -> None:
        frames, told = _Frames(), _told(self.broker_port)
        ours = _told(int(self.address.rpartition(":")[2]))
        with contextlib.suppress(OSError):
            while got := broker.recv(_READ_BYTES):
                client.sendall(b"".join(frame.replace(told, ours) for frame in frames.take(got)))
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_WR)


def _told(port: int) -> bytes:
    """A broker's address as answers write it: host, then port."""
    return _HOST.encode() + port.to_bytes(4, "big")


def only_reads(recorder: Recorder, needed: set[str]) -> None:
    """Fail unless all that was sent was understood, is on the list, and `needed` was among it."""
    assert recorder.torn_bytes == 0, "the stream ended inside a request"
    assert [one for one in recorder.sent if not one.whole] == []
    assert [one for one in recorder.sent if one.key not in READS] == []
    assert needed <= recorder.names, "the recorder has not heard the whole conversation"


def looked(recorder: Recorder, *words: str) -> dict:
    """Run the real command through the recorder; return its report."""
    ran = diag("kafka-lag", "--bootstrap-servers", recorder.address, *words, "--deadline", "60", "--format", "json")
    assert "Traceback" not in ran.stderr, ran.stderr
    report = json.loads(ran.stdout)
    assert report["verdict"] != "unknown", report["gaps"]
    assert recorder.connections == 1, "the one broker is asked on one connection, and not behind the recorder's back"
    assert {one.client_id.partition("/")[0] for one in recorder.sent} == {"diag"}, "it says who it is"
    return report


@pytest.fixture(scope="module")
def groups(kafka) -> Iterator[tuple[int, str, str]]:
    """A group that lags and one that is caught up, each with a live member."""
    servers = kafka.bootstrap_servers
    topics = _traffic.fresh("orders"), _traffic.fresh("payments")
    names = _traffic.fresh("behind"), _traffic.fresh("caught-up")
    consumers = []
    for topic, name, records in zip(topics, names, (120, 600), strict=True):
        _traffic.fill(servers, topic, 600, oldest_s=900)
        consumers.append(_traffic.reader(servers, topic, name))
        _traffic.read_some(consumers[-1], records)
    yield kafka.port, *names
    for consumer, topic, name in zip(consumers, topics, names, strict=True):
        consumer.close()
        _traffic.forget(servers, topic, name)


WORDS = {
    "once": ("--samples", "1"),
    "three samples": ("--samples", "3", "--interval", "0.2"),
    "history": ("--samples", "1", "--history", "20m"),
}


@pytest.mark.parametrize("words", WORDS.values(), ids=WORDS.keys())
@pytest.mark.parametrize("which", ["behind", "caught up", "all"])
def test_only_reads_are_ever_sent(groups, which, words):
    port, behind, caught_up = groups
    scope = {"behind": ("--group", behind), "caught up": ("--group", caught_up), "all": ()}[which]
    with Recorder(port) as recorder:
        report = looked(recorder, *scope, *words)
    only_reads(recorder, NEEDED)
    seen = {row["group"] for row in report["facts"]["partitions"]}
    assert {"behind": {behind}, "caught up": {caught_up}, "all": {behind, caught_up}}[which] <= seen


def test_a_look_by_topic_only_reads(groups):
    with Recorder(groups[0]) as recorder:
        looked(recorder, "--topic", "orders-*", "--samples", "1")
    only_reads(recorder, NEEDED)


def test_a_group_without_members_is_only_read(kafka):
    topic, name = _traffic.fresh("invoices"), _traffic.fresh("gone")
    _traffic.fill(kafka.bootstrap_servers, topic, 60, oldest_s=60)
    consumer = _traffic.reader(kafka.bootstrap_servers, topic, name)
    _traffic.read_some(consumer, 30)
    consumer.close()
    with Recorder(kafka.port) as recorder:
        looked(recorder, "--group", name, "--samples", "2", "--interval", "0.2")
    only_reads(recorder, NEEDED | {"DescribeGroups"})
    _traffic.forget(kafka.bootstrap_servers, topic, name)


@pytest.fixture
def modern_group(kafka, tmp_path) -> Iterator[tuple[int, str]]:
    """A group of the KIP-848 protocol with a live member: Kafka's own console consumer."""
    topic, name = _traffic.fresh("shipments"), _traffic.fresh("modern")
    _traffic.fill(kafka.bootstrap_servers, topic, 30, oldest_s=60)
    argv = [java().program, "-Xmx64m", "-XX:TieredStopAtLevel=1", "-cp", class_path(kafka_jars())]
    argv += ["org.apache.kafka.tools.consumer.ConsoleConsumer", "--bootstrap-server", kafka.bootstrap_servers]
    argv += ["--topic", topic, "--group", name, "--from-beginning"]
    for setting in ("group.protocol=consumer", "auto.commit.interval.ms=100"):
        argv += ["--command-property", setting]
    pid = process.spawn(argv, log=tmp_path / "consumer.log")
    admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)

    def committed() -> int:
        return sum(meta.offset for meta in admin.list_group_offsets({name: None})[name].values())

    assert process.wait_until(lambda: committed() == 30, 60.0), (tmp_path / "consumer.log").read_text()
    admin.close()
    yield kafka.port, name
    process.stop(pid, signal.SIGTERM)
    _traffic.forget(kafka.bootstrap_servers, topic, name)


def test_a_kip_848_group_is_only_read(modern_group):
    port, name = modern_group
    with Recorder(port) as recorder:
        looked(recorder, "--group", name, "--samples", "2", "--interval", "0.2")
    only_reads(recorder, NEEDED)


def test_logging_in_only_reads(private_kafka, tmp_path):
    server = private_kafka(users={"oncall": "right"})
    file = tmp_path / "client.properties"
    with Recorder(int(server.sasl_bootstrap_servers.rpartition(":")[2])) as recorder:
        file.write_text(
            f"bootstrap.servers={recorder.address}\nsecurity.protocol=SASL_PLAINTEXT\nsasl.mechanism=SCRAM-SHA-256\n"
            "sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required "
            'username="oncall" password="right";\n'
        )
        ran = diag("kafka-lag", "--kafka-config", str(file), "--samples", "1", "--deadline", "60")
    assert "Traceback" not in ran.stderr, ran.stderr
    only_reads(recorder, {"ApiVersions", "SaslHandshake", "SaslAuthenticate", "Metadata", "ListGroups"})


def test_the_recorder_would_notice_a_commit(kafka):
    """One request by hand, after an honest one: OffsetCommit, which the broker refuses, but that is not the point."""
    with Recorder(kafka.port) as recorder:
        host, _, port = recorder.address.partition(":")
        with socket.create_connection((host, int(port)), _PATIENCE_S) as connection:
            for key in (18, _OFFSET_COMMIT):
                body = struct.pack(">hhih4s", key, 0 if key == 18 else 2, 7, 4, b"diag")
                body += b"" if key == 18 else struct.pack(">h5sih0sqi", 5, b"group", -1, 0, b"", -1, 0)
                connection.sendall(struct.pack(">i", len(body)) + body)
            answered = connection.recv(4)
            assert int.from_bytes(answered, "big") > 100, "the broker understood the first, so the stream is as it was"
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(_READ_BYTES):
                pass
    assert recorder.sent == [Sent(18, 0, 7, "diag"), Sent(_OFFSET_COMMIT, 2, 7, "diag")]
    with pytest.raises(AssertionError, match=f"key={_OFFSET_COMMIT}"):
        only_reads(recorder, {"ApiVersions"})


def test_the_recorder_would_notice_ordinary_clients_at_work(kafka):
    topic, name = _traffic.fresh("noticed"), _traffic.fresh("noticed")
    _traffic.fill(kafka.bootstrap_servers, topic, 3, oldest_s=1)
    with Recorder(kafka.port) as recorder:
        producer = KafkaProducer(bootstrap_servers=recorder.address)
        producer.send(topic, b"x").get(_PATIENCE_S)
        producer.close()
        consumer = KafkaConsumer(topic, bootstrap_servers=recorder.address, group_id=name, auto_offset_reset="earliest")
        ends = process.wait_until(lambda: bool(consumer.poll(timeout_ms=200)), _PATIENCE_S)
        consumer.commit({TopicPartition(topic, 0): OffsetAndMetadata(1, "", -1)})
        consumer.close()
    assert ends
    assert {_PRODUCE, _OFFSET_COMMIT, _JOIN_GROUP} <= {one.key for one in recorder.sent}
    with pytest.raises(AssertionError):
        only_reads(recorder, set())
    _traffic.forget(kafka.bootstrap_servers, topic, name)


def test_a_request_that_was_cut_off_does_not_pass_unseen(kafka):
    with Recorder(kafka.port) as recorder:
        host, _, port = recorder.address.partition(":")
        with socket.create_connection((host, int(port)), _PATIENCE_S) as connection:
            connection.sendall(struct.pack(">ihhi", 100, _PRODUCE, 9, 1))
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(_READ_BYTES):
                pass
    with pytest.raises(AssertionError, match="inside a request"):
        only_reads(recorder, set())
