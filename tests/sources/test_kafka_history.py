"""The past of consumer groups on a real broker: curves equal to the truth, with few requests, by reading only."""

from __future__ import annotations

import signal
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from kafka import KafkaConsumer, TopicPartition
from kafka.admin import ACL, ACLOperation, ACLPermissionType, KafkaAdminClient, ResourcePattern, ResourceType
from kafka_past import Truth, bursts, pauses, steadily

from diag.analysis.lag_history import lag_series
from diag.analysis.waves import onset, waves
from diag.config import KafkaTarget
from diag.lab import process
from diag.lab.kafka_files import class_path, java, kafka_jars
from diag.lab.kafka_lag import _past, _traffic
from diag.snapshots.base import Scope
from diag.sources import kafka as source
from diag.sources.kafka import broker, commit_log
from diag.sources.kafka import produce_curves as produce_module
from diag.sources.kafka.commit_log import FACTS, read_commit_logs
from diag.sources.kafka.consumer_offsets import TOPIC, partition_of
from diag.sources.kafka.history import kafka_history
from diag.sources.kafka.log_ends import leaders_of, log_ends
from diag.sources.kafka.produce_curves import Grid, grid, produce_curves
from diag.text import ServerText
from diag.wire.probe import Deadline, Probe

READ_APIS = {"ApiVersions", "Metadata", "ListGroups", "OffsetFetch", "ListOffsets", "Fetch"}
HOUR_S = 3_600
LONGER_S = 3_720  # the past that is lived: it reaches back behind what is asked for


def look(bootstrap_servers, *groups, history_s=HOUR_S, deadline_s=30.0, **target):
    probe = Probe(Deadline(deadline_s), client_name="diag/test")
    with probe, source.connect(KafkaTarget(bootstrap_servers=bootstrap_servers, **target), probe) as session:
        before = probe.requests
        seen = kafka_history(session, Scope(groups=groups, history_s=float(history_s)))
        return seen, probe.requests - before


class Lived:
    """A topic and a group with an hour behind them."""

    def __init__(self, brokers, *pasts):
        self.brokers, self.topic, self.group = brokers, _traffic.fresh("payments"), _traffic.fresh("fraud")
        begins_at = time.time() - LONGER_S
        self.begins_at = begins_at
        self.moments = [_past.lived(begins_at, LONGER_S, written, read) for written, read in pasts]
        _past.write(brokers, self.topic, self.group, self.moments)

    def forget(self):
        _traffic.forget(self.brokers, self.topic, self.group)


@pytest.fixture(scope="module")
def lived(kafka):
    """Two partitions: bursts every 300 s on one, readers that stop 17 minutes before the end on the other."""
    stopped = LONGER_S - 1_020
    made = Lived(
        kafka.bootstrap_servers,
        (bursts(300, 30, 30, 1), steadily(5)),
        (steadily(2), lambda second: 4 if second < stopped else 0),
    )
    yield made
    made.forget()


def test_both_curves_are_the_truth(lived):
    seen, _ = look(lived.brokers, lived.group)
    assert seen.gaps == ()
    assert (seen.span_s, seen.step_s) == (HOUR_S, 10.0)
    for curves in (seen.produced, seen.committed):
        assert sorted(curve.on.partition for curve in curves) == [0, 1]
        assert {curve.on.topic.raw for curve in curves} == {lived.topic}
    for curve in seen.produced:
        truth = Truth(lived.moments[curve.on.partition])
        assert all(mark.offset == truth.end(mark.at.timestamp()) for mark in curve.marks)
        assert (curve.marks[0].at, curve.marks[-1].at) == (seen.since, seen.observed_at)
    for curve in seen.committed:
        truth = Truth(lived.moments[curve.on.partition])
        assert curve.whole
        assert all(mark.offset == truth.committed(mark.at.timestamp() + 0.001) for mark in curve.marks)
        assert curve.marks[0].at <= seen.since < curve.marks[1].at


