"""Groups of every protocol on a real broker: what their coordinator says is what their members do."""

from __future__ import annotations

import contextlib
import os
import signal
import time

import pytest
from kafka import KafkaProducer
from kafka.admin import ACL, ACLOperation, ACLPermissionType, KafkaAdminClient, NewPartitions, ResourcePattern
from kafka.admin import ResourceType as Resource
from kafka.protocol.admin import IncrementalAlterConfigsRequest

from diag.config import KafkaTarget
from diag.errors import Rung, SourceError, Unreachable
from diag.lab import folders, process, services
from diag.lab.kafka_files import class_path, java, kafka_jars
from diag.lab.kafka_lag import _traffic
from diag.lab.servers import MissingServer
from diag.snapshots.base import Scope
from diag.sources import kafka as source
from diag.sources.kafka import groups
from diag.sources.kafka.broker import exchange
from diag.wire.probe import Deadline, Probe

LIST_GROUPS, DESCRIBE_GROUPS, CONSUMER_DESCRIBE, SHARE_DESCRIBE, SHARE_OFFSETS = 16, 15, 69, 77, 90
GROUP_CONFIG = 32  # ConfigResource.Type.GROUP
PATIENCE_S = 60.0


def read(session, scope=None):
    """List and describe as a caller does: one wave for the lists, one for everything else."""
    scope, gaps = scope or Scope(), []
    listed = groups.listed(session, scope, gaps)
    describes, starts = groups.describe_requests(session, listed), groups.share_offset_requests(session, listed)
    wave = {node: [*starts.get(node, []), *describes.get(node, [])] for node in listed}
    answers = exchange(session.brokers, wave, session.probe)
    first, rest = {}, {}
    for node, answered in answers.items():
        cut = len(starts.get(node, []))
        lost = isinstance(answered, SourceError)
        first[node], rest[node] = (answered, answered) if lost else (answered[:cut], answered[cut:])
    commits = groups.share_commits(session, scope, listed, first, gaps)
    return groups.described(session, listed, rest, gaps), commits, gaps


@contextlib.contextmanager
def connected(bootstrap_servers, **target):
    probe = Probe(Deadline(30.0), client_name="diag/test")
    with probe, source.connect(KafkaTarget(bootstrap_servers=bootstrap_servers, **target), probe) as session:
        yield session


def look(bootstrap_servers, group, **target):
    """Return one group, its share commits and the gaps."""
    with connected(bootstrap_servers, **target) as session:
        seen, commits, gaps = read(session, Scope(groups=(group,)))
    return (seen[0] if seen else None), commits, gaps


class Lab:
    """A broker with the real authoriser, and members in Java, as kafka-python speaks the classic protocol only."""

    def __init__(self, folder):
        self.folder = folder
        self.server = services.start_kafka(
            folder / "kafka",
            users={"oncall": "canary", "reader": "canary"},
            properties={
                "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
                "super.users": "User:ANONYMOUS",
            },
        )
        self.brokers = self.server.bootstrap_servers
        self.pids = []

    def topic(self, name="orders", records=90):
        topic = _traffic.fresh(name)
        _traffic.fill(self.brokers, topic, records, oldest_s=60)
        return topic

    def member(self, group, topic, tool="ConsoleConsumer", *more):
        flags = ["-Xmx64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", class_path(kafka_jars())]
        asked = ["--bootstrap-server", self.brokers, "--topic", topic, "--group", group, *more]
        command = [java().program, *flags, f"org.apache.kafka.tools.consumer.{tool}", *asked]
        pid = process.spawn(command, log=self.folder / f"{group}-{len(self.pids)}.log")
        self.pids.append(pid)
        return pid

    def modern_member(self, group, topic):
        settings = ("group.protocol=consumer", "auto.commit.interval.ms=100")
        return self.member(
            group,
            topic,
            "ConsoleConsumer",
            "--from-beginning",
            *(w for s in settings for w in ("--command-property", s)),
        )

    def configure(self, group, **settings):
        of_resource = IncrementalAlterConfigsRequest.AlterConfigsResource
        configs = [
            of_resource.AlterableConfig(name=name.replace("_", "."), config_operation=0, value=str(value))
            for name, value in settings.items()
        ]
        resource = of_resource(resource_type=GROUP_CONFIG, resource_name=group, configs=configs)
        with connected(self.brokers) as session:
            request = IncrementalAlterConfigsRequest(resources=[resource], validate_only=False)
            ((answer,),) = exchange(
                session.brokers, {node: [request] for node in session.brokers}, session.probe
            ).values()
        assert [told.error_code for told in answer.responses] == [0]

    def until(self, group, is_so, patience_s=PATIENCE_S):
        """Look at a group until it is so; return that look."""
        ends = time.monotonic() + patience_s
        while True:
            seen = look(self.brokers, group)
            if seen[0] is not None and is_so(*seen[:2]):
                return seen
            assert time.monotonic() < ends, (
                seen,
                [log.read_text()[-2000:] for log in self.folder.glob(f"{group}-*.log")],
            )
            time.sleep(0.1)

    def close(self):
        for pid in self.pids:
            if process.is_child(pid):
                os.kill(pid, signal.SIGCONT)
                process.stop(pid, signal.SIGKILL)
        services.stop(self.server)


