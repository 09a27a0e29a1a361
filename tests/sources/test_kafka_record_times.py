"""Dating the next unread record without reading it, held against an ordinary consumer that reads them all.

The truth for an offset is the newest timestamp up to the first record a consumer gets there.
"""

from __future__ import annotations

import contextlib
import math
import random
import socket
import time
from itertools import accumulate

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka import TopicPartition as On
from kafka.admin import ACL, ACLOperation, ACLPermissionType, NewTopic, ResourcePattern, ResourceType
from kafka.protocol.broker_version_data import BrokerVersionData

from diag.analysis.time_search import NEWEST
from diag.config import KafkaTarget
from diag.lab import process, services
from diag.lab.kafka_lag import _traffic
from diag.snapshots.kafka import LogEnds, Offset, Partition, TopicPartition
from diag.sources.kafka import record_times as module
from diag.sources.kafka.broker import Broker
from diag.sources.kafka.cluster import connect
from diag.sources.kafka.record_times import record_times
from diag.text import ServerText
from diag.wire.probe import Deadline, Probe

HOUR, DAY = 3_600_000, 86_400_000
NOW = int(time.time() * 1000)
START = NOW - 7 * DAY
RECORDS = 1500
FOR_EVER = {"retention.ms": "-1", "segment.ms": str(DAY), "message.timestamp.after.max.ms": str(1000 * DAY)}
LIST_OFFSETS = 2  # its API key
WAIT_S = 40.0