def test_lag_of_the_past_is_the_truth_in_records_and_in_seconds(lived):
    seen, _ = look(lived.brokers, lived.group)
    (series,) = lag_series(seen)
    truths = [Truth(moments) for moments in lived.moments]
    for place in range(15, len(series.lag_records) - 3):  # the end of the past is some seconds before now
        lags = [truth.lag(series.at(place).timestamp()) for truth in truths]
        assert series.lag_records[place] == pytest.approx(sum(records for records, _ in lags), abs=2)
        assert series.lag_s[place] == pytest.approx(max(late_s for _, late_s in lags), abs=series.step_s)


def test_the_onset_is_right_to_five_seconds(kafka):
    stopped = LONGER_S - 1_111
    made = Lived(kafka.bootstrap_servers, (steadily(3), lambda second: 9 if second < stopped else 1))
    (series,) = lag_series(look(made.brokers, made.group)[0])
    assert onset(series).timestamp() == pytest.approx(made.begins_at + stopped, abs=5.0)
    made.forget()


def test_the_period_is_right_to_five_percent(kafka):
    made = Lived(kafka.bootstrap_servers, (steadily(3), pauses(270, 80, 6)))
    (wave,) = waves(look(made.brokers, made.group)[0], 30.0)
    assert wave.period_s == pytest.approx(270, rel=0.05)
    assert wave.written_share < 0.3
    made.forget()


def test_an_hour_takes_few_requests_and_only_reading_ones(lived, monkeypatch):
    sent = []
    really = broker.Broker.send

    def send(self, asked):
        request = asked.request if isinstance(asked, broker.Packed) else asked
        sent.append(request.name.removesuffix("Request"))
        return really(self, asked)

    monkeypatch.setattr(broker.Broker, "send", send)
    _, requests = look(lived.brokers, lived.group)
    assert set(sent) <= READ_APIS
    assert requests <= 361 + 12
    assert sent.count("Fetch") <= 3


def test_looking_at_the_past_leaves_the_group_as_it_is(lived):
    with closing(KafkaAdminClient(bootstrap_servers=lived.brokers)) as admin:
        before = admin.list_group_offsets({lived.group: None})
        look(lived.brokers, lived.group)
        assert admin.list_group_offsets({lived.group: None}) == before


def test_the_more_partitions_the_wider_the_steps(lived):
    seen, _ = look(lived.brokers, lived.group, history_s=80)
    assert seen.step_s == pytest.approx(1.0)
    seen, _ = look(lived.brokers, lived.group, history_s=86_400)
    assert seen.step_s == 240.0


def test_without_time_for_it_gaps_say_what_is_missing(lived):
    gaps = []
    long_ago = time.monotonic() - 1
    probe = Probe(Deadline(30), client_name="diag/test")
    with probe, source.connect(KafkaTarget(bootstrap_servers=lived.brokers), probe) as session:
        leaders, _ = leaders_of(session, {ServerText(lived.topic)}, gaps)
        ends = log_ends(session, leaders, gaps)
        curves, _ = produce_curves(session, ends, leaders, Grid(datetime.now(UTC), 1.0, 8), long_ago, gaps)
        (log,) = read_commit_logs(session, [lived.group], 0, long_ago, gaps)
    assert curves == ()
    assert not log.done
    assert [gap.fact for gap in gaps] == ["produced", *FACTS]


def test_when_time_runs_out_the_curve_is_coarser_not_shorter(lived, monkeypatch):
    probe = Probe(Deadline(30), client_name="diag/test")
    moments = iter(range(1_000))
    monkeypatch.setattr(produce_module, "_AT_A_TIME", 20)  # ten instants of two partitions
    clock = SimpleNamespace(monotonic=lambda: float(next(moments)))
    monkeypatch.setattr(produce_module, "time", clock)
    with probe, source.connect(KafkaTarget(bootstrap_servers=lived.brokers), probe) as session:
        gaps = []
        leaders, _ = leaders_of(session, {ServerText(lived.topic)}, gaps)
        ends = log_ends(session, leaders, gaps)
        now = datetime.now(UTC)
        hour = grid(now - timedelta(hours=1), HOUR_S, 2)
        curves, step_s = produce_curves(session, ends, leaders, hour, 12.0, gaps)
    assert (gaps, step_s) == ([], 40.0), "46 instants, then 45 more; of the 90 in between not all"
    for curve in curves:
        truth = Truth(lived.moments[curve.on.partition])
        assert all(mark.offset == truth.end(mark.at.timestamp()) for mark in curve.marks)
        assert (curve.marks[0].at, curve.marks[-1].at) == (now - timedelta(hours=1), now)


