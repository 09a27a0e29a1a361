"""Idle members in words: why they own nothing, and what would change that.

Source: Kafka documentation, partition.assignment.strategy, group.remote.assignor; KIP-429
"""

from diag.findings import NoCommand, Phrase, Risk, Step, say
from diag.snapshots.kafka import ConsumerGroup


def why_idle(group: ConsumerGroup, spread: int) -> Phrase:
    """Say why; `spread` is how many of the idle members another assignment would give a partition."""
    if spread <= 0:
        return say("more members do not help, a partition has one reader")
    if not group.assignor.raw:
        return say("another assignor would give {n} of them some", n=spread)
    return say("another assignor than {own} would give {n} of them some", own=group.assignor, n=spread)


def busy_again(group: ConsumerGroup, spread: int) -> Step:
    """Return the step that ends the idling, or that stops paying for it."""
    if spread <= 0:
        return Step(
            title=say("Add no members to {group}; those beyond the partitions can be taken away", group=group.group),
            risk=Risk.REVERSIBLE,
            command=NoCommand(because=say("members are started where the consumers are deployed, not by Kafka")),
            expect=say("the lag is as before: what slows it down is with those that read, or with what they write to"),
        )
    settings = (
        say("it is a setting of every member: group.remote.assignor=uniform")
        if group.protocol == "consumer"
        else say("it is a setting of every member: partition.assignment.strategy, in two rolling restarts")
    )
    return Step(
        title=say("Let {group} deal out the partitions of all its topics together", group=group.group),
        risk=Risk.DISRUPTIVE,
        command=NoCommand(because=settings),
        expect=say("after the rebalance {n} more members own partitions", n=spread),
    )
