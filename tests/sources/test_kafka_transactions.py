"""Open transactions by their names, and the markers that committed ones leave, on a real broker."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime

import kafka as kafka_python
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.admin import ACL, ACLOperation, ACLPermissionType, NewTopic, ResourcePattern, ResourceType
from kafka.protocol.broker_version_data import BrokerVersionData
from kafka.protocol.producer import ProduceRequest
from kafka.record.default_records import DefaultRecordBatchBuilder

from diag.analysis.consumer_lag import partition_rows
from diag.config import KafkaTarget
from diag.lab import process
from diag.lab.kafka_lag import _traffic
from diag.snapshots.base import Scope, Window
from diag.snapshots.kafka import Partition, TopicPartition
from diag.sources import kafka as source
from diag.sources.kafka import markers
from diag.sources.kafka.broker import exchange
from diag.sources.kafka.log_ends import leaders_of, log_ends, with_stable_offsets
from diag.sources.kafka.markers import only_markers
from diag.sources.kafka.transactions import open_transactions
from diag.text import ServerText
from diag.wire.probe import Deadline, Probe

RULES = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users": "User:ANONYMOUS",
}


@contextlib.contextmanager
def session_of(bootstrap_servers: str, **target) -> Iterator[source.Session]:
    probe = Probe(Deadline(15.0), client_name="diag/test")
    with probe, source.connect(KafkaTarget(bootstrap_servers=bootstrap_servers, **target), probe) as session:
        yield session


@contextlib.contextmanager
def topic_of(bootstrap_servers: str, partitions: int = 1) -> Iterator[str]:
    topic = _traffic.fresh("payments")
    with contextlib.closing(KafkaAdminClient(bootstrap_servers=bootstrap_servers)) as admin:
        admin.create_topics([NewTopic(topic, partitions, 1)])
        yield topic
        admin.delete_topics([topic])


@contextlib.contextmanager
def writer(bootstrap_servers: str, name: str, timeout_ms: int = 120_000) -> Iterator[KafkaProducer]:
    """A producer that writes in transactions; what it has not ended is aborted."""
    producer = KafkaProducer(
        bootstrap_servers=bootstrap_servers, transactional_id=name, transaction_timeout_ms=timeout_ms
    )
    producer.init_transactions()
    try:
        yield producer
    finally:
        with contextlib.suppress(Exception):
            producer.abort_transaction()
        producer.close(10)


def begin(producer: KafkaProducer, topic: str, records: int = 3, partition: int = 0) -> None:
    producer.begin_transaction()
    for _ in range(records):
        producer.send(topic, b"payment", partition=partition)
    producer.flush(10)


def ends_on(session, topic: str):
    gaps: list = []
    leaders, _ = leaders_of(session, {ServerText(topic)}, gaps)
    ends = with_stable_offsets(session, log_ends(session, leaders, gaps), set(leaders), leaders, gaps)
    assert gaps == []
    return ends, leaders


def opened(session, topic: str):
    """What is open on the topic, and the gaps."""
    ends, leaders = ends_on(session, topic)
    gaps: list = []
    return open_transactions(session, ends, leaders, gaps), gaps


def only_markers_at(session, topic: str, *places: tuple[int, int]):
    """Which of these (partition, offset) have markers only behind them, and the gaps."""
    ends, leaders = ends_on(session, topic)
    gaps: list = []
    asked = [(TopicPartition(ServerText(topic), Partition(number)), offset) for number, offset in places]
    found = only_markers(session, {place: ends[place[0]] for place in asked}, leaders, gaps)
    return {(int(on.partition), offset) for on, offset in found}, gaps


def test_an_open_transaction_is_named(kafka):
    began = datetime.now(UTC)
    name = _traffic.fresh("writer")
    with topic_of(kafka.bootstrap_servers) as topic, writer(kafka.bootstrap_servers, name) as producer:
        begin(producer, topic)
        with session_of(kafka.bootstrap_servers) as session:
            ((found,), gaps) = opened(session, topic)
    assert gaps == []
    assert (found.transactional_id.raw, found.first_offset, found.timeout_s) == (name, 0, 120.0)
    assert abs((found.started_at - began).total_seconds()) < 30
    assert found.last_written_at >= found.started_at.replace(microsecond=0)


def test_of_several_the_first_comes_first_and_ended_ones_are_gone(kafka):
    brokers = kafka.bootstrap_servers
    names = [_traffic.fresh(f"writer-{number}") for number in range(2)]
    with contextlib.ExitStack() as stack:
        topic = stack.enter_context(topic_of(brokers))
        first, second = (stack.enter_context(writer(brokers, name)) for name in names)
        session = stack.enter_context(session_of(brokers))
        begin(first, topic)
        begin(second, topic)
        assert [one.transactional_id.raw for one in opened(session, topic)[0]] == names
        first.commit_transaction()
        assert process.wait_until(
            lambda: [one.transactional_id.raw for one in opened(session, topic)[0]] == names[1:], 10.0
        )
        second.abort_transaction()
        assert process.wait_until(lambda: opened(session, topic) == ((), []), 10.0)


def test_asking_takes_three_round_trips_however_many_partitions(kafka):
    brokers = kafka.bootstrap_servers
    with topic_of(brokers, 20) as topic, writer(brokers, _traffic.fresh("writer")) as producer:
        producer.begin_transaction()
        for number in range(20):
            producer.send(topic, b"payment", partition=number)
        producer.flush(10)
        with session_of(brokers) as session:
            ends, leaders = ends_on(session, topic)
            before = session.probe.requests
            found = open_transactions(session, ends, leaders, [])
            assert session.probe.requests - before == 3
    assert sorted(one.on.partition for one in found) == list(range(20))
    assert len({one.transactional_id for one in found}) == 1


def test_a_transaction_that_no_coordinator_knows_is_told_apart(private_kafka):
    """It hangs: written as brokers before 3.6 let any producer write, behind the coordinator's back (KIP-890)."""
    kafka = private_kafka(properties={"transaction.partition.verification.enable": "false"})
    with topic_of(kafka.bootstrap_servers) as topic, session_of(kafka.bootstrap_servers) as session:
        batch = DefaultRecordBatchBuilder(2, 0, True, 4_711, 0, 0, 1 << 14)
        batch.append(0, 1_700_000_000_000, None, b"payment", [])
        of_topic = ProduceRequest.TopicProduceData
        records = of_topic.PartitionProduceData(index=0, records=bytes(batch.build()))
        asked = ProduceRequest(
            transactional_id="nobody",
            acks=-1,
            timeout_ms=10_000,
            topic_data=[of_topic(name=topic, partition_data=[records])],
            max_version=9,
        )
        (node,) = session.brokers
        (answer,) = exchange(session.brokers, {node: [asked]}, session.probe)[node]
        assert answer.responses[0].partition_responses[0].error_code == 0
        ((found,), (gap,)) = opened(session, topic)
    assert (found.producer_id, found.transactional_id, found.started_at) == (4_711, None, None)
    assert (gap.fact, "find-hanging" in gap.fix.raw) == ("transactions", True)


