"""Make consumer groups that committed and have no member, fast: they never join.

`python tests/bench/commit_groups.py BOOTSTRAP_SERVERS GROUPS PARTITIONS`. One topic; one group in
twenty lags on all of its partitions.
"""

from __future__ import annotations

import sys
import time

from kafka import KafkaAdminClient, KafkaProducer, TopicPartition
from kafka.admin import NewTopic
from kafka.errors import CoordinatorLoadInProgressError, CoordinatorNotAvailableError, NoError, NotCoordinatorError
from kafka.structs import OffsetAndMetadata

_TOPIC = "bench"
_RECORDS, _BEHIND = 200, 50  # of each partition
_COORDINATOR_S, _POLL_S = 30.0, 0.1
_NOT_YET = (CoordinatorNotAvailableError, CoordinatorLoadInProgressError, NotCoordinatorError)


def main() -> None:
    """Write the records, then commit for one group after the other."""
    bootstrap_servers, groups, partitions = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    admin = KafkaAdminClient(bootstrap_servers=bootstrap_servers)
    if _TOPIC not in admin.list_topics():
        admin.create_topics([NewTopic(_TOPIC, partitions, 1)])
        producer = KafkaProducer(bootstrap_servers=bootstrap_servers)
        for number in range(_RECORDS * partitions):
            producer.send(_TOPIC, b"x" * 100, partition=number % partitions)
        producer.close()
    ends = time.monotonic() + _COORDINATOR_S
    for number in range(groups):
        offset = _RECORDS - (0 if number % 20 else _BEHIND)
        commits = {TopicPartition(_TOPIC, on): OffsetAndMetadata(offset, "", -1) for on in range(partitions)}
        while not _committed(admin, f"bench-{number}", commits):
            if time.monotonic() > ends:
                message = "the coordinator does not come up"
                raise TimeoutError(message)
            time.sleep(_POLL_S)
    admin.close()


def _committed(admin: KafkaAdminClient, group: str, commits: dict[TopicPartition, OffsetAndMetadata]) -> bool:
    """Commit; tell whether the coordinator was there to take it. The first look for one creates its topic."""
    try:
        errors = set(admin.alter_group_offsets(group, commits).values())
    except _NOT_YET:
        return False
    return errors == {NoError}


if __name__ == "__main__":
    main()
