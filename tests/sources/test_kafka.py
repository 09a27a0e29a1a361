"""Kafka as a source: lag by another client's arithmetic, sight lost only where it is denied, and no harm."""

from __future__ import annotations

import signal
import time

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.admin import ACL, ACLOperation, ACLPermissionType, ResourcePattern, ResourceType

from diag.config import KafkaTarget
from diag.errors import Denied, Rung, SourceError, TooSlow, Unreachable
from diag.lab import process
from diag.lab.kafka_files import class_path, java, kafka_jars
from diag.lab.kafka_lag import _traffic
from diag.snapshots.base import Scope
from diag.sources import kafka as source
from diag.sources.kafka import broker
from diag.wire.probe import Deadline, Probe

READ_APIS = {"ApiVersions", "Metadata", "ListGroups", "OffsetFetch", "DescribeGroups", "ListOffsets", "DescribeConfigs"}
READ_APIS |= {"ConsumerGroupDescribe", "ShareGroupDescribe", "DescribeShareGroupOffsets"}
READ_APIS |= {"DescribeProducers", "ListTransactions", "DescribeTransactions"}
READ_APIS |= {"Fetch"}  # of at most 16 KiB, for the headers of the last few batches


def look(bootstrap_servers: str, *, scope: Scope | None = None, deadline_s: float = 10.0, **target):
    probe = Probe(Deadline(deadline_s), client_name="diag/test")
    with probe, source.connect(KafkaTarget(bootstrap_servers=bootstrap_servers, **target), probe) as session:
        return source.kafka_lag(session, scope or Scope())


@pytest.fixture(scope="module")
def traffic(kafka):
    """A topic with ten minutes of records, and a group that read some of them."""
    topic, group = _traffic.fresh("payments"), _traffic.fresh("fraud")
    _traffic.fill(kafka.bootstrap_servers, topic, 900, oldest_s=600)
    consumer = _traffic.reader(kafka.bootstrap_servers, topic, group)
    _traffic.read_some(consumer, 200)
    yield kafka.bootstrap_servers, topic, group, consumer
    consumer.close()
    _traffic.forget(kafka.bootstrap_servers, topic, group)


def test_offsets_and_ends_are_what_another_client_reads(traffic):
    brokers, topic, group, _ = traffic
    seen = look(brokers, scope=Scope(groups=(group,)))
    admin = KafkaAdminClient(bootstrap_servers=brokers)
    theirs = {on.partition: meta.offset for on, meta in admin.list_group_offsets({group: None})[group].items()}
    admin.close()
    reader = KafkaConsumer(bootstrap_servers=brokers)
    ends = reader.end_offsets([TopicPartition(topic, number) for number in range(3)])
    reader.close()
    assert {commit.on.partition: commit.offset for commit in seen.commits} == theirs
    assert {log.on.partition: log.log_end_offset for log in seen.log_ends} == {
        on.partition: end for on, end in ends.items()
    }


def test_the_record_time_is_that_of_the_record_at_the_committed_offset(traffic):
    brokers, topic, group, _ = traffic
    seen = look(brokers, scope=Scope(groups=(group,)))
    reader = KafkaConsumer(bootstrap_servers=brokers, enable_auto_commit=False)
    for commit in seen.commits:
        on = TopicPartition(topic, commit.on.partition)
        reader.assign([on])
        reader.seek(on, commit.offset)
        ends = time.monotonic() + 10
        records: list = []
        while not records and time.monotonic() < ends:
            records = reader.poll(timeout_ms=500).get(on, [])
        assert commit.record_at.timestamp() == pytest.approx(records[0].timestamp / 1000, abs=0.001)
    reader.close()


def test_a_live_group_shows_its_member_and_what_it_owns(traffic):
    brokers, _, group, _ = traffic
    (seen,) = look(brokers, scope=Scope(groups=(group,))).groups
    assert (seen.state, len(seen.members)) == ("Stable", 1)
    assert sorted(on.partition for on in seen.members[0].assigned) == [0, 1, 2]
    assert seen.members[0].host.raw == "127.0.0.1"


