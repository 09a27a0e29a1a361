"""A standstill in words: who stands still since when, what was measured, what it is not."""

from collections.abc import Iterator

from diag.analysis.outage import Outage
from diag.findings import Evidence, Phrase, Quantity, Risk, Step, Value, say
from diag.snapshots.kafka import KafkaLag
from diag.text import ServerText


def who_stands_still(group: ServerText, still: Outage) -> Phrase:
    """Say it in one sentence, and no more than can be known: one reader may hang by itself."""
    values: dict[str, Value] = {
        "group": group,
        "records": Quantity(still.lag_records, "records"),
        "partitions": Quantity(len(still.waiting), "partitions"),
        "since": _since(still),
    }
    if still.can_be_one_reader:
        return say(
            "group {group} stands still, {records} wait on {partitions}, {since}; with one reader at work, a hung "
            "member, a record it cannot handle and an outage of what it writes to look the same",
            **values,
        )
    members = Quantity(len(still.stopped), "members")
    return say(
        "every member of group {group} with something to read stands still ({members}), {records} wait on "
        "{partitions}, {since}: look at what they write to",
        members=members,
        **values,
    )


def _since(still: Outage) -> Phrase:
    if still.since is None:
        return say("for {span} or longer", span=Quantity(still.still_s, "s"))
    if len(still.waiting) == 1:
        return say("since about {at}", at=still.since)
    return say("stopped together at about {at}", at=still.since)


def evidence_of(still: Outage) -> Iterator[Evidence]:
    """Give what was measured."""
    yield Evidence(name="lag", value=Quantity(still.lag_records, "records"), source="OffsetFetch, ListOffsets")
    if still.lag_s is not None:
        yield Evidence(name="time lag", value=Quantity(still.lag_s, "s"), source="record at the committed offset")
    yield Evidence(name="no offset moved for", value=Quantity(still.still_s, "s"), source="OffsetFetch")
    yield Evidence(name="members that stand still", value=len(still.stopped), source="DescribeGroups")
    yield Evidence(name="partitions that stand still", value=len(still.waiting), source="OffsetFetch")
    if still.since is not None:
        yield Evidence(name="stopped at", value=still.since, source="commits, records at the committed offsets")


def causes_excluded_for(still: Outage, frame: KafkaLag) -> Iterator[Phrase]:
    """Say which other causes of lag it is not, each by what was seen."""
    members = Quantity(still.members, "members")
    yield say("a group without members: the same {members} own partitions in every sample", members=members)
    yield say("slow members: not one record was committed in {span}", span=Quantity(still.still_s, "s"))
    if not still.can_be_one_reader:
        yield say("one hung member, or one record: {n} members stand still", n=len(still.stopped))
    if all(course.log and course.log.last_stable_offset is not None for course in still.waiting):
        yield say("an open transaction: none begins where they stand")
    if frame.lacks("leaderless") is None:
        yield say("a partition without leader: all that they own have one")


def look_behind(group: ServerText, still: Outage) -> Step:
    """Return the step that leads on: nothing in Kafka shows what the members wait for."""
    what = (
        say(
            "Look into the one member of {group}: a thread dump, its last log lines, and what it writes to", group=group
        )
        if still.can_be_one_reader
        else say("Look at what all members of {group} write to or call: database, cache, services", group=group)
    )
    return Step(
        title=what,
        risk=Risk.READ_ONLY,
        expect=say(
            "errors or time-outs that began when the offsets stopped; restarting the members does not end those"
        ),
    )