@pytest.fixture(scope="module")
def lab():
    folder = folders.private_folder()
    try:
        running = Lab(folder)
    except MissingServer as error:
        if os.environ.get("CI") == "true":
            pytest.fail(error.message)
        pytest.skip(f"{error.message} Run: make deps")
    yield running
    running.close()
    folders.remove(folder)


@pytest.fixture(scope="module")
def topic(lab):
    return lab.topic()


@pytest.fixture(scope="module")
def classic(lab, topic):
    group = _traffic.fresh("classic")
    consumer = _traffic.reader(lab.brokers, topic, group)
    _traffic.read_some(consumer, 90)
    yield group
    consumer.close()


@pytest.fixture(scope="module")
def modern(lab, topic):
    group = _traffic.fresh("modern")
    lab.modern_member(group, topic)
    lab.until(group, lambda seen, _: seen.members and seen.members[0].assigned)
    return group


@pytest.fixture(scope="module")
def share(lab, topic):
    """A share group that has read all there is, and its one member's process."""
    group = _traffic.fresh("share")
    lab.configure(group, share_auto_offset_reset="earliest")
    pid = lab.member(group, topic, "ConsoleShareConsumer")

    def has_read(seen, commits):
        return seen.members and len(commits) == 3 and all(one.broker_lag_records == 0 for one in commits)

    lab.until(group, has_read)
    return group, pid


def places(topic, *numbers):
    return [(topic, number) for number in numbers]


def owned(assignment):
    return [(on.topic.raw, on.partition) for on in assignment]


def test_a_classic_group_by_its_own_consumers_word(lab, classic, topic):
    seen, _, gaps = look(lab.brokers, classic)
    (member,) = seen.members
    assert (seen.protocol, seen.state, seen.assignor.raw, gaps) == ("classic", "Stable", "range", [])
    assert owned(member.assigned) == places(topic, 0, 1, 2)
    assert (member.host.raw, member.wanted, member.epoch) == ("127.0.0.1", None, None)
    assert (seen.epoch, seen.assignment_epoch) == (None, None)


def test_a_kip_848_group_is_stable_with_members_epochs_and_assignor(lab, modern, topic):
    seen, _, gaps = look(lab.brokers, modern)
    (member,) = seen.members
    assert (seen.protocol, seen.state, seen.assignor.raw, gaps) == ("consumer", "Stable", "uniform", [])
    assert owned(member.assigned) == places(topic, 0, 1, 2)
    assert member.wanted == member.assigned
    assert member.epoch == seen.epoch == seen.assignment_epoch
    assert (member.client_id.raw, member.host.raw) == ("console-consumer", "127.0.0.1")


def test_a_share_group_has_members_start_offsets_and_the_brokers_own_lag(lab, share, topic):
    group, pid = share
    seen, commits, gaps = look(lab.brokers, group)
    (member,) = seen.members
    assert (seen.protocol, seen.state, seen.assignor.raw, gaps) == ("share", "Stable", "simple", [])
    assert owned(member.assigned) == places(topic, 0, 1, 2)
    assert (member.wanted, member.epoch) == (None, seen.epoch)
    assert sorted(owned([one.on for one in commits])) == places(topic, 0, 1, 2)
    os.kill(pid, signal.SIGSTOP)
    try:
        producer = KafkaProducer(bootstrap_servers=lab.brokers)
        for number in range(30):
            producer.send(topic, b"late", partition=number % 3)
        producer.close()
        late = lab.until(group, lambda _, commits: sum(one.broker_lag_records for one in commits) == 30)[1]
        assert all(0 <= one.offset <= 30 and one.broker_lag_records == 10 for one in late)
    finally:
        os.kill(pid, signal.SIGCONT)
    lab.until(group, lambda _, commits: sum(one.broker_lag_records for one in commits) == 0)