def test_looking_leaves_group_and_offsets_as_they_were(traffic):
    brokers, _, group, consumer = traffic
    before = look(brokers, scope=Scope(groups=(group,)))
    after = look(brokers, scope=Scope(groups=(group,)))
    assert before.commits == after.commits
    assert [one.members for one in before.groups] == [one.members for one in after.groups]
    assert consumer.assignment()


def test_only_reading_requests_cross_the_wire(traffic, monkeypatch):
    brokers, _, _, _ = traffic
    sent: list[str] = []
    really = broker.Broker.send
    monkeypatch.setattr(broker.Broker, "send", lambda self, asked: (sent.append(asked.name), really(self, asked))[1])
    look(brokers)
    assert {name.removesuffix("Request") for name in sent} <= READ_APIS
    lag = [name for name in sent[: sent.index("DescribeConfigsRequest")] if name != "MetadataRequest"]
    assert len(lag) <= 6 + 1, "whatever the number of groups; the one more is the last stable offset, where some lag"
    assert sent.count("ListOffsetsRequest") <= 3 + 9 * 7, "nine rounds of seven probes for the time lag"


@pytest.fixture
def modern_group(kafka, tmp_path):
    """A group of the KIP-848 protocol with one member: Kafka's own console consumer, as kafka-python has none."""
    topic, group = _traffic.fresh("shipments"), _traffic.fresh("modern")
    _traffic.fill(kafka.bootstrap_servers, topic, 30, oldest_s=60)
    argv = [
        java().program,
        "-Xmx64m",
        "-cp",
        class_path(kafka_jars()),
        "org.apache.kafka.tools.consumer.ConsoleConsumer",
    ]
    argv += ["--bootstrap-server", kafka.bootstrap_servers, "--topic", topic, "--group", group, "--from-beginning"]
    for setting in ("group.protocol=consumer", "auto.commit.interval.ms=100"):
        argv += ["--command-property", setting]
    pid = process.spawn(argv, log=tmp_path / "consumer.log")
    yield kafka.bootstrap_servers, group, tmp_path / "consumer.log"
    process.stop(pid, signal.SIGTERM)
    _traffic.forget(kafka.bootstrap_servers, topic, group)


def test_a_kip_848_group_does_not_look_dead(modern_group):
    brokers, group, log = modern_group

    def seen():
        return look(brokers, scope=Scope(groups=(group,)))

    assert process.wait_until(lambda: sum(commit.offset for commit in seen().commits) == 30, 40.0), log.read_text()
    facts = seen()
    assert [(one.protocol, one.state) for one in facts.groups] == [("consumer", "Stable")]
    assert [len(one.members) for one in facts.groups] == [1]
    assert facts.gaps == ()


def test_right_and_wrong_passwords(private_kafka):
    server = private_kafka(users={"oncall": "right-canary"})
    scram = {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "SCRAM-SHA-256", "username": "oncall"}
    assert look(server.sasl_bootstrap_servers, password="right-canary", **scram).cluster_id.raw
    with pytest.raises(Denied) as refused:
        look(server.sasl_bootstrap_servers, password="wrong-canary", **scram)
    assert refused.value.rung is Rung.AUTH
    assert "canary" not in refused.value.message
    with pytest.raises(Denied) as refused:
        look(server.sasl_bootstrap_servers, password="right-canary", **(scram | {"sasl_mechanism": "OAUTHBEARER"}))
    assert "SCRAM-SHA-256" in refused.value.message
    with pytest.raises(SourceError):
        look(server.sasl_bootstrap_servers, deadline_s=5)


def test_client_properties_of_kafkas_own_tools_are_understood(private_kafka, tmp_path):
    server = private_kafka(users={"oncall": "right-canary"})
    file = tmp_path / "client.properties"
    file.write_text(
        "# as Kafka's tools read it\nsecurity.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\n"
        "sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \\\n"
        '  username="oncall" password="right-canary";\n'
    )
    assert look(server.sasl_bootstrap_servers, client_properties=str(file)).cluster_id.raw


