"""An overload in words: what was measured, what it is not, and what more members would do."""

from collections.abc import Iterator

from diag.analysis.overload import Overload
from diag.findings import Evidence, NoCommand, Phrase, Quantity, Risk, Step, say
from diag.text import ServerText


def evidence_of(overload: Overload, catch_up_s: float, lost_in_s: float | None) -> Iterator[Evidence]:
    """Give what was measured, and what follows from it; `lost_in_s` is None where nothing is deleted by age."""
    able, wanted = overload.capacity, overload.members_for(catch_up_s)
    member_per_s = None if able.member_per_s is None else Quantity(able.member_per_s, "records")
    counted = (
        ("lag", Quantity(able.lag_records, "records"), "OffsetFetch, ListOffsets"),
        ("time lag", Quantity(max(overload.lag_s.values()), "s"), "record at the committed offset"),
        ("written each second", Quantity(overload.written_per_s, "records"), "ListOffsets"),
        ("read each second", Quantity(overload.read_per_s, "records"), "OffsetFetch"),
        ("read each second by one member", member_per_s, "OffsetFetch"),
        ("members", able.members, "DescribeGroups"),
        ("members needed", wanted, "OffsetFetch, ListOffsets"),
        ("partitions", able.partitions, "DescribeGroups"),
        ("deleted unread at the earliest in", _span(lost_in_s), "DescribeConfigs, record at the committed offset"),
    )
    for name, value, source in counted:
        if value is not None:
            yield Evidence(name=name, value=value, source=source)


def _span(seconds: float | None) -> Quantity | None:
    return None if seconds is None else Quantity(seconds, "s")


def causes_excluded_for(overload: Overload) -> Iterator[Phrase]:
    """Say which other causes of lag it is not, each by what was seen."""
    able = overload.capacity
    members = Quantity(able.members, "members")
    yield say("a group without members: {members} own its partitions", members=members)
    yield say("members that stopped: {read} were read each second", read=Quantity(overload.read_per_s, "records"))
    if able.members > 1:
        yield say("one slow member: the lag grows at {n} of {members}", n=overload.strained_members, members=members)
    if able.partitions > 1:
        used = Quantity(overload.partitions_in_use, "partitions")
        yield say("one stalled or hot partition: {late} of {used} are late", late=overload.late_partitions, used=used)


def what_helps(overload: Overload, catch_up_s: float) -> Phrase:
    """Say how many members catch up in time, and whether the partitions suffice for them."""
    able, members, limit = overload.capacity, overload.members_for(catch_up_s), Quantity(catch_up_s, "s")
    if able.one_reader_is_enough is False:
        return say(
            "no number of members helps: one partition gets {written} a second, one member reads {read}",
            written=Quantity(able.hottest_produce_per_s or 0.0, "records"),
            read=Quantity(able.member_per_s or 0.0, "records"),
        )
    if members is None:
        return say("what one member can read is not known")
    wanted, there = Quantity(members, "members"), Quantity(able.partitions, "partitions")
    if members <= able.partitions:
        return say("{wanted} would, within {limit}, and its {there} suffice", wanted=wanted, limit=limit, there=there)
    more = "{wanted} would, within {limit}, but its {there} feed no more than as many"
    return say(more, wanted=wanted, limit=limit, there=there)


def relief(overload: Overload, group: ServerText, catch_up_s: float) -> Step:
    """Return the step that raises what the group reads: more members where partitions allow, else faster ones."""
    able, members = overload.capacity, overload.members_for(catch_up_s)
    if able.one_reader_is_enough is not False and members is not None and able.members < able.partitions:
        raised = "Raise the members of {group} from {before} to {after}, once, if what they write to can carry it"
        return Step(
            title=say(raised, group=group, before=able.members, after=min(members, able.partitions)),
            risk=Risk.REVERSIBLE,
            command=NoCommand(because=say("members are started where the consumers are deployed, not by Kafka")),
            expect=say("one rebalance, then the lag shrinks, or grows more slowly where that is not yet enough"),
        )
    return Step(
        title=say("Make {group} need less time for a record: batches, a time-out, a cache", group=group),
        risk=Risk.REVERSIBLE,
        command=NoCommand(because=say("it is a change of the application; more partitions would break order by key")),
        expect=say("each member reads more a second, and the lag shrinks"),
    )