def test_a_topic_in_scope_narrows_the_start_offsets(lab, share, topic):
    with connected(lab.brokers) as session:
        assert len(read(session, Scope(groups=(share[0],), topics=(topic,)))[1]) == 3
        assert read(session, Scope(groups=(share[0],), topics=("another",)))[1] == ()


def test_a_member_that_does_not_follow_its_target_is_seen(lab):
    topic, group = lab.topic("parcels", 0), _traffic.fresh("reconciling")
    lab.configure(group, consumer_heartbeat_interval_ms=200)
    pids = [lab.modern_member(group, topic) for _ in range(2)]

    def shared(seen, _):
        return seen.state == "Stable" and len(seen.members) == 2 and all(one.assigned for one in seen.members)

    before = lab.until(group, shared)[0]
    os.kill(pids[0], signal.SIGSTOP)
    admin = KafkaAdminClient(bootstrap_servers=lab.brokers)
    admin.create_partitions({topic: NewPartitions(12)})
    admin.close()
    seen = lab.until(group, lambda seen, _: sum(len(one.wanted) for one in seen.members) == 12)[0]
    (behind,) = [one for one in lab.until(group, one_is_behind)[0].members if one.wanted != one.assigned]
    assert set(behind.assigned) < set(behind.wanted)
    assert behind.epoch < seen.epoch
    assert seen.epoch > before.epoch
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
        process.stop(pid, signal.SIGKILL)


def one_is_behind(seen, _):
    return seen.state == "Reconciling" and sum(one.wanted != one.assigned for one in seen.members) == 1


def test_a_group_whose_member_was_killed_is_empty_and_never_dead(lab, topic):
    group = _traffic.fresh("killed")
    lab.configure(group, consumer_session_timeout_ms=2000, consumer_heartbeat_interval_ms=200)
    pid = lab.modern_member(group, topic)
    lab.until(group, lambda seen, _: seen.state == "Stable" and seen.members)
    process.stop(pid, signal.SIGKILL)
    states = []
    ended = lab.until(group, lambda seen, _: states.append(seen.state) or seen.state == "Empty")[0]
    assert ended.members == ()
    assert set(states) <= {"Stable", "Empty"}


def narrowed(session, **versions):
    """Let our side believe in an older broker, so that the real one is asked as an older one would be."""
    for node in session.brokers.values():
        for key, newest in versions.items():
            if newest is None:
                node.versions.api_versions.pop(globals()[key], None)
            else:
                node.versions.api_versions[globals()[key]] = (0, newest)


def test_where_lists_do_not_tell_the_protocol_the_second_request_does(lab, classic, modern):
    """As 3.7: no types in the list, and DescribeGroups calls a live KIP-848 group Dead."""
    for describe_groups in (5, 6):
        with connected(lab.brokers) as session:
            narrowed(session, LIST_GROUPS=4, DESCRIBE_GROUPS=describe_groups)
            seen, _, gaps = read(session, Scope(groups=(classic, modern)))
        by_name = {group.group.raw: group for group in seen}
        assert {name: (one.protocol, one.state, len(one.members)) for name, one in by_name.items()} == {
            classic: ("classic", "Stable", 1),
            modern: ("consumer", "Stable", 1),
        }
        assert gaps == []


def test_without_the_second_request_no_state_is_made_up(lab, modern):
    with connected(lab.brokers) as session:
        narrowed(session, LIST_GROUPS=4, DESCRIBE_GROUPS=5, CONSUMER_DESCRIBE=None)
        (seen,), _, gaps = read(session, Scope(groups=(modern,)))
    assert (seen.state, seen.members) == ("Stable", None)
    assert [(gap.fact, gap.what.raw) for gap in gaps] == [("members", f"the members of a group ({modern})")]