@pytest.fixture
def guarded(private_kafka):
    """A broker with the real authoriser: everything for the lab, nothing for `oncall`."""
    rules = {
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
    }
    server = private_kafka(users={"oncall": "right-canary"}, properties=rules)
    _traffic.fill(server.bootstrap_servers, "payments", 60, oldest_s=60)
    consumer = _traffic.reader(server.bootstrap_servers, "payments", "fraud")
    _traffic.read_some(consumer, 30)
    consumer.close()
    as_oncall = {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN"}
    as_oncall |= {"username": "oncall", "password": "right-canary"}
    return server, as_oncall


def grant(server, resource: ResourceType, name: str, right: ACLOperation) -> None:
    admin = KafkaAdminClient(bootstrap_servers=server.bootstrap_servers)
    pattern = ResourcePattern(resource, name)
    admin.create_acls([ACL("User:oncall", "*", right, ACLPermissionType.ALLOW, pattern)])
    admin.close()


def test_groups_that_may_not_be_described_are_not_taken_for_no_groups(guarded):
    server, as_oncall = guarded
    seen = look(server.sasl_bootstrap_servers, **as_oncall)
    assert (seen.groups, [gap.fact for gap in seen.gaps]) == ((), ["groups"])
    assert "grant Describe on the cluster" in seen.gaps[0].fix.raw


def test_each_missing_right_costs_its_own_part_and_is_named(guarded):
    server, as_oncall = guarded
    rights = [
        (ResourceType.CLUSTER, "kafka-cluster", ACLOperation.DESCRIBE, {("commits", "group fraud")}),
        (ResourceType.GROUP, "fraud", ACLOperation.DESCRIBE, {("commits", "Describe on its topics")}),
        (ResourceType.TOPIC, "payments", ACLOperation.DESCRIBE, {("topics", "DescribeConfigs on topic payments")}),
        (ResourceType.TOPIC, "payments", ACLOperation.DESCRIBE_CONFIGS, set()),
    ]
    for resource, name, right, lacking in rights:
        grant(server, resource, name, right)

        def lacks(wanted=lacking):
            gaps = look(server.sasl_bootstrap_servers, **as_oncall).gaps
            return all(any(g.fact == fact and words in g.fix.raw for g in gaps) for fact, words in wanted) and (
                bool(gaps) or not wanted
            )

        assert process.wait_until(lacks, 10.0), look(server.sasl_bootstrap_servers, **as_oncall).gaps

    def lacking():
        return [gap.fact for gap in look(server.sasl_bootstrap_servers, **as_oncall).gaps]

    assert process.wait_until(lambda: lacking() == ["markers"], 10.0), "that a short lag is only markers takes Read"
    seen = look(server.sasl_bootstrap_servers, **as_oncall)
    ends = {log.on: log.log_end_offset for log in seen.log_ends}
    behind = [commit for commit in seen.commits if commit.offset < ends[commit.on]]
    assert behind
    assert all(commit.record_at for commit in behind), "time lag needs no right but Describe"
    assert sum(log.log_end_offset for log in seen.log_ends) == 60


def test_a_group_that_is_not_there_is_named(traffic):
    brokers, _, _, _ = traffic
    gaps = look(brokers, scope=Scope(groups=("no-such-group",))).gaps
    assert [(gap.fact, gap.what.raw) for gap in gaps] == [("groups", "group no-such-group")]


BAD_ADDRESSES = {
    "no port": ("127.0.0.1:", "not host:port"),
    "a URL": ("kafka://127.0.0.1:9092", "not host:port"),
    "a word for a port": ("127.0.0.1:kafka", "not host:port"),
    "nobody there": ("127.0.0.1:1", "refused"),
}


@pytest.mark.parametrize(("address", "said"), BAD_ADDRESSES.values(), ids=BAD_ADDRESSES.keys())
def test_a_bad_address_is_named_at_once(address, said):
    started = time.monotonic()
    with pytest.raises(Unreachable) as refused:
        look(address)
    assert said in refused.value.message
    assert time.monotonic() - started < 1.0


def test_tls_towards_a_plain_listener_is_named_within_seconds(kafka):
    started = time.monotonic()
    with pytest.raises((Unreachable, TooSlow)) as refused:
        look(kafka.bootstrap_servers, security_protocol="SSL", deadline_s=5)
    assert refused.value.rung is Rung.TLS
    assert time.monotonic() - started < 5.5
