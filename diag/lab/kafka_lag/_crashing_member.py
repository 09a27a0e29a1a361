"""A member of a group that dies at one record, is started again at once, and reads the same record again.

Run as ``python -m diag.lab.kafka_lag._crashing_member BROKERS TOPIC GROUP PARTITION OFFSET``. It dies without
a word to the group, like a process that is killed: its connections close, its member id is lost. The
new program takes over its pid (execve(2)), so that nobody but its owner has to see to its end.
"""

from __future__ import annotations

import os
import sys
import time

from kafka import TopicPartition
from kafka.errors import KafkaError

from diag.lab.kafka_lag import _stream

_FLUSHED_EVERY_S = 0.8  # others are read and committed meanwhile, in every life


def main() -> None:
    """Read, commit every now and then, and die as soon as the record is in what would be handled next."""
    brokers, topic, group, partition, offset = sys.argv[1:]
    poison, bad = TopicPartition(topic, int(partition)), int(offset)
    consumer = _stream.member(
        brokers, topic, group, session_timeout_ms=1_000, heartbeat_interval_ms=200, max_poll_interval_ms=10_000
    )
    is_met, flushed_at = False, time.monotonic()
    while True:
        for on, records in consumer.poll(timeout_ms=100).items():
            if on == poison and records[-1].offset >= bad:
                consumer.seek(on, bad)
                consumer.pause(on)
                is_met = True
        if not consumer.assignment():
            flushed_at = time.monotonic()  # a life begins when there is something to read
        elif time.monotonic() - flushed_at > _FLUSHED_EVERY_S:
            try:
                consumer.commit()
            except KafkaError:  # the group has just changed, for the other member has died
                continue
            if is_met:
                os.execv(sys.executable, [sys.executable, "-m", __spec__.name, *sys.argv[1:]])  # noqa: S606  argv
            flushed_at = time.monotonic()


if __name__ == "__main__":
    main()