def test_of_a_log_that_is_too_long_the_newest_part_is_read(private_kafka, monkeypatch):
    monkeypatch.setattr(_past, "_BATCH", 50)  # commits; a broker's batches are small, too
    made = Lived(private_kafka().bootstrap_servers, (steadily(1), steadily(3)))
    whole, _ = look(made.brokers, made.group)
    monkeypatch.setattr(commit_log, "_MOST_BYTES", 30_000)
    monkeypatch.setattr(commit_log, "_ONE_FETCH_BYTES", 6_000)
    seen, _ = look(made.brokers, made.group)
    assert [gap.fact for gap in seen.gaps] == ["older_commits"]
    (curve,), (complete,) = seen.committed, whole.committed
    assert not curve.whole
    assert 5 < len(curve.marks) < 500 < len(complete.marks)
    assert curve.marks == complete.marks[-len(curve.marks) :]


def test_a_group_that_is_not_there_is_named(lived):
    seen, _ = look(lived.brokers, "no-such-group")
    assert (seen.produced, seen.committed) == ((), ())
    assert [gap.fact for gap in seen.gaps] == ["committed"]


def where_the_broker_put_it(brokers, group):
    """Read the log of commits with an ordinary client, and say in which partitions the group's name is."""
    with closing(KafkaConsumer(bootstrap_servers=brokers, exclude_internal_topics=False)) as one:
        places = [TopicPartition(TOPIC, number) for number in one.partitions_for_topic(TOPIC)]
        one.assign(places)
        one.seek_to_beginning()
        ends = one.end_offsets(places)
        found = set()
        until = time.monotonic() + 30
        while any(one.position(on) < end for on, end in ends.items()) and time.monotonic() < until:
            for on, records in one.poll(timeout_ms=200).items():
                found |= {on.partition for record in records if record.key and group.encode() in record.key}
        return found, len(places)


@pytest.mark.parametrize("name", ["antifraud", "a", "notifications-eu-1", "名前-🦉", "with space.and_more"])
def test_the_group_is_looked_for_where_the_broker_put_it(kafka, name):
    group, topic = _traffic.fresh(name), _traffic.fresh("events")
    _traffic.fill(kafka.bootstrap_servers, topic, 3, oldest_s=5)
    _past.commit(kafka.bootstrap_servers, topic, group, {0: 1})
    found, partitions = where_the_broker_put_it(kafka.bootstrap_servers, group)
    assert found == {partition_of(group, partitions)}
    _traffic.forget(kafka.bootstrap_servers, topic, group)


def test_rebalances_of_a_classic_group_are_told_with_members_and_poll_interval(kafka):
    topic, group = _traffic.fresh("orders"), _traffic.fresh("ledger")
    _traffic.fill(kafka.bootstrap_servers, topic, 400, oldest_s=60)
    began = time.time()
    for _ in range(2):
        with closing(_traffic.reader(kafka.bootstrap_servers, topic, group)) as one:
            _traffic.read_some(one, 10)
    seen, _ = look(kafka.bootstrap_servers, group, history_s=120)
    numbers = [one.generation for one in seen.rebalances]
    assert len(numbers) >= 4, "each came and left"
    assert numbers == sorted(set(numbers))
    assert seen.rebalances[0].at.timestamp() == pytest.approx(began, abs=30.0)
    assert [len(one.members) for one in seen.rebalances][-1] == 0
    joined = [one for one in seen.rebalances if one.members]
    assert len({one.members for one in joined}) == 2, "another member id each time"
    assert {one.poll_interval_s for one in joined} == {300.0}
    _traffic.forget(kafka.bootstrap_servers, topic, group)