def test_a_broker_too_old_to_tell_is_one_gap(kafka):
    with topic_of(kafka.bootstrap_servers) as topic, session_of(kafka.bootstrap_servers) as session:
        ends, leaders = ends_on(session, topic)
        (broker,) = session.brokers.values()
        broker.versions = BrokerVersionData(api_versions=dict.fromkeys(range(20), (0, 4)))
        gaps: list = []
        assert open_transactions(session, ends, leaders, gaps) == ()
        assert [(gap.fact, "3.0" in gap.fix.raw) for gap in gaps] == [("transactions", True)]


@pytest.mark.parametrize("ended", ["committed", "aborted"])
def test_the_endless_lag_of_one_is_a_marker(kafka, ended):
    brokers = kafka.bootstrap_servers
    with topic_of(brokers, 2) as topic, writer(brokers, _traffic.fresh("writer")) as producer:
        begin(producer, topic, 3)
        producer.commit_transaction() if ended == "committed" else producer.abort_transaction()
        with session_of(brokers) as session:
            assert process.wait_until(
                lambda: {log.log_end_offset for log in ends_on(session, topic)[0].values()} == {4, 0}, 10.0
            )
            assert only_markers_at(session, topic, (0, 3)) == ({(0, 3)}, [])
            assert only_markers_at(session, topic, (0, 2)) == (set(), []), "one record is left"
            assert only_markers_at(session, topic, (0, 2), (0, 3)) == ({(0, 3)}, []), "two groups, one look"
            assert only_markers_at(session, topic, (0, 4), (1, 0)) == (set(), []), "nothing is left there at all"


def test_a_group_on_an_idle_transactional_topic_has_nothing_to_read(kafka):
    brokers, group = kafka.bootstrap_servers, _traffic.fresh("idle")
    with topic_of(brokers) as topic, writer(brokers, _traffic.fresh("writer")) as producer:
        begin(producer, topic, 3)
        producer.commit_transaction()
        with contextlib.closing(KafkaConsumer(bootstrap_servers=brokers, group_id=group)) as reader:
            on = kafka_python.TopicPartition(topic, 0)
            reader.assign([on])
            reader.commit({on: kafka_python.OffsetAndMetadata(3, "", -1)})
        with session_of(brokers) as session:
            seen = source.kafka_lag(session, Scope(groups=(group,)))
        with contextlib.closing(KafkaAdminClient(bootstrap_servers=brokers)) as admin:
            admin.delete_groups([group])
    assert [(commit.offset, commit.only_markers) for commit in seen.commits] == [(3, True)]
    assert [log.log_end_offset for log in seen.log_ends] == [4]
    rows = partition_rows(Window(frames=(seen,)))
    assert [(row.lag_records, row.lag_s) for row in rows] == [(0, 0.0)]


