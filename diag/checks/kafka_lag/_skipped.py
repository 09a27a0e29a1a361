"""What to do about a partition that a group may have skipped, safest first.

Source: Kafka documentation, consumer configs; `kafka-consumer-groups.sh --help`
"""

from collections.abc import Iterator

from diag.checks.kafka_lag._readers import by_person, kafka_tool, look
from diag.findings import Phrase, Risk, Step, say
from diag.snapshots.kafka import KafkaLag, TopicPartition
from diag.text import ServerText

_RESET = ("--reset-offsets", "--to-earliest", "--dry-run")


def so_far(unowned: int, partitions: int) -> Phrase:
    """Say what became of so many partitions."""
    if unowned:
        return say("no member owns {n} of them", n=unowned) if unowned < partitions else say("no member owns them")
    return say("they may have been skipped")


def steps_for(frame: KafkaLag, group: ServerText, on: TopicPartition) -> Iterator[Step]:
    """Yield the ways to have it read, and to find out what was not."""
    yield look(
        say("See whether a member owns the partition by now"),
        kafka_tool(
            "kafka-consumer-groups.sh", frame.target, "--describe", "--members", "--verbose", ("--group=", group)
        ),
        say("the partition in one row; members look for new ones each metadata.max.age.ms, 5 min by default"),
    )
    yield look(
        say("Look up auto.offset.reset in the settings of the consumers"),
        None,
        say("latest: whatever was written before a member owned the partition is skipped; earliest: all is read"),
    )
    yield by_person(
        say("If no member owns it after that time: set earliest, and restart the members one by one"),
        Risk.DISRUPTIVE,
        say("a member owns it, reads from its first record and commits"),
    )
    place = ServerText(f"{on.topic.raw}:{on.partition}")
    yield look(
        say("If records were skipped and may be read late: see where the group would begin again, members stopped"),
        kafka_tool("kafka-consumer-groups.sh", frame.target, *_RESET, ("--group=", group), ("--topic=", place)),
        say("the log start as the new offset; a dry run changes nothing"),
    )
