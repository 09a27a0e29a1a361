"""How fast the members of a group change, in words, and what to do about it."""

from collections.abc import Iterator

from msgspec import Struct

from diag.analysis.capacity import capacity, poll_takes_s
from diag.analysis.progress import GroupCourse
from diag.analysis.turnover import Turnover
from diag.checks.kafka_lag._next_steps import look_at_group
from diag.findings import Evidence, Phrase, Quantity, Risk, ShellCommand, Step, say
from diag.snapshots.base import Target
from diag.text import ServerText

_SOURCE = "DescribeGroups"
_HEADROOM = 2  # half of the interval is left for slow records


class Polls(Struct, frozen=True, kw_only=True):
    """The arithmetic of polls: how long a full one takes at the speed of the commits, and how long it may take."""

    records_per_s: float | None
    takes_s: float | None
    allowed_s: float
    is_default: bool

    @property
    def records_in_time(self) -> int | None:
        """How many records of a poll are done in half of what it may take; None when the speed is unknown."""
        return max(1, int(self.records_per_s * self.allowed_s / _HEADROOM)) if self.records_per_s else None


def polls_of(group: GroupCourse, max_poll_records: int, default_allowed_s: float) -> Polls:
    """Do the arithmetic for a group; its members' own max.poll.interval.ms is known from the history only."""
    records_per_s = capacity(group.courses).member_per_s
    return Polls(
        records_per_s=records_per_s,
        takes_s=poll_takes_s(records_per_s, max_poll_records),
        allowed_s=group.poll_interval_s or default_allowed_s,
        is_default=not group.poll_interval_s,
    )


def pace(turnover: Turnover) -> tuple[Evidence, ...]:
    """Return how often the membership changed, in which time, and how far apart."""
    return (
        Evidence(name="changes of membership", value=len(turnover.changes), source=_SOURCE),
        Evidence(name="seen for", value=Quantity(turnover.span_s, "s"), source=_SOURCE),
        Evidence(name="changes a minute", value=turnover.per_minute, source=_SOURCE),
        Evidence(name="from one change to the next", value=Quantity(turnover.period_s, "s"), source=_SOURCE),
    )


def poll_evidence(polls: Polls) -> Iterator[Evidence]:
    """Return how long a full poll takes beside what it may take; nothing where the speed is unknown."""
    if polls.takes_s is not None:
        yield Evidence(name="a full poll takes", value=Quantity(polls.takes_s, "s"), source="OffsetFetch, over time")
        source = "default max.poll.interval.ms" if polls.is_default else "rebalance timeout in __consumer_offsets"
        yield Evidence(name="it may take", value=Quantity(polls.allowed_s, "s"), source=source)


def not_a_deployment(turnover: Turnover) -> Iterator[Phrase]:
    """Say why this is no rolling deployment, where member ids tell."""
    if turnover.returns:
        yield say(
            "a rolling deployment: there each member comes or goes once, here members did so {n} times more",
            n=turnover.returns,
        )


def steps(target: Target, group: ServerText, polls: Polls) -> tuple[Step, ...]:
    """Return what to do about a membership that does not come to rest, safest first."""
    few = polls.records_in_time
    wanted = say("to {few} or fewer", few=few) if few else say("so that a full poll takes less than half of it")
    return (
        *look_at_group(group),
        Step(
            title=say("Look twice, some seconds apart, at who is in group {group}", group=group),
            risk=Risk.READ_ONLY,
            command=ShellCommand(
                (
                    "kafka-consumer-groups.sh",
                    ("--bootstrap-server=", ServerText(target.address)),
                    "--describe",
                    "--members",
                    ("--group=", group),
                )
            ),
            expect=say("the hosts whose CONSUMER-ID is another the second time are the ones that come and go"),
        ),
        Step(
            title=say("Read in the logs of these members of group {group} why they go", group=group),
            risk=Risk.READ_ONLY,
            expect=say(
                "poll timeout expired: the next step; session timed out: pauses of the process or the network; "
                "a start of the process: it crashes, or an autoscaler flaps"
            ),
        ),
        Step(
            title=say(
                "If polls time out: lower max.poll.records of group {group} {wanted}, or raise max.poll.interval.ms",
                group=group,
                wanted=wanted,
            ),
            risk=Risk.REVERSIBLE,
            expect=say("after one last rebalance the members stay the same, and the lag drains"),
        ),
    )
