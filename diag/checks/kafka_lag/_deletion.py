"""Records deleted before a group reads them, in words: what happened, and what to do, safest first.

Source: Kafka documentation, "Topic Configs", consumer configs; `kafka-configs.sh --help`
"""

from collections.abc import Iterator

from diag.analysis.consumer_lag import PartitionRow, TopicLag
from diag.checks.kafka_lag._readers import by_person, kafka_tool, look, reads
from diag.findings import Evidence, Phrase, Quantity, Risk, Step, say
from diag.snapshots.kafka import ConsumerGroup, KafkaLag
from diag.text import ServerText

_SETTINGS = ("--describe", "--all", "--entity-type=topics")


def is_left_behind(group: ConsumerGroup | None, topic: ServerText, lag: TopicLag | None, abandoned_s: float) -> bool:
    """Say whether nobody reads the topic for this group any more: no loss then, whatever is deleted."""
    if group is None or group.members is None:
        return False
    if group.members:
        return reads(group, topic) is False
    return lag is None or (lag.lag_s or 0.0) >= abandoned_s


def loses(lost_records: int, left_s: float) -> Phrase:
    """Say what happened to unread records, or what will."""
    if not lost_records:
        return say("will find unread records deleted, at the earliest in {left}", left=Quantity(left_s, "s"))
    lost = Quantity(lost_records, "records")
    return say("has lost {lost}, deleted unread, and auto.offset.reset decides where it goes on", lost=lost)


def evidence_of(worst: PartitionRow, lost_records: int, left_s: float | None) -> Iterator[Evidence]:
    """Yield what was read of the worst partition, and when the next deletion may come."""
    if lost_records:
        yield Evidence(
            name="deleted unread", value=Quantity(lost_records, "records"), source="OffsetFetch, ListOffsets"
        )
    yield Evidence(name="worst partition", value=worst.partition, source="OffsetFetch, ListOffsets")
    yield Evidence(name="committed offset", value=worst.committed_offset, source="OffsetFetch")
    if worst.log_start_offset is not None:
        yield Evidence(name="log start", value=worst.log_start_offset, source="ListOffsets")
    if left_s is not None:
        left = Quantity(left_s, "s")
        yield Evidence(name="next deletion at the earliest in", value=left, source="retention.ms, ListOffsets")


def steps_for(frame: KafkaLag, topic: ServerText) -> Iterator[Step]:
    """Yield the ways to keep what is left, and to learn what happens at the gap."""
    yield look(
        say("See how long {topic} keeps records", topic=topic),
        kafka_tool("kafka-configs.sh", frame.target, *_SETTINGS, ("--entity-name=", topic)),
        say("retention.ms and retention.bytes: whichever is reached first deletes the oldest segment"),
    )
    yield look(
        say("Look up auto.offset.reset in the settings of the consumers, before they fetch again"),
        None,
        say("earliest: they go on at the log start; latest: they also skip all that is left; none: they stop"),
    )
    yield by_person(
        say("Have retention.ms of {topic} raised, if the disks have room, until the group has caught up", topic=topic),
        Risk.REVERSIBLE,
        say("the log start stays where it is; the disks of its brokers fill up meanwhile"),
    )
