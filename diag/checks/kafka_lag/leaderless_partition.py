"""No broker leads a partition: nobody can write to it, nobody can read it, its lag is not known.

A partition has no leader while every in-sync replica is on a broker that is down. One that
was in sync last holds all committed records; as soon as it is back, it leads again.

Facts    Metadata (leader -1, replicas, in-sync replicas), OffsetFetch
Units    partitions, broker ids
Source   Kafka documentation, "Replication", "Unclean leader election"; KIP-966 (eligible leaders)
Blind    topics that no visible group has commits on are not asked about
"""

from collections.abc import Iterable, Iterator
from itertools import groupby

from msgspec import Struct

from diag.checks.kafka_lag._readers import by_person, kafka_tool, look
from diag.findings import Basis, Check, Evidence, Finding, NoCommand, Quantity, Risk, Severity, Step, Subject, say
from diag.snapshots.base import Window
from diag.snapshots.kafka import KafkaLag
from diag.text import ServerText


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much of it is told."""

    named: int = 10  # groups and partitions; whoever is on call needs a few to act on, not all of hundreds


def judge(window: Window[KafkaLag], limits: Limits) -> Iterator[Finding]:
    """Find topics with partitions that no broker leads in any frame: an ordinary election is over in between."""
    now = window.last
    always = set.intersection(*({one.on for one in frame.leaderless} for frame in window.frames))
    without = sorted((one for one in now.leaderless if one.on in always), key=lambda one: one.on)
    read_by: dict[ServerText, set[ServerText]] = {one.on.topic: set() for one in without}
    for commit in now.commits if without else ():
        read_by.get(commit.on.topic, set()).add(commit.group)
    for topic, found in groupby(without, key=lambda one: one.on.topic):
        lost, readers = tuple(found), sorted(read_by[topic])
        numbers = _listed(one.on.partition for one in lost[: limits.named])
        in_sync = _listed(broker for one in lost for broker in one.in_sync)
        replicas = _listed(broker for one in lost for broker in one.replicas)
        readings = {"partitions without a leader": numbers, "on brokers": replicas, "in sync": in_sync or "none"}
        yield Finding(
            severity=Severity.CRITICAL,
            basis=Basis.OBSERVED,
            subject=Subject(topic=topic, partition=lost[0].on.partition if len(lost) == 1 else None),
            summary=say(
                "no broker leads {partitions} of {topic}, read by {groups}: nobody can write or read there",
                partitions=Quantity(len(lost), "partitions"),
                topic=topic,
                groups=Quantity(len(readers), "groups"),
            ),
            evidence=(
                *(Evidence(name=name, value=value, source="Metadata") for name, value in readings.items()),
                *(Evidence(name="group", value=name, source="OffsetFetch") for name in readers[: limits.named]),
            ),
            steps=(
                look(
                    say("List every partition without a leader"),
                    kafka_tool("kafka-topics.sh", now.target, "--describe", "--unavailable-partitions"),
                    say("Leader: none; Isr or Elr name the brokers that have every committed record"),
                ),
                by_person(
                    say("Bring back a broker that has all records, one of {brokers}", brokers=in_sync or replicas),
                    Risk.REVERSIBLE,
                    say("it leads again within seconds, with every committed record"),
                ),
                Step(
                    title=say("Elect a replica that was not in sync only when the disks of those are lost for good"),
                    risk=Risk.DISRUPTIVE,
                    command=NoCommand(say("an unclean election drops records: the owners of the data decide")),
                    expect=say("the partition can be written and read again, without what only the lost disks had"),
                ),
            ),
        )


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(set(numbers))))


CHECK = Check(
    title="Partition without a leader",
    facts=Window[KafkaLag],
    needs=("groups", "commits", "log_ends"),
    limits=Limits(),
    judge=judge,
    explains=("kafka-lag/stalled-partition", "kafka-lag/downstream-outage", "kafka-lag/time-lag"),
)
