"""Which partitions a member owns, as classic groups (encoded by their leader) and newer ones tell it.

Source: Kafka's consumer protocol, ConsumerProtocolAssignment versions 0 to 3; KIP-848, KIP-932.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from diag.snapshots.kafka import Partition, TopicPartition
from diag.sources.kafka.broker import Message
from diag.text import ServerText

_HEAD, _SHORT, _INT = struct.Struct(">hi"), struct.Struct(">h"), struct.Struct(">i")


class _Partitions(dict[int, TopicPartition]):
    """The partitions of one topic; each is made once, as many members and groups name it."""

    def __init__(self, topic: ServerText) -> None:
        super().__init__()
        self._topic = topic

    def __missing__(self, number: int) -> TopicPartition:
        self[number] = on = TopicPartition(self._topic, Partition(number))
        return on


class Topics(dict[str, _Partitions]):
    """The topics that members own parts of."""

    def __missing__(self, name: str) -> _Partitions:
        self[name] = partitions = _Partitions(ServerText(name))
        return partitions

    def sorted(self, owned: list[tuple[str, Sequence[int]]]) -> tuple[TopicPartition, ...]:
        """Return partitions in one order, so that a current and a target assignment can be compared."""
        owned.sort()
        found: list[TopicPartition] = []
        for name, numbers in owned:
            found += map(self[name].__getitem__, sorted(numbers))
        return tuple(found)


def named(assignment: Message) -> list[tuple[str, Sequence[int]]]:
    """Read an assignment of ConsumerGroupDescribe or ShareGroupDescribe."""
    return [(topic.topic_name, topic.partitions) for topic in assignment.topic_partitions]


def assigned(encoded: bytes | None) -> list[tuple[str, Sequence[int]]]:
    """Read what a classic group's leader assigned to a member: topics with partition numbers.

    Kafka keeps these bytes without looking at them. All versions of ConsumerProtocolAssignment
    begin alike, and another protocol's bytes assign nothing that we can name. Many times faster
    than kafka-python's generic decoder, which is measured beside it.
    """
    found: list[tuple[str, Sequence[int]]] = []
    if not encoded:  # so it is while a group rebalances
        return found
    try:
        version, topics = _HEAD.unpack_from(encoded)
        at = _HEAD.size
        for _ in range(topics if version >= 0 else 0):
            (length_bytes,) = _SHORT.unpack_from(encoded, at)
            name = at + _SHORT.size
            at = name + length_bytes
            if length_bytes < 0:  # else it would read backwards
                return []
            (partitions,) = _INT.unpack_from(encoded, at)
            numbers = struct.unpack_from(f">{partitions}i", encoded, at + _INT.size)
            found.append((encoded[name:at].decode("utf-8", "surrogateescape"), numbers))
            at += _INT.size * (partitions + 1)
    except struct.error:
        return []
    return found