@pytest.fixture
def modern_group(kafka, tmp_path):
    """A group of the KIP-848 protocol with one member: Kafka's own console consumer, as kafka-python has none."""
    topic, group = _traffic.fresh("shipments"), _traffic.fresh("modern")
    _traffic.fill(kafka.bootstrap_servers, topic, 30, oldest_s=60)
    argv = [java().program, "-Xmx64m", "-cp", class_path(kafka_jars())]
    argv += ["org.apache.kafka.tools.consumer.ConsoleConsumer", "--bootstrap-server", kafka.bootstrap_servers]
    argv += ["--topic", topic, "--group", group, "--from-beginning"]
    for setting in ("group.protocol=consumer", "auto.commit.interval.ms=100", "max.poll.interval.ms=123000"):
        argv += ["--command-property", setting]
    pid = process.spawn(argv, log=tmp_path / "consumer.log")
    yield kafka.bootstrap_servers, group
    process.stop(pid, signal.SIGTERM)
    _traffic.forget(kafka.bootstrap_servers, topic, group)


def test_a_kip_848_group_has_a_past_too(modern_group):
    brokers, group = modern_group

    def seen():
        return look(brokers, group, history_s=300)[0]

    def all_read():
        ends = {curve.on: curve.marks[-1].offset for curve in seen().committed if curve.marks}
        return sum(ends.values()) == 30

    assert process.wait_until(all_read, 60.0)
    told = seen()
    assert told.gaps == ()
    assert all(curve.whole for curve in told.committed)
    assert {one.poll_interval_s for one in told.rebalances} == {123.0}
    epochs = [one.generation for one in told.rebalances]
    assert epochs == sorted(set(epochs))
    assert epochs


@pytest.fixture
def guarded(private_kafka):
    """A broker with the real authoriser: everything for the lab; for `oncall` all but the log of commits."""
    rules = {
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
    }
    server = private_kafka(users={"oncall": "right-canary"}, properties=rules)
    made = Lived(server.bootstrap_servers, (steadily(1), steadily(3)))
    rights = [
        (ResourceType.CLUSTER, "kafka-cluster", ACLOperation.DESCRIBE),
        (ResourceType.GROUP, made.group, ACLOperation.DESCRIBE),
        (ResourceType.TOPIC, made.topic, ACLOperation.DESCRIBE),
    ]
    grant(server, *rights)
    as_oncall = {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN"}
    return server, made, as_oncall | {"username": "oncall", "password": "right-canary"}


def grant(server, *rights):
    with closing(KafkaAdminClient(bootstrap_servers=server.bootstrap_servers)) as admin:
        for resource, name, right in rights:
            pattern = ResourcePattern(resource, name)
            admin.create_acls([ACL("User:oncall", "*", right, ACLPermissionType.ALLOW, pattern)])


def test_without_the_right_to_read_commits_there_is_still_the_produce_curve(guarded):
    server, made, as_oncall = guarded

    def seen():
        return look(server.sasl_bootstrap_servers, made.group, **as_oncall)[0]

    assert process.wait_until(lambda: seen().produced, 20.0)
    told = seen()
    assert [len(curve.marks) > 300 for curve in told.produced] == [True]
    assert (told.committed, told.rebalances) == ((), ())
    assert [gap.fact for gap in told.gaps] == list(FACTS)
    assert {gap.fix.raw for gap in told.gaps} == {f"grant Read on topic {TOPIC} to the user diag connects as"}
    grant(server, (ResourceType.TOPIC, TOPIC, ACLOperation.DESCRIBE))
    assert {gap.fix.raw for gap in seen().gaps} == {gap.fix.raw for gap in told.gaps}, "seeing the topic is not enough"
    grant(server, (ResourceType.TOPIC, TOPIC, ACLOperation.READ))
    assert process.wait_until(lambda: seen().gaps == (), 20.0), seen().gaps
    assert len(seen().committed) == 1
