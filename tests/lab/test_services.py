"""Each server of the lab starts, answers, can be paused, and stops; stories about one server each."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from diag.errors import DiagError, UsageError
from diag.lab import folders, kafka_metadata, launch, process, services
from diag.lab.keeper import environment
from diag.lab.servers import MissingServer, folder_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from diag.lab.servers import KafkaCluster, KafkaServer, PostgresServer, RedisServer
    from tests.conftest import StartKafka, StartKafkaCluster, StartPostgres, StartRedis

_SOON_S = 20.0
_FENCED_S = 60.0  # a dead broker's session, an election perhaps, and a busy machine

# Starts a cluster in the folder that is its argument, says who is in it, pauses one node, and waits to be killed.
_OWNER = """
import sys, time
from pathlib import Path
from diag.lab import services
cluster = services.start_kafka_cluster(Path(sys.argv[1]), nodes=2)
services.pause_node(cluster, 2)
print(cluster.pid, flush=True)
while True:
    time.sleep(1)
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that servers of any user can live in."""
    made = folders.private_folder()
    yield made
    folders.remove(made)


def test_postgres_answers_as_superuser_without_a_password(postgres: PostgresServer) -> None:
    with psycopg.connect(postgres.dsn) as connection:
        row = connection.execute(
            "SELECT current_user::text, current_setting('fsync'), current_setting('max_prepared_transactions'),"
            " current_setting('data_directory'), current_setting('server_version')"
        ).fetchone()
    assert row is not None
    assert row[:4] == ("postgres", "off", "10", postgres.data_folder)
    assert str(row[4]).startswith(postgres.version)


def test_postgres_counts_statements(postgres: PostgresServer) -> None:
    with psycopg.connect(postgres.dsn) as connection:
        row = connection.execute("SHOW shared_preload_libraries").fetchone()
    assert row == ("pg_stat_statements",)


def test_postgres_listens_on_loopback_and_in_its_own_folder_only(postgres: PostgresServer) -> None:
    assert postgres.socket_folder == str(folder_of(postgres))
    with psycopg.connect(host=postgres.socket_folder, port=postgres.port, user="postgres") as connection:
        assert connection.execute("SHOW listen_addresses").fetchone() == ("127.0.0.1",)


def test_everybody_but_the_superuser_needs_the_right_password(postgres: PostgresServer) -> None:
    address = {"host": "127.0.0.1", "port": postgres.port, "user": "reader", "dbname": "postgres"}
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute("CREATE ROLE reader LOGIN PASSWORD 'right'")
        try:
            with psycopg.connect(**address, password="right") as reader:  # type: ignore[arg-type]
                assert reader.execute("SELECT 1").fetchone() == (1,)
            with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
                psycopg.connect(**address, password="wrong")  # type: ignore[arg-type]
        finally:
            connection.execute("DROP ROLE reader")


def test_a_private_postgres_takes_settings_of_its_own(private_postgres: StartPostgres) -> None:
    server = private_postgres(settings={"max_connections": "13", "cluster_name": "it's \\ odd"})
    with psycopg.connect(server.dsn) as connection:
        found = connection.execute("SELECT current_setting('max_connections'), current_setting('cluster_name')")
        assert found.fetchone() == ("13", "it's \\ odd")


def test_a_wrong_setting_is_told_in_the_servers_own_words(private_postgres: StartPostgres) -> None:
    with pytest.raises(DiagError, match=r"PostgreSQL ended at once: .*no_such_setting"):
        private_postgres(settings={"no_such_setting": "1"})


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as another user")
def test_root_is_told_when_the_servers_user_cannot_reach_the_folder(folder: Path) -> None:
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(DiagError, match="cannot pass through"):
        services.start_postgres(closed / "postgres")


def test_redis_answers_keeps_nothing_and_allows_debug(redis_server: RedisServer) -> None:
    with redis.Redis.from_url(redis_server.url) as client:
        assert client.config_get("save") == {"save": ""}
        assert client.config_get("bind") == {"bind": "127.0.0.1"}
        assert client.execute_command("DEBUG", "SLEEP", "0") == b"OK"
        facts = client.info("server")
    assert isinstance(facts, dict)
    assert (facts["process_id"], facts["redis_version"]) == (redis_server.pid, redis_server.version)


def test_redis_can_ask_for_an_odd_password(private_redis: StartRedis) -> None:
    password = 'a b"c\\d:/@é'
    server = private_redis(requirepass=password, directives=["maxmemory 10mb"])
    with redis.Redis.from_url(server.url) as client:
        assert client.config_get("maxmemory") == {"maxmemory": str(10 * 1024 * 1024)}
    once = Retry(NoBackoff(), 0)
    with redis.Redis(port=server.port, retry=once) as stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()


def test_kafka_answers_and_has_group_and_share_coordinators_of_one_node(private_kafka: StartKafka) -> None:
    from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
    from kafka.admin import NewTopic

    kafka = private_kafka()
    client = KafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
    try:
        cluster = client.describe_cluster()
        assert cluster["cluster_id"] == kafka.cluster_id
        assert [broker["port"] for broker in cluster["brokers"]] == [kafka.port]
        client.create_topics([NewTopic("greetings", num_partitions=1, replication_factor=1)])
    finally:
        client.close()
    producer = KafkaProducer(bootstrap_servers=kafka.bootstrap_servers)
    producer.send("greetings", b"hello").get(timeout=_SOON_S)
    producer.close()
    consumer = KafkaConsumer(
        "greetings",
        group_id="readers",
        bootstrap_servers=kafka.bootstrap_servers,
        auto_offset_reset="earliest",
        consumer_timeout_ms=int(_SOON_S * 1000),
    )
    assert next(iter(consumer)).value == b"hello"
    consumer.close()
    assert Path(kafka.log).read_text() == ""  # it logs errors only, and there was none


def test_kafka_users_log_in_by_plain_and_by_scram(private_kafka: StartKafka) -> None:
    from kafka import KafkaAdminClient
    from kafka.errors import KafkaError

    authorizer = {
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
    }
    server = private_kafka(properties=authorizer, users={"alice": "right"})
    for mechanism in ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"):
        login = {
            "bootstrap_servers": server.sasl_bootstrap_servers,
            "security_protocol": "SASL_PLAINTEXT",
            "sasl_mechanism": mechanism,
            "sasl_plain_username": "alice",
        }
        client = KafkaAdminClient(**login, sasl_plain_password="right")
        assert client.describe_cluster()["cluster_id"] == server.cluster_id
        client.close()
    with pytest.raises(KafkaError), _quiet("kafka"):
        KafkaAdminClient(**login, sasl_plain_password="wrong", bootstrap_timeout_ms=1000)


def test_a_kafka_user_whose_name_would_need_quoting_is_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match="cannot have the name or password"):
        services.start_kafka(folder / "kafka", users={"alice": 'say "hi"'})


def test_every_node_of_a_kafka_cluster_lists_all_and_copies_what_coordinators_need(
    kafka_cluster: KafkaCluster,
) -> None:
    from kafka import KafkaAdminClient

    assert [node.node_id for node in kafka_cluster.nodes] == [1, 2, 3]
    ports = [node.port for node in kafka_cluster.nodes]
    assert all(kafka_metadata.lists(port, kafka_cluster.cluster_id, ports) for port in ports)
    assert kafka_cluster.bootstrap_servers == ",".join(node.bootstrap_servers for node in kafka_cluster.nodes)
    with contextlib.closing(KafkaAdminClient(bootstrap_servers=kafka_cluster.bootstrap_servers)) as client:
        voters = client.describe_metadata_quorum()["topics"][0]["partitions"][0]["current_voters"]
    assert {voter["replica_id"] for voter in voters} == {1, 2, 3}
    settings = Path(folder_of(kafka_cluster) / "nodes" / "1" / "server.properties").read_text()
    assert "offsets.topic.replication.factor=3" in settings


def test_a_node_is_killed_and_comes_back_with_its_records(private_kafka_cluster: StartKafkaCluster) -> None:
    from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
    from kafka.admin import NewTopic

    cluster = private_kafka_cluster(properties={"broker.session.timeout.ms": "3000"})
    victim, *others = cluster.nodes
    with contextlib.closing(KafkaAdminClient(bootstrap_servers=cluster.bootstrap_servers)) as client:
        topic = NewTopic("greetings", replica_assignments={0: [victim.node_id]})
        client.create_topics([topic], wait_for_metadata=True)
    with contextlib.closing(KafkaProducer(bootstrap_servers=cluster.bootstrap_servers)) as producer:
        producer.send("greetings", b"hello").get(timeout=_SOON_S)

    before = services.node_pids(cluster)
    services.kill_node(cluster, victim.node_id)
    services.kill_node(cluster, victim.node_id)  # it is down already: fine
    assert services.node_pids(cluster) == before | {victim.node_id: 0}
    assert services.is_running(cluster)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", victim.port), _SOON_S)
    with socket.socket() as rival, pytest.raises(OSError, match="Address already in use"):
        rival.bind(("127.0.0.1", victim.port))  # nobody takes its place meanwhile
    assert process.wait_until(lambda: _leaders(others[0].port) == {0: kafka_metadata.NO_LEADER}, _FENCED_S)
    ports = [node.port for node in others]
    assert all(kafka_metadata.lists(port, cluster.cluster_id, ports) for port in ports)

    services.start_node(cluster, victim.node_id)
    assert services.node_pids(cluster)[victim.node_id] not in {0, before[victim.node_id]}
    assert process.wait_until(lambda: _leaders(others[0].port) == {0: victim.node_id}, _FENCED_S)
    consumer = KafkaConsumer(
        "greetings",
        bootstrap_servers=cluster.bootstrap_servers,
        auto_offset_reset="earliest",
        consumer_timeout_ms=int(_SOON_S * 1000),
    )
    assert next(iter(consumer)).value == b"hello"
    consumer.close()

    members = process.family(cluster.pid)
    assert len(members) == 1 + len(cluster.nodes)
    services.stop(cluster)
    assert not any(process.is_alive(member) for member in members)
    assert not folder_of(cluster).exists()


def test_one_node_can_be_paused_among_others_that_answer(private_kafka_cluster: StartKafkaCluster) -> None:
    cluster = private_kafka_cluster(nodes=2)
    services.pause_node(cluster, 2)
    pids = services.node_pids(cluster)
    assert {node_id: _run_state(pid) == "T" for node_id, pid in pids.items()} == {1: False, 2: True}
    with socket.create_connection(("127.0.0.1", cluster.nodes[1].port), _SOON_S):
        pass  # its kernel accepts for it
    assert kafka_metadata.ask(cluster.nodes[0].port) is not None
    services.resume_node(cluster, 2)
    assert process.wait_until(lambda: kafka_metadata.ask(cluster.nodes[1].port) is not None, _SOON_S)
    with pytest.raises(UsageError, match="no node 3"):
        services.kill_node(cluster, 3)


def test_a_kafka_cluster_ends_with_a_killed_owner_a_paused_node_too(kafka: KafkaServer, folder: Path) -> None:
    assert kafka.pid  # asked for so that a missing server skips this, too
    with subprocess.Popen(
        [sys.executable, "-c", _OWNER, str(folder / "cluster")], stdout=subprocess.PIPE, text=True, env=environment()
    ) as owner:
        assert owner.stdout is not None
        members = process.family(int(owner.stdout.readline()))
        assert len(members) == 3
        owner.kill()
    process.wait_until(lambda: not any(process.is_alive(member) for member in members), _SOON_S)
    assert [member for member in members if process.is_alive(member)] == []


def test_a_node_that_ends_unasked_ends_the_cluster_and_its_words_are_told(
    private_kafka_cluster: StartKafkaCluster,
) -> None:
    with pytest.raises(
        DiagError, match=r"Kafka's cluster ended at once: node \d ended with exit code 1: .*no.such.number"
    ):
        private_kafka_cluster(nodes=2, properties={"num.io.threads": "no such number"})


def test_a_paused_postgres_accepts_and_answers_nothing_until_resumed(private_postgres: StartPostgres) -> None:
    server = private_postgres()
    with psycopg.connect(server.dsn) as connection:
        members = [member.pid for member in process.family(server.pid)]
        services.pause(server)
        assert {_run_state(pid) for pid in members} == {"T"}
        with pytest.raises(psycopg.errors.ConnectionTimeout):
            psycopg.connect(server.dsn, connect_timeout=2)
        services.resume(server)
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_paused_redis_can_be_stopped(private_redis: StartRedis) -> None:
    server = private_redis()
    services.pause(server)
    services.stop(server)
    assert not services.is_running(server)
    assert not folder_of(server).exists()


def test_stopping_ends_every_process_and_removes_the_folder(private_postgres: StartPostgres) -> None:
    server = private_postgres()
    members = process.family(server.pid)
    assert len(members) > 1
    services.stop(server)
    assert not any(process.is_alive(member) for member in members)
    assert not folder_of(server).exists()


def test_a_server_that_ignores_the_signal_is_killed_in_the_end(folder: Path) -> None:
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True)\n"
    log = folder / "log"
    pid = process.spawn([sys.executable, "-c", stubborn + "while True: time.sleep(1)"], log=log)
    assert process.wait_until(lambda: "up" in log.read_text(), _SOON_S)
    assert process.stop(pid, signal.SIGTERM, patience_s=0.1) == -signal.SIGKILL


def test_a_taken_port_is_tried_again_on_another(private_redis: StartRedis, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        free = launch._free_ports(1)
        offers = iter([(taken.getsockname()[1],), free])
        monkeypatch.setattr(launch, "_free_ports", lambda _count: next(offers))
        assert (private_redis().port,) == free


def test_a_process_that_was_not_started_here_is_never_signalled() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as foreign:
        for act in (process.pause, process.resume, lambda pid: process.stop(pid, signal.SIGTERM)):
            with pytest.raises(DiagError, match="left alone"):
                act(foreign.pid)
        foreign.communicate(b"\n")
    assert foreign.returncode == 0


def test_a_thread_may_not_start_servers_because_they_would_end_with_it(folder: Path) -> None:
    errors: list[str] = []

    def start() -> None:
        try:
            process.spawn([sys.executable, "-c", ""], log=folder / "log")
        except DiagError as error:
            errors.append(error.message)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert errors == ["A lab server can be started from the main thread only."]


def test_a_missing_program_is_named_with_the_way_to_get_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(folder))
    with pytest.raises(MissingServer, match="redis-server") as caught:
        services.start_redis(folder / "redis")
    assert caught.value.hint == "make deps"


def test_an_unknown_kind_is_a_usage_error(folder: Path) -> None:
    with pytest.raises(UsageError, match="no server called mongo"):
        services.start("mongo", folder)


def _leaders(port: int) -> dict[int, int]:
    told = kafka_metadata.ask(port, ["greetings"])
    return told.leaders["greetings"] if told else {}


def _run_state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@contextlib.contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Keep a driver's log out of the test's output."""
    logger = logging.getLogger(name)
    handler = logging.StreamHandler(io.StringIO())
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.propagate = True
        logger.removeHandler(handler)