def test_an_old_broker_costs_the_members_alone_and_that_is_said_once(lab, modern, share):
    with connected(lab.brokers) as session:
        narrowed(session, CONSUMER_DESCRIBE=None, SHARE_DESCRIBE=0, SHARE_OFFSETS=None)
        seen, commits, gaps = read(session, Scope(groups=(modern, share[0])))
    assert {one.group.raw: (one.state, one.members) for one in seen} == {
        modern: ("Stable", None),
        share[0]: ("Stable", None),
    }
    assert commits == ()
    assert [(gap.fact, gap.what.raw) for gap in gaps] == [
        ("commits", "start offsets of share groups"),
        ("members", "members of KIP-848 groups"),
        ("members", "members of share groups"),
    ]
    assert "3.7" in gaps[1].fix.raw


def test_a_broker_of_4_1_tells_start_offsets_without_lag(lab, share):
    with connected(lab.brokers) as session:
        narrowed(session, SHARE_OFFSETS=0)
        _, commits, gaps = read(session, Scope(groups=(share[0],)))
    assert (len(commits), {one.broker_lag_records for one in commits}, gaps) == (3, {None}, [])


@pytest.fixture(scope="module")
def rights(lab, classic, modern, topic):
    """`oncall` lists all groups and may describe two, but no topic; `reader` the topic as well."""
    cluster, group, topics = Resource.CLUSTER, Resource.GROUP, Resource.TOPIC
    granted = [("oncall", cluster, "kafka-cluster"), ("reader", cluster, "kafka-cluster"), ("reader", topics, topic)]
    granted += [(user, group, name) for user in ("oncall", "reader") for name in (classic, modern)]
    admin = KafkaAdminClient(bootstrap_servers=lab.brokers)
    allow, describe = ACLPermissionType.ALLOW, ACLOperation.DESCRIBE
    admin.create_acls([ACL(f"User:{u}", "*", describe, allow, ResourcePattern(kind, n)) for u, kind, n in granted])
    admin.close()


def as_user(lab, name):
    target = {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN", "username": name, "password": "canary"}
    with connected(lab.server.sasl_bootstrap_servers, **target) as session:
        return read(session)


@pytest.mark.usefixtures("rights")
def test_a_forbidden_group_is_one_gap_with_its_grant_and_keeps_its_state(lab, classic, modern, share):
    def sees():
        seen, _, gaps = as_user(lab, "reader")
        return {one.group.raw: one for one in seen if one.group.raw in (classic, modern, share[0])}, gaps

    assert process.wait_until(lambda: len(sees()[0]) == 3 and sees()[0][modern].members, 10.0), "grants take effect"
    seen, gaps = sees()
    assert len(seen[classic].members) == len(seen[modern].members) == 1
    assert (seen[share[0]].state, seen[share[0]].members) == ("Stable", None)
    assert [(gap.fact, gap.fix.raw, gap.rung) for gap in gaps if share[0] in gap.what.raw] == [
        ("commits", f"grant Describe on group {share[0]} to the user diag connects as", Rung.AUTHORISE)
    ]


@pytest.mark.usefixtures("rights")
def test_a_forbidden_topic_hides_kip_848_members_and_the_grant_names_topics_not_a_group(lab, classic, modern):
    def sees():
        seen, _, gaps = as_user(lab, "oncall")
        return {one.group.raw: one for one in seen}, [gap for gap in gaps if modern in gap.what.raw]

    wanted = f"grant Describe on every topic that group {modern} reads to the user diag connects as"
    assert process.wait_until(lambda: [gap.fix.raw for gap in sees()[1]] == [wanted], 10.0), sees()[1]
    seen, (gap,) = sees()
    assert (seen[modern].state, seen[modern].members, gap.fact) == ("Stable", None, "members")
    assert len(seen[classic].members) == 1


def test_a_broker_that_is_lost_costs_its_own_groups_members(lab, classic, share):
    with connected(lab.brokers) as session:
        gaps: list = []
        listed = groups.listed(session, Scope(groups=(classic, share[0])), gaps)
        lost = dict.fromkeys(listed, Unreachable("gone", rung=Rung.QUERY))
        assert groups.share_commits(session, Scope(), listed, lost, gaps) == ()
        seen = groups.described(session, listed, lost, gaps)
    assert {one.state for one in seen} == {"Stable"}
    assert [gap.fact for gap in gaps] == ["commits", "members"]
