"""The record a group does not get past: what is known of it, how to look at it, what skipping it would change."""

from collections.abc import Iterator

from msgspec import Struct

from diag.analysis.progress import Course
from diag.checks.kafka_lag._next_steps import look_at_group
from diag.findings import Evidence, Phrase, Quantity, Risk, ShellCommand, Step, say
from diag.snapshots.base import Target
from diag.snapshots.kafka import KafkaLag, Member, TopicPartition
from diag.text import ServerText


class Frozen(Struct, frozen=True, kw_only=True):
    """A partition whose offset has not moved for `since_s`, while `moving` others of the group have."""

    course: Course
    now: KafkaLag
    since_s: float
    moving: int

    @property
    def offset(self) -> int:
        """The offset its reader takes next: where the log begins, if that is later than the commit."""
        row = self.course.row
        return max(row.committed_offset, row.log_start_offset or 0)

    @property
    def named(self) -> dict[str, ServerText | int]:
        """The values every sentence about it has: group, topic, partition, offset."""
        on = self.course.on
        return {"group": self.course.group.group, "topic": on.topic, "partition": on.partition, "offset": self.offset}


def evidence(frozen: Frozen) -> tuple[Evidence, ...]:
    """Return where it stands, since when, what waits behind it, and what moved meanwhile."""
    course, record_at = frozen.course, frozen.course.row.record_at
    written = (
        [Evidence(name="record there written", value=record_at, source="ListOffsets by time")] if record_at else []
    )
    return (
        Evidence(name="committed offset", value=course.row.committed_offset, source="OffsetFetch"),
        Evidence(name="unmoved for at least", value=Quantity(course.still_s, "s"), source="OffsetFetch"),
        *written,
        Evidence(name="lag", value=Quantity(course.lag_records, "records"), source="OffsetFetch, ListOffsets"),
        Evidence(name="other partitions moved", value=frozen.moving, source="OffsetFetch"),
        Evidence(name="state of the group", value=course.group.state, source="ListGroups"),
    )


def not_kafka(course: Course) -> Iterator[Phrase]:
    """Say which holds by Kafka itself were looked for and not found."""
    stable = course.log.last_stable_offset if course.log else None
    if stable is not None:
        yield say("an open transaction: records are stable up to offset {stable}", stable=int(stable))
    if course.log is not None:
        yield say("a partition without a leader: its leader told where the log ends")


def steps(frozen: Frozen) -> tuple[Step, ...]:
    """Return what to do about a record that nobody gets past, safest first."""
    course, target = frozen.course, frozen.now.target
    group = course.group.group
    return (
        *look_at_group(group),
        _look_at_record(target, course.on, frozen.offset),
        _read_log(group, course.member),
        _skip_dry_run(target, group, course.on, frozen.offset),
    )


def _look_at_record(target: Target, on: TopicPartition, offset: int) -> Step:
    return Step(
        title=say(
            "Look at the record at offset {offset} of {topic}, partition {partition}",
            offset=offset,
            topic=on.topic,
            partition=on.partition,
        ),
        risk=Risk.READ_ONLY,
        command=ShellCommand(
            (
                "kafka-console-consumer.sh",
                ("--bootstrap-server=", ServerText(target.address)),
                ("--topic=", on.topic),
                f"--partition={on.partition}",
                f"--offset={offset}",
                "--max-messages=1",
                "--timeout-ms=10000",
            )
        ),
        expect=say("one record: compare its size and form with what the members expect"),
    )


def _read_log(group: ServerText, member: Member | None) -> Step:
    who = say("member {name} on {host}", name=member.client_id, host=member.host) if member else say("a member")
    return Step(
        title=say("Read the log of {who} of group {group} for an error that repeats", who=who, group=group),
        risk=Risk.READ_ONLY,
        expect=say("the same error again and again; a restart changes nothing, it reads the same record again"),
    )


def _skip_dry_run(target: Target, group: ServerText, on: TopicPartition, offset: int) -> Step:
    return Step(
        title=say(
            "Only if the record may be lost: keep it elsewhere, stop all members of {group}, see what a skip changes",
            group=group,
        ),
        risk=Risk.DISRUPTIVE,  # the tool speaks of groups without members only, dry run or not
        command=ShellCommand(
            (
                "kafka-consumer-groups.sh",
                ("--bootstrap-server=", ServerText(target.address)),
                "--reset-offsets",
                ("--group=", group),
                ("--topic=", ServerText(f"{on.topic.raw}:{on.partition}")),
                f"--to-offset={offset + 1}",
                "--dry-run",
            )
        ),
        expect=say(
            "one line with NEW-OFFSET {next}; nothing is changed until --execute takes the place of --dry-run",
            next=offset + 1,
        ),
    )