def steady(_):
    return [START + 7 * DAY * number // RECORDS for number in range(RECORDS)]


def diurnal(rng):
    hours = rng.choices(range(168), [1 + 0.95 * math.sin(2 * math.pi * hour / 24) for hour in range(168)], k=RECORDS)
    return sorted(START + hour * HOUR + rng.randrange(HOUR) for hour in hours)


def cron(rng):
    return sorted(START + run * HOUR + rng.randrange(5000) for run in range(168) for _ in range(RECORDS // 168))


def idle_then_burst(rng):
    week = sorted(START + rng.randrange(6 * DAY) for _ in range(30))
    return week + sorted(NOW - HOUR + rng.randrange(HOUR) for _ in range(RECORDS - 30))


def out_of_order(rng):
    return [stamp - int(rng.expovariate(1 / 120_000)) for stamp in diurnal(rng)]


def long_gap(rng):
    before = sorted(START + rng.randrange(DAY) for _ in range(RECORDS // 2))
    return before + sorted(NOW - HOUR // 6 + rng.randrange(HOUR // 6) for _ in range(RECORDS // 2))


def same_times(rng):
    """A producer that only knows the hour."""
    return sorted(START + rng.randrange(168) * HOUR for _ in range(RECORDS))


def to_come(_):
    return [NOW + DAY + number * HOUR for number in range(RECORDS)]


def single(_):
    return [NOW - 3 * DAY]


SHAPES = [steady, diurnal, cron, idle_then_burst, out_of_order, long_gap, same_times, to_come, single]


def create(brokers, topic, **settings):
    admin = KafkaAdminClient(bootstrap_servers=brokers)
    admin.create_topics([NewTopic(topic, 1, 1, topic_configs=FOR_EVER | settings)])
    admin.close()


def write(brokers, topic, stamps, *, key=lambda _: None, **settings):
    with contextlib.closing(KafkaProducer(bootstrap_servers=brokers, **settings)) as producer:
        for number, stamp in enumerate(stamps):
            producer.send(topic, b"notification", key=key(number), partition=0, timestamp_ms=stamp)


class Log:
    """A partition as an ordinary consumer reads it."""

    def __init__(self, brokers, topic):
        on = On(topic, 0)
        consumer = KafkaConsumer(bootstrap_servers=brokers, enable_auto_commit=False)
        consumer.assign([on])
        self.start, self.end = consumer.beginning_offsets([on])[on], consumer.end_offsets([on])[on]
        consumer.seek(on, self.start)
        self.records: list[tuple[int, int]] = []
        deadline = time.monotonic() + WAIT_S
        while consumer.position(on) < self.end and time.monotonic() < deadline:
            for record in consumer.poll(timeout_ms=500).get(on, []):
                self.records.append((record.offset, record.timestamp))
        consumer.close()
        highs = accumulate((stamp for _, stamp in self.records), max)
        self.highs = list(zip((offset for offset, _ in self.records), highs, strict=True))
        self.on = TopicPartition(ServerText(topic), Partition(0))
        self.ends = LogEnds(on=self.on, log_start_offset=Offset(self.start), log_end_offset=Offset(self.end))

    def true_ms(self, place):
        return next(high for offset, high in self.highs if offset >= place)

    def places(self, count=60):
        some = random.Random(self.end).sample(self.records, min(count, len(self.records)))
        return sorted({self.start, self.records[-1][0], *(offset for offset, _ in some)})


@contextlib.contextmanager
def session_with(brokers, **target):
    probe = Probe(Deadline(60.0), client_name="diag/test")
    with probe, connect(KafkaTarget(bootstrap_servers=brokers, **target), probe) as session:
        yield session


def asked(session, logs, *, compacted=(), at=None):
    """Return the times by log and offset, in milliseconds, and the gaps."""
    gaps: list = []
    places = {(log.on, offset): log.ends for log in logs for offset in (at or log.places())}
    leaders = {log.on: min(session.brokers) for log in logs}
    found = record_times(session, places, leaders, gaps, compacted={ServerText(name) for name in compacted})
    return {(on.topic.raw, offset): moment.timestamp() * 1000 for (on, offset), moment in found.items()}, gaps


def dated(brokers, log, **how):
    with session_with(brokers) as session:
        found, gaps = asked(session, [log], **how)
    assert gaps == []
    return {offset: ms for (_, offset), ms in found.items()}


def assert_right(found, log, places=None):
    assert sorted(found) == sorted(places or log.places())
    for place, ms in found.items():
        assert -0.5 <= ms - log.true_ms(place) <= 1000.5, place  # half a millisecond of floating point


@pytest.fixture(scope="module")
def logs(kafka):
    """A topic for each shape, over several segments, written in batches of several sizes and codecs."""
    made = {}
    for number, shape in enumerate(SHAPES):
        topic = _traffic.fresh(shape.__name__)
        create(kafka.bootstrap_servers, topic)
        codec = (None, "gzip", "lz4")[number % 3]
        stamps = shape(random.Random(shape.__name__))
        write(kafka.bootstrap_servers, topic, stamps, compression_type=codec, linger_ms=20, batch_size=4096)
        made[shape] = Log(kafka.bootstrap_servers, topic)
        assert len(made[shape].records) == len(stamps)
    return made


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_is_dated_as_a_consumer_would_read_it(kafka, logs, shape):
    assert_right(dated(kafka.bootstrap_servers, logs[shape]), logs[shape])


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape is not to_come])
def test_brokers_before_3_0_are_asked_without_max_timestamp(kafka, logs, shape):
    with session_with(kafka.bootstrap_servers) as session:
        for broker in session.brokers.values():
            broker.versions = BrokerVersionData(api_versions={LIST_OFFSETS: (0, 5)})
        found, gaps = asked(session, [logs[shape]])
    assert gaps == []
    assert_right({offset: ms for (_, offset), ms in found.items()}, logs[shape])


def test_all_topics_at_once_and_in_small_pieces(kafka, logs, monkeypatch):
    monkeypatch.setattr(module, "_PARTITIONS", 2)
    monkeypatch.setattr(module, "_IN_FLIGHT_BYTES", 300)
    monkeypatch.setattr(Log, "places", lambda log: sorted({log.start, log.end // 3, log.end - 1}))
    with session_with(kafka.bootstrap_servers) as session:
        found, gaps = asked(session, list(logs.values()))
    assert gaps == []
    for log in logs.values():
        assert_right({offset: ms for (topic, offset), ms in found.items() if topic == log.on.topic.raw}, log)


def test_the_broker_itself_dates_the_records(kafka):
    topic = _traffic.fresh("appended")
    create(kafka.bootstrap_servers, topic, **{"message.timestamp.type": "LogAppendTime"})
    for _ in range(20):
        write(kafka.bootstrap_servers, topic, [None] * 10, linger_ms=20)
    log = Log(kafka.bootstrap_servers, topic)
    assert len({stamp for _, stamp in log.records}) > 1
    assert_right(dated(kafka.bootstrap_servers, log), log)


def committed(brokers, topic, stamps, *, of):
    """Write transactions of `of` records each; return where their markers are."""
    with contextlib.closing(KafkaProducer(bootstrap_servers=brokers, transactional_id=topic)) as producer:
        producer.init_transactions()
        for first in range(0, len(stamps), of):
            producer.begin_transaction()
            for stamp in stamps[first : first + of]:
                producer.send(topic, b"notification", partition=0, timestamp_ms=stamp)
            producer.commit_transaction()
    return [number * (of + 1) + of for number in range(len(stamps) // of)]


def test_transactions_and_their_markers(kafka):
    """Records dated later than any marker are dated exactly; at a marker nothing is as new as the next record."""
    topic = _traffic.fresh("transactional")
    create(kafka.bootstrap_servers, topic)
    markers = committed(kafka.bootstrap_servers, topic, [NOW + DAY + number * HOUR for number in range(60)], of=3)
    log = Log(kafka.bootstrap_servers, topic)
    assert_right(dated(kafka.bootstrap_servers, log), log)
    for marker, ms in dated(kafka.bootstrap_servers, log, at=markers[:-1]).items():
        assert log.true_ms(marker - 1) <= ms <= log.true_ms(marker + 1)


def test_markers_are_never_older_than_the_records_they_close(kafka):
    topic = _traffic.fresh("backfilled")
    create(kafka.bootstrap_servers, topic)
    committed(kafka.bootstrap_servers, topic, [START + number * HOUR for number in range(30)], of=3)
    log = Log(kafka.bootstrap_servers, topic)
    found = dated(kafka.bootstrap_servers, log)
    assert all(ms >= log.true_ms(place) - 0.5 for place, ms in found.items())
    assert found[0] == pytest.approx(START, abs=1000), "nothing is before the first marker"


@pytest.fixture(scope="module")
def compacting(kafka, lab_folder):
    """A broker that compacts at once."""
    assert kafka, "or the machine has none"
    server = services.start_kafka(lab_folder / "compacting", properties={"log.cleaner.backoff.ms": "100"})
    yield server.bootstrap_servers
    services.stop(server)


@pytest.fixture(scope="module")
def compacted(compacting):
    """A topic whose older records were really removed by compaction."""
    policy = {"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.01", "segment.ms": str(6 * HOUR)}
    create(compacting, "accounts", **policy)
    rng = random.Random(1)
    write(compacting, "accounts", steady(rng), key=lambda _: b"%d" % rng.randrange(200), batch_size=2048)
    found = [Log(compacting, "accounts")]

    def settled():
        found.append(Log(compacting, "accounts"))
        return len(found[-1].records) < RECORDS / 2 and found[-1].records == found[-2].records

    assert process.wait_until(settled, WAIT_S), len(found[-1].records)
    return compacting, found[-1]


def test_what_compaction_removed_is_dated_by_what_is_left(compacted):
    brokers, log = compacted
    left = {offset for offset, _ in log.records}
    removed = [offset for offset in range(log.start, log.end) if offset not in left]
    places = random.Random(2).sample(removed, 60) + log.places()
    assert_right(dated(brokers, log, at=places, compacted=["accounts"]), log, set(places))
    assert_right(dated(brokers, log), log)  # what is left is right also when nobody says so


def test_a_commit_before_the_log_start_is_dated_by_the_first_record_and_one_at_the_end_by_none(kafka):
    topic = _traffic.fresh("deleted")
    create(kafka.bootstrap_servers, topic)
    write(kafka.bootstrap_servers, topic, steady(None)[:200])
    admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
    admin.delete_records({On(topic, 0): 70})
    admin.close()
    log = Log(kafka.bootstrap_servers, topic)
    assert (log.start, log.end) == (70, 200)
    offsets = (3, 69, 70, 71, 150, 200)
    places = {(log.on, max(at, log.start)): log.ends for at in offsets if at < log.end}
    gaps: list = []
    with session_with(kafka.bootstrap_servers) as session:
        found = record_times(session, places, {log.on: min(session.brokers)}, gaps)
    assert (gaps, found.keys()) == ([], places.keys())
    for (_, offset), record_at in found.items():
        assert 0 <= record_at.timestamp() * 1000 + 0.5 - log.true_ms(offset) <= 1001


def test_records_without_timestamps_are_a_gap(kafka):
    topic = _traffic.fresh("undated")
    create(kafka.bootstrap_servers, topic)
    write(kafka.bootstrap_servers, topic, [-1] * 5)
    log = Log(kafka.bootstrap_servers, topic)
    assert {stamp for _, stamp in log.records} == {-1}
    with session_with(kafka.bootstrap_servers) as session:
        found, gaps = asked(session, [log])
    assert (found, [gap.why.raw for gap in gaps]) == ({}, ["its records have no timestamps"])


def test_describe_is_all_it_takes(private_kafka):
    rules = {
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
    }
    server = private_kafka(users={"oncall": "right-canary"}, properties=rules)
    as_oncall = {"security_protocol": "SASL_PLAINTEXT", "username": "oncall", "password": "right-canary"}
    create(server.bootstrap_servers, "payments")
    write(server.bootstrap_servers, "payments", steady(None)[:100])
    log = Log(server.bootstrap_servers, "payments")

    def seen():
        with session_with(server.sasl_bootstrap_servers, sasl_mechanism="PLAIN", **as_oncall) as session:
            return asked(session, [log])

    _, gaps = seen()
    assert [gap.fix.raw for gap in gaps] == ["grant Describe on topic payments to the user diag connects as"]
    admin = KafkaAdminClient(bootstrap_servers=server.bootstrap_servers)
    pattern = ResourcePattern(ResourceType.TOPIC, "payments")
    admin.create_acls([ACL("User:oncall", "*", ACLOperation.DESCRIBE, ACLPermissionType.ALLOW, pattern)])
    admin.close()
    assert process.wait_until(lambda: not seen()[1], 10.0)
    assert_right({offset: ms for (_, offset), ms in seen()[0].items()}, log)


def test_only_list_offsets_is_sent_and_not_more_than_nine_rounds_of_it(kafka, logs, monkeypatch):
    sent: list = []
    really = Broker.send
    monkeypatch.setattr(Broker, "send", lambda self, asked: (sent.append(asked), really(self, asked))[1])
    with session_with(kafka.bootstrap_servers) as session:
        sent.clear()
        asked(session, [logs[diurnal]], at=[RECORDS // 3])
    assert {(asked.name, asked.request.isolation_level) for asked in sent} == {("ListOffsetsRequest", 0)}
    assert len(sent) <= 9 * 7


def test_one_topic_that_is_gone_and_one_that_is_not(kafka, logs):
    gone = TopicPartition(ServerText("no-such-topic"), Partition(0))
    log, gaps = logs[steady], []
    ends = LogEnds(on=gone, log_start_offset=Offset(0), log_end_offset=Offset(9))
    with session_with(kafka.bootstrap_servers) as session:
        places = {(gone, 3): ends, (gone, 4): ends, (log.on, 7): log.ends}
        found = record_times(session, places, dict.fromkeys((gone, log.on), min(session.brokers)), gaps)
    assert list(found) == [(log.on, 7)]
    assert [(gap.fact, gap.what.raw, gap.why.raw) for gap in gaps] == [
        ("record_times", "record times (no-such-topic)", "UnknownTopicOrPartition")
    ]


def test_the_most_lagging_places_are_dated_when_there_are_too_many(kafka, logs, monkeypatch):
    monkeypatch.setattr(module, "_MOST_PLACES", 3)
    with session_with(kafka.bootstrap_servers) as session:
        found, gaps = asked(session, [logs[steady]], at=[5, 900, 20, 1400, 10])
        assert sorted(offset for _, offset in found) == [5, 10, 20]
        assert [gap.what.raw for gap in gaps] == ["record times of 2 of 5 places"]
        monkeypatch.setattr(module, "_MOST_PROBES", 7)
        found, gaps = asked(session, [logs[diurnal]], at=[0, RECORDS // 3])
    assert [offset for _, offset in found] == [0]
    assert ["more than 7 look-ups" in gap.why.raw for gap in gaps] == [True]


def test_a_broker_that_refuses_only_max_timestamp_is_asked_on():
    """As one does that still writes an old message format."""
    heard, errors = {("orders", 0): {}}, {}
    refusal = (0, 43, -1, -1)
    module._read([("orders", [refusal])], 1, {("orders", 0): [0, NEWEST]}, heard, errors)
    assert (heard, errors) == ({("orders", 0): {NEWEST: None}}, {})


def cut_off(session):
    session.brokers[min(session.brokers)].socket.shutdown(socket.SHUT_RDWR)


def short_of_time(session):
    session.probe.deadline.allowed_s = 1e6  # of which a minute is next to nothing


def ancient(session):
    session.brokers[min(session.brokers)].versions = BrokerVersionData(api_versions={LIST_OFFSETS: (0, 0)})


CUT_SHORT = {cut_off: "", short_of_time: "the deadline came close", ancient: "no version of ListOffsets"}


@pytest.mark.parametrize("how", CUT_SHORT)
def test_what_could_not_be_asked_is_a_gap_and_no_error(kafka, logs, how):
    with session_with(kafka.bootstrap_servers) as session:
        how(session)
        found, gaps = asked(session, [logs[steady]])
    assert found == {}
    assert [gap.fact for gap in gaps] == ["record_times"]
    assert CUT_SHORT[how] in gaps[0].why.raw
