"""The messages that kafka-python lacks, byte for byte; assignments by our reader and by its; lists of strangers."""

from __future__ import annotations

import time
from importlib import resources

import msgspec
import pytest
from kafka.errors import IncompatibleBrokerVersion
from kafka.protocol.admin.groups import ListGroupsResponse
from kafka.protocol.broker_version_data import BrokerVersionData
from kafka.protocol.consumer.metadata import ConsumerProtocolAssignment

from diag.snapshots.base import Scope
from diag.sources.kafka import groups, messages, schemas
from diag.sources.kafka.assignments import Topics, assigned

ASSIGNED = ConsumerProtocolAssignment(
    assigned_partitions=[
        ConsumerProtocolAssignment.TopicPartition(topic=name, partitions=numbers)
        for name, numbers in (("orders", [2, 0, 1]), ("a", [7]), ("none", []))
    ],
    user_data=b"sticky's own",
)


@pytest.mark.parametrize("version", range(4))
def test_assignments_are_read_as_kafka_python_reads_them(version):
    encoded = bytes(ASSIGNED.encode(version=version))
    theirs = ConsumerProtocolAssignment.decode(encoded).assigned_partitions
    assert [(name, list(numbers)) for name, numbers in assigned(encoded)] == [(t.topic, t.partitions) for t in theirs]
    in_order = [(on.topic.raw, on.partition) for on in Topics().sorted(assigned(encoded))]
    assert in_order == [("a", 7), ("orders", 0), ("orders", 1), ("orders", 2)]


def test_any_other_bytes_assign_nothing_or_what_they_say():
    whole = bytes(ASSIGNED.encode(version=1))
    assert assigned(None) == assigned(b"") == assigned(b"\xff" * 40) == assigned(b"\0\0\x7f\xff\xff\xff\xff\xfe") == []
    backwards = b"\0\0\0\0\0\2\xff\xfa" + b"\0" * 40
    assert assigned(backwards) == []
    for place in range(len(whole)):
        assigned(whole[:place])
        for bit in range(8):
            assigned(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])


def test_assignments_are_read_three_times_as_fast_as_by_kafka_python():
    encoded = bytes(ASSIGNED.encode(version=1))

    def cpu_s(decode):
        started = time.process_time()
        for _ in range(2000):
            decode(encoded)
        return time.process_time() - started

    ours, theirs = (min(cpu_s(one) for _ in range(3)) for one in (assigned, ConsumerProtocolAssignment.decode))
    assert ours * 3 < theirs


def filled(struct, seed=1):
    """Fill every field of a message, so that a round trip that loses one is seen."""
    values = {}
    for place, (name, field) in enumerate(struct.fields.items(), seed):
        kind = field.type_str
        if field.is_struct_array():
            values[name] = [filled(field.data_class, place), filled(field.data_class, place + 50)]
        elif field.is_struct():
            values[name] = filled(field.data_class, place)
        else:
            values[name] = {
                "string": f"text {place}",
                "bool": True,
                "[]string": [f"a{place}", "b"],
                "[]int32": [place, 7],
            }.get(kind, place)
    return struct(**values)


CLASSES = [getattr(messages, name) for name in vars(messages) if name.endswith(("Request", "Response"))]
VERSIONS = [(one, version) for one in CLASSES for version in range(one.valid_versions[0], one.max_version + 1)]


@pytest.mark.parametrize(("message", "version"), VERSIONS, ids=[f"{m.__name__} v{v}" for m, v in VERSIONS])
def test_messages_come_back_as_they_went(message, version):
    sent = filled(message)
    back = message.decode(bytes(sent.encode(version=version)), version=version)
    lost = {"lag"} if version == 0 else set()
    lost |= {"member_type"} if version == 0 else set()
    assert without(back.to_dict(), lost) == without(sent.to_dict(), lost)


def without(value, names):
    if isinstance(value, dict):
        return {key: without(inner, names) for key, inner in value.items() if key not in names}
    return [without(inner, names) for inner in value] if isinstance(value, list) else value


def test_bytes_on_the_wire_are_those_of_the_protocol():
    """Flexible versions only: request header 2, response header 1, compact lengths, empty tag sections."""
    request = messages.ConsumerGroupDescribeRequest(group_ids=["ab"])
    request.API_VERSION = 1
    request.with_header(correlation_id=5, client_id="me")
    header = b"\x00\x45\x00\x01\x00\x00\x00\x05\x00\x02me\x00"
    assert bytes(request.encode(header=True)) == header + b"\x02\x03ab\x00\x00"
    of_response = request.header.get_response_class()
    header, body = b"\x00\x00\x00\x05\x00", b"\x00\x00\x00\x09\x01\x00"  # each with a tag section; no groups
    answer = of_response.decode(header + body, header=True)
    assert (answer.header.correlation_id, answer.throttle_time_ms, answer.groups) == (5, 9, [])
    everything = messages.DescribeShareGroupOffsetsRequest.Group(group_id="ab", topics=None)
    asked = messages.DescribeShareGroupOffsetsRequest(groups=[everything])
    assert bytes(asked.encode(version=1)) == b"\x02\x03ab\x00\x00\x00"
    for one in CLASSES:
        assert all(one.flexible_version_q(version) for version in range(one.max_version + 1))


def test_the_newest_common_version_is_taken_and_the_preview_is_not():
    share = messages.ShareGroupDescribeRequest(group_ids=[], min_version=1)
    newest = BrokerVersionData(api_versions={69: (0, 1), 77: (1, 1), 90: (0, 1)})
    older = BrokerVersionData(api_versions={69: (0, 0), 77: (0, 0), 90: (0, 0)})
    assert [newest.api_version(one) for one in CLASSES if one.is_request()] == [1, 1, 1]
    assert older.api_version(messages.ConsumerGroupDescribeRequest(group_ids=[])) == 0
    with pytest.raises(IncompatibleBrokerVersion):
        older.api_version(share)


def test_every_message_has_its_layout_in_the_package():
    assert len(CLASSES) == 6
    for one in CLASSES:
        written = msgspec.json.decode(resources.files(schemas).joinpath(f"{one.__name__}.json").read_bytes())
        assert written["name"] == one.__name__


def told(kind, *names, state="Stable", protocol_type="consumer"):
    of_group = ListGroupsResponse.ListedGroup
    return [of_group(group_id=n, protocol_type=protocol_type, group_state=state, group_type=kind) for n in names]


def test_streams_groups_are_named_once_and_strangers_words_go_nowhere():
    left_out: set[str] = set()
    answer = (
        told("streams", "a", "b", protocol_type="streams") + told("\x1b[2J", "c") + told("classic", "d", state="\x1b")
    )
    answer += told("classic", "connect-sink", protocol_type="connect")
    (kept,) = groups._read(answer, Scope(), left_out)
    assert (kept.group.raw, kept.state) == ("d", "unknown")
    gaps = list(groups._unread_kinds(left_out, seen=True))
    assert [(gap.fact, gap.what.raw) for gap in gaps] == [
        ("other_groups", "groups of a type that diag does not know"),
        ("other_groups", "streams groups (KIP-1071)"),
    ]
    assert {gap.fact for gap in groups._unread_kinds(left_out, seen=False)} == {"groups"}


STATES = {"stable": "Stable", "PreparingRebalance": "PreparingRebalance", "reconciling": "Reconciling", None: "unknown"}


@pytest.mark.parametrize(("said", "kept"), STATES.items())
def test_states_are_known_words(said, kept):
    (group,) = groups._read(told("consumer", "one", state=said), Scope(), set())
    assert group.state == kept