def test_markers_of_several_producers_in_a_row(kafka):
    brokers = kafka.bootstrap_servers
    with contextlib.ExitStack() as stack:
        topic = stack.enter_context(topic_of(brokers))
        writers = [stack.enter_context(writer(brokers, _traffic.fresh(f"writer-{number}"))) for number in range(3)]
        for producer in writers:
            begin(producer, topic, 1)
        for producer in writers:
            producer.commit_transaction()
        session = stack.enter_context(session_of(brokers))
        on = TopicPartition(ServerText(topic), Partition(0))
        assert process.wait_until(lambda: ends_on(session, topic)[0][on].log_end_offset == 6, 10.0)
        assert only_markers_at(session, topic, (0, 3), (0, 4), (0, 2)) == ({(0, 3), (0, 4)}, [])


def test_a_record_behind_a_marker_is_something_to_read(kafka):
    brokers = kafka.bootstrap_servers
    with topic_of(brokers) as topic, writer(brokers, _traffic.fresh("writer")) as producer:
        begin(producer, topic, 1)
        producer.commit_transaction()
        with contextlib.closing(KafkaProducer(bootstrap_servers=brokers, enable_idempotence=False)) as ordinary:
            ordinary.send(topic, b"x" * 40_000, partition=0)  # larger than what is fetched of a partition
            ordinary.flush(10)
        with session_of(brokers) as session:
            assert only_markers_at(session, topic, (0, 1), (0, 2)) == (set(), [])


def test_a_lag_of_many_records_is_not_looked_at(kafka):
    brokers = kafka.bootstrap_servers
    with topic_of(brokers) as topic, writer(brokers, _traffic.fresh("writer")) as producer:
        begin(producer, topic, 17)
        producer.commit_transaction()
        with session_of(brokers) as session:
            ends_on(session, topic)
            before = session.probe.requests
            assert only_markers_at(session, topic, (0, 0)) == (set(), [])
            assert session.probe.requests - before == 4, "metadata, two ends, the last stable offset; no Fetch"


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200) | st.binary(max_size=200).map(lambda rest: b"\0" * 16 + b"\2" + rest))
def test_what_is_no_batch_is_no_marker_and_no_error(records):
    for batch in markers._batches(records):
        assert batch.first <= batch.last


@pytest.fixture
def guarded(private_kafka):
    """A broker where `oncall` may describe the cluster and one topic that has an open transaction."""
    server = private_kafka(users={"oncall": "right-canary"}, properties=RULES)
    as_oncall = {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN"}
    as_oncall |= {"username": "oncall", "password": "right-canary"}
    with topic_of(server.bootstrap_servers) as topic, writer(server.bootstrap_servers, "ledger-7") as producer:
        begin(producer, topic)
        allow(server, ResourceType.CLUSTER, "kafka-cluster", ACLOperation.DESCRIBE)
        allow(server, ResourceType.TOPIC, topic, ACLOperation.DESCRIBE)
        yield server, as_oncall, topic


def allow(server, resource: ResourceType, name: str, right: ACLOperation) -> None:
    with contextlib.closing(KafkaAdminClient(bootstrap_servers=server.bootstrap_servers)) as admin:
        pattern = ResourcePattern(resource, name)
        admin.create_acls([ACL("User:oncall", "*", right, ACLPermissionType.ALLOW, pattern)])


def test_each_missing_right_is_one_gap_with_the_line_that_closes_it(guarded):
    server, as_oncall, topic = guarded

    def seen():
        with session_of(server.sasl_bootstrap_servers, **as_oncall) as session:
            return *opened(session, topic), *only_markers_at(session, topic, (0, 0))

    def described() -> bool:  # the rights take a moment to be known
        with session_of(server.sasl_bootstrap_servers, **as_oncall) as session:
            return len(leaders_of(session, {ServerText(topic)}, [])[0]) == 1

    assert process.wait_until(described, 10.0)
    (found, gaps, proven, of_markers) = seen()
    assert (found, proven) == ((), set())
    fix = f"grant Read on topic {topic} to the user diag connects as"
    assert [(gap.fact, gap.fix.raw) for gap in gaps] == [("transactions", fix)]
    assert [(gap.fact, gap.fix.raw) for gap in of_markers] == [("markers", fix)]
    allow(server, ResourceType.TOPIC, topic, ACLOperation.READ)
    assert process.wait_until(lambda: bool(seen()[0]), 10.0)
    ((one,), (gap,), proven, of_markers) = seen()
    assert (one.first_offset, one.transactional_id, one.started_at) == (0, None, None)
    assert (gap.fact, "Describe on its transactional id" in gap.fix.raw) == ("transactions", True)
    assert (proven, of_markers) == (set(), [])
    allow(server, ResourceType.TRANSACTIONAL_ID, "ledger-7", ACLOperation.DESCRIBE)
    assert process.wait_until(lambda: seen()[1] == [], 10.0)
    assert seen()[0][0].transactional_id.raw == "ledger-7"
