"""ListOffsets as we pack and read it is what kafka-python's own classes say, in every version there is."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka.protocol.consumer.offsets import ListOffsetsRequest, ListOffsetsResponse

from diag.sources.kafka.list_offsets import NEWEST_VERSION, list_offsets, packed, read_list_offsets

VERSIONS = range(1, NEWEST_VERSION + 1)
INT32, INT64 = st.integers(-(2**31), 2**31 - 1), st.integers(-(2**63), 2**63 - 1)
NAMES = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=300)
ASKED = st.dictionaries(NAMES, st.lists(st.tuples(INT32, INT64), max_size=200), max_size=4)
TOLD = st.dictionaries(NAMES, st.lists(st.tuples(INT32, st.integers(-1, 130), INT64, INT64), max_size=200), max_size=4)


@pytest.mark.parametrize("version", VERSIONS)
@given(topics=ASKED, isolation_level=st.integers(0, 1))
def test_a_packed_request_is_what_the_clients_class_encodes(version, topics, isolation_level):
    of_topic = ListOffsetsRequest.ListOffsetsTopic
    whole = ListOffsetsRequest(
        replica_id=-1,
        isolation_level=isolation_level if version > 1 else 0,
        topics=[
            of_topic(
                name=name,
                partitions=[
                    of_topic.ListOffsetsPartition(partition_index=partition, timestamp=at_ms, current_leader_epoch=-1)
                    for partition, at_ms in wanted
                ],
            )
            for name, wanted in topics.items()
        ],
    )
    ours = list_offsets(topics, isolation_level if version > 1 else 0)
    for request in (whole, ours.request):
        request.API_VERSION = version
        request.with_header(correlation_id=7, client_id="diag")
    wanted = bytes(whole.encode(framed=True, header=True))
    assert ours.pack(bytes(ours.request.encode(framed=True, header=True))) == wanted


def answer(topics):
    of_topic = ListOffsetsResponse.ListOffsetsTopicResponse
    rows = {
        name: [
            of_topic.ListOffsetsPartitionResponse(
                partition_index=partition, error_code=code, timestamp=at_ms, offset=offset, leader_epoch=3
            )
            for partition, code, at_ms, offset in told
        ]
        for name, told in topics.items()
    }
    return ListOffsetsResponse(
        throttle_time_ms=0, topics=[of_topic(name=name, partitions=told) for name, told in rows.items()]
    )


@pytest.mark.parametrize("version", VERSIONS)
@given(topics=TOLD)
def test_an_answer_is_read_as_the_clients_class_wrote_it(version, topics):
    body = bytes(answer(topics).encode(version=version))
    assert dict(read_list_offsets(body, version)) == topics


@pytest.mark.parametrize("version", VERSIONS)
@given(topics=TOLD.filter(lambda topics: any(topics.values())), cut=st.floats(0, 1, exclude_max=True))
def test_an_answer_that_is_cut_short_is_refused(version, topics, cut):
    body = bytes(answer(topics).encode(version=version))
    last = 1 if version >= 6 else 0  # nothing is lost with the tags at the end, of which there are none
    with pytest.raises((struct.error, IndexError)):
        read_list_offsets(body[: int(cut * (len(body) - last))], version)


def test_rows_with_tagged_fields_are_read_past_them():
    told = (4, 0, 1_700_000_000_000, 12)
    row = struct.Struct(">ihqqi").pack(*told, 3)
    tagged = row + b"\x01\x07\x02ab"  # one field, number 7, two bytes
    body = b"\0\0\0\0" + b"\x02" + b"\x07orders" + b"\x03" + tagged + row + b"\0" + b"\0" + b"\0"
    assert read_list_offsets(body, NEWEST_VERSION) == [("orders", [told, told])]


def test_a_name_that_is_no_text_comes_back_as_it_was():
    name = "caf\udce9"
    empty = list_offsets({}).request
    empty.API_VERSION = NEWEST_VERSION
    empty.with_header(correlation_id=7, client_id="diag")
    framed = packed(bytes(empty.encode(framed=True, header=True)), {name: [(0, -1)]}, NEWEST_VERSION)
    assert b"\x05caf\xe9" in framed
