"""The ListOffsets request, for thousands of partitions at a time.

Source: Kafka protocol guide, "ListOffsets"; KIP-79 (timestamps), KIP-98 (isolation), KIP-734 (MAX_TIMESTAMP).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from kafka.protocol.consumer.offsets import ListOffsetsRequest
from msgspec import Struct

from diag.sources.kafka.broker import Message

NEWEST_VERSION = 7  # newest version diag was tested with
READ_UNCOMMITTED, READ_COMMITTED = 0, 1
_ISOLATED_SINCE = 2  # before it there are no transactions (0.11)


class Wanted(Struct):
    """One partition of a request. The protocol's own class takes longer to make than all the rest."""

    partition_index: int
    timestamp: int
    current_leader_epoch: int = -1
    tags: None = None
    unknown_tags: None = None


def list_offsets(topics: Mapping[str, list[Wanted]], isolation_level: int = READ_UNCOMMITTED) -> Message:
    """Return the request; it may not name a partition twice."""
    of_topic = ListOffsetsRequest.ListOffsetsTopic
    return ListOffsetsRequest(
        replica_id=-1,
        isolation_level=isolation_level,
        topics=[of_topic(name=name, partitions=wanted) for name, wanted in topics.items()],
        min_version=_ISOLATED_SINCE if isolation_level else None,
        max_version=NEWEST_VERSION,
    )


def size_bytes(topics: Iterable[tuple[str, int]]) -> int:
    """Return about what a request takes, or its answer, for topics with so many partitions: 24 bytes for each."""
    return 64 + sum(len(name) + 8 + 24 * partitions for name, partitions in topics)
