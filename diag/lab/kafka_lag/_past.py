"""A past that never was: records and commits of the last hour, written in a second.

Records carry timestamps of the past. So do commits, which are written straight into the log that
the group coordinator keeps them in, as OffsetCommit records (key version 1, value version 3).
Brokers let nobody write there but a client that calls itself `__admin_client`, and clients
refuse, too: hence Produce requests made by hand. The coordinator notices at its next write, and
reads its log anew. Source: Kafka protocol guide, "Produce"; KafkaApis, AdminUtils.ADMIN_CLIENT_ID.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from itertools import pairwise
from typing import Final, TypeAlias

from kafka import KafkaConsumer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic
from kafka.errors import KafkaError, for_code
from kafka.protocol.producer import ProduceRequest
from kafka.record.memory_records import MemoryRecordsBuilder
from kafka.structs import OffsetAndMetadata
from msgspec import Struct

from diag.config import KafkaTarget
from diag.errors import SourceError
from diag.lab.process import wait_until
from diag.sources.kafka import connect
from diag.sources.kafka.broker import exchange
from diag.wire.probe import Deadline, Probe

_OFFSETS: Final = "__consumer_offsets"
_ADMIN: Final = "__admin_client"
_DEADLINE_S: Final = 60.0
_BATCH: Final = 200  # records; a broker that is asked for a time reads through a whole batch
_IN_FLIGHT: Final = 5  # Produce requests of some 20 KB: they fit the socket buffers of both sides
_PRODUCE: Final = 12  # newest version that names topics

Dated: TypeAlias = tuple[int, bytes | None, bytes]
"""A record: its timestamp in milliseconds, its key and its value."""


class Moment(Struct, frozen=True):
    """At an instant: how many records a partition has had written, and how many its group has committed."""

    at: float
    written: int
    committed: int | None = None


def lived(
    begins_at: float,
    span_s: int,
    written_per_s: Callable[[int], float],
    read_per_s: Callable[[int], float],
    *,
    commit_s: int = 5,
) -> list[Moment]:
    """Return the past of a partition, second by second: what is written then, and what the group can read then."""
    written = read = 0.0
    moments = [Moment(begins_at, 0, 0)]
    for second in range(span_s):
        written += written_per_s(second)
        read = min(read + read_per_s(second), int(written))
        commits = (second + 1) % commit_s == 0
        moments.append(Moment(begins_at + second + 1, int(written), int(read) if commits else None))
    return moments


def write(bootstrap_servers: str, topic: str, group: str, pasts: Iterable[Sequence[Moment]]) -> None:
    """Make the topic and give each partition its past: records evenly between moments, commits at them."""
    pasts = list(pasts)
    with closing(KafkaAdminClient(bootstrap_servers=bootstrap_servers)) as admin:
        admin.create_topics([NewTopic(topic, len(pasts), 1)], wait_for_metadata=True)
    partitions = range(len(pasts))
    with closing(KafkaConsumer(bootstrap_servers=bootstrap_servers)) as one:
        one.end_offsets([TopicPartition(topic, number) for number in partitions])  # which waits until they are led
    produce(bootstrap_servers, topic, {number: _records(past) for number, past in enumerate(pasts)})
    last = [[moment.committed for moment in past if moment.committed is not None][-1] for past in pasts]
    now = dict(zip(partitions, last, strict=True))
    commit(bootstrap_servers, topic, group, now)  # that makes the topic of commits, too
    commits = [one for number, past in enumerate(pasts) for one in _commits(topic, group, number, past)]
    commits.sort(key=lambda one: one[0])
    produce(bootstrap_servers, _OFFSETS, {_partition_of(bootstrap_servers, group): commits})
    commit(bootstrap_servers, topic, group, now)  # now the coordinator knows them


def _records(past: Sequence[Moment]) -> list[Dated]:
    return [
        (int(1000 * (before.at + (after.at - before.at) * one / count)), None, b"payment")
        for before, after in pairwise(past)
        for count in (after.written - before.written,)
        for one in range(count)
    ]


def _commits(topic: str, group: str, partition: int, past: Sequence[Moment]) -> list[Dated]:
    key = struct.pack(">h", 1) + _text(group) + _text(topic) + struct.pack(">i", partition)
    return [
        (at_ms, key, struct.pack(">hqi", 3, moment.committed, -1) + _text("") + struct.pack(">q", at_ms))
        for moment in past
        for at_ms in (int(moment.at * 1000),)
        if moment.committed is not None
    ]


def _text(text: str) -> bytes:
    return struct.pack(">h", len(text.encode())) + text.encode()


def produce(bootstrap_servers: str, topic: str, records: dict[int, list[Dated]]) -> None:
    """Write dated records to partitions of any topic. Raises `KafkaError` or a `SourceError` when that fails."""
    probe = Probe(Deadline(_DEADLINE_S), client_name=_ADMIN)
    with probe, connect(KafkaTarget(bootstrap_servers=bootstrap_servers), probe) as session:
        (node,) = session.brokers  # the lab's Kafka is one broker
        requests = [
            _request(topic, partition, dated[first : first + _BATCH])
            for partition, dated in records.items()
            for first in range(0, len(dated), _BATCH)
        ]
        for first in range(0, len(requests), _IN_FLIGHT):
            answers = exchange(session.brokers, {node: requests[first : first + _IN_FLIGHT]}, probe)[node]
            if isinstance(answers, SourceError):
                raise answers
            for code in (answer.responses[0].partition_responses[0].error_code for answer in answers):
                if code:
                    raise for_code(code)


def _request(topic: str, partition: int, dated: Sequence[Dated]) -> ProduceRequest:
    batch = MemoryRecordsBuilder(magic=2, compression_type=0, batch_size=1 << 20)
    for at_ms, key, value in dated:
        batch.append(at_ms, key, value)
    batch.close()
    of_topic = ProduceRequest.TopicProduceData
    records = of_topic.PartitionProduceData(index=partition, records=bytes(batch.buffer()))
    return ProduceRequest(
        transactional_id=None,
        acks=-1,
        timeout_ms=int(_DEADLINE_S * 1000),
        topic_data=[of_topic(name=topic, partition_data=[records])],
        max_version=_PRODUCE,
    )


def _partition_of(bootstrap_servers: str, group: str) -> int:
    """Return where the coordinator keeps the commits of a group: by the hash that Java gives its name."""
    with closing(KafkaConsumer(bootstrap_servers=bootstrap_servers)) as one:
        partitions = len(one.partitions_for_topic(_OFFSETS) or ())
    hashed = 0
    for letter in group:  # names of the lab are ASCII
        hashed = (31 * hashed + ord(letter)) % (1 << 32)
    return abs(hashed - (1 << 32) if hashed >> 31 else hashed) % partitions


def commit(bootstrap_servers: str, topic: str, group: str, offsets: dict[int, int]) -> None:
    """Commit as a client would; the coordinator may have to read its log first."""
    wanted = {TopicPartition(topic, number): OffsetAndMetadata(offset, "", -1) for number, offset in offsets.items()}
    with closing(KafkaConsumer(bootstrap_servers=bootstrap_servers, group_id=group, enable_auto_commit=False)) as one:
        one.assign(list(wanted))

        def is_kept() -> bool:
            try:
                one.commit(wanted)
            except KafkaError as error:
                if not error.retriable:
                    raise
            return all(one.committed(on) == meta.offset for on, meta in wanted.items())

        if not wait_until(is_kept, _DEADLINE_S):
            message = f"group {group} could not commit"
            raise TimeoutError(message)
