"""A slow member in words: what was measured, what it is not, and how to tell the host from the partition."""

from collections.abc import Iterator

from diag.analysis.slow_members import SlowMember
from diag.findings import Evidence, NoCommand, Phrase, Quantity, Risk, Step, say


def how_it_reads(slow: SlowMember, observed_for_s: float) -> Phrase:
    """Say whether it reads at all, as far as the window tells."""
    if slow.still_s < observed_for_s:
        return say("as much is written for it as for another")
    if len(slow.courses) > 1:
        return say("it has committed nothing for {span} or longer: it hangs", span=Quantity(slow.still_s, "s"))
    return say(
        "it has committed nothing for {span} or longer: it hangs, or cannot handle one record",
        span=Quantity(slow.still_s, "s"),
    )


def evidence_of(slow: SlowMember) -> Iterator[Evidence]:
    """Give what was measured, at this member and at the others."""
    produced = (("written for it each second", slow.produce_per_s), ("for another", slow.others_produce_per_s))
    yield Evidence(name="lag", value=Quantity(slow.lag_records, "records"), source="OffsetFetch, ListOffsets")
    yield Evidence(name="time lag", value=Quantity(slow.lag_s, "s"), source="record at the committed offset")
    yield Evidence(
        name="time lag of the others", value=Quantity(slow.others_lag_s, "s"), source="record at the committed offset"
    )
    for name, per_s in produced:
        yield Evidence(name=name, value=Quantity(per_s, "records"), source="ListOffsets")
    yield Evidence(name="its partitions", value=len(slow.courses), source="DescribeGroups")
    yield Evidence(name="other members", value=slow.others, source="DescribeGroups")
    yield Evidence(name="member id", value=slow.member.member_id, source="DescribeGroups")


def causes_excluded_for(slow: SlowMember) -> Iterator[Phrase]:
    """Say which other causes of lag it is not, each by what was seen."""
    others = Quantity(slow.others, "members")
    yield say(
        "an outage of what all write to: {others} are at most {late} behind",
        others=others,
        late=Quantity(slow.others_lag_s, "s"),
    )
    yield say(
        "a hot partition: {written} a second are written for it, {usual} for another",
        written=Quantity(slow.produce_per_s, "records"),
        usual=Quantity(slow.others_produce_per_s, "records"),
    )
    if len(slow.courses) > 1:
        yield say("one stalled partition: all {n} that it owns are late", n=Quantity(len(slow.courses), "partitions"))


def steps_for(slow: SlowMember) -> Iterator[Step]:
    """Yield the ways on: look at the host, then let another member read what this one has."""
    host, client = slow.member.host, slow.member.client_id
    yield Step(
        title=say(
            "Look at host {host}: CPU, throttling, memory, disk, its way to what the members write to", host=host
        ),
        risk=Risk.READ_ONLY,
        expect=say("something that the hosts of the other members do not have"),
    )
    yield Step(
        title=say(
            "Stop that one member, {client} on {host}, in order, and start it on another host", client=client, host=host
        ),
        risk=Risk.DISRUPTIVE,
        command=NoCommand(because=say("members are stopped where the consumers are deployed, not by Kafka")),
        expect=say(
            "one rebalance, then its partitions catch up; if they stay late, it is the partitions and not the member"
        ),
    )
