"""What a rewound offset is not, and what to do about it."""

from collections.abc import Sequence
from datetime import datetime

from diag.analysis.rewinds import Rewind
from diag.checks.kafka_lag._next_steps import look_at_group
from diag.findings import Evidence, Phrase, Quantity, Risk, Step, say
from diag.text import ServerText

_COMMITS = "OffsetFetch, over time"


def evidence(rewinds: Sequence[Rewind], at: datetime) -> tuple[Evidence, ...]:
    """Return how far and how often offsets went back, when, and how much of it is still to be read again."""
    again = sum(max(0, one.from_offset - one.course.row.committed_offset) for one in rewinds)
    records = sum(one.records for one in rewinds)
    return (
        Evidence(name="rewound by", value=Quantity(records, "records"), source=_COMMITS),
        Evidence(name="rewound before", value=at, source=_COMMITS),
        Evidence(name="rewound partitions", value=len(rewinds), source=_COMMITS),
        Evidence(name="times on one partition", value=max(one.times for one in rewinds), source=_COMMITS),
        Evidence(name="still to be read again", value=Quantity(again, "records"), source="OffsetFetch"),
    )


def ruled_out(seen: Rewind) -> tuple[Phrase, ...]:
    """Say what else makes lag jump, and that a log cut short would have."""
    log = seen.course.log
    slow = say("slow readers: they commit late, and never a lower offset")
    if log is None or log.log_end_offset < seen.from_offset:
        return (slow,)
    end = int(log.log_end_offset)
    return (slow, say("a log that was cut or made anew: it ends at {end}, past the old offset", end=end))


def steps(group: ServerText, seen: Rewind, at: datetime) -> tuple[Step, ...]:
    """Return what to do, safest first; nothing here moves an offset."""
    return (
        *look_at_group(group),
        Step(
            title=say("Find what rewound {group} just before {at}, and keep it from running again", group=group, at=at),
            risk=Risk.READ_ONLY,
            expect=say("a reset in somebody's shell or in a deployment, a member that seeks, or restored commits"),
        ),
        Step(
            title=say("Let {group} read on and reset nothing again: a second reset repeats or skips more", group=group),
            risk=Risk.READ_ONLY,
            expect=say(
                "partition {partition} passes offset {before} again; idempotent readers do not handle anything twice",
                partition=seen.course.on.partition,
                before=seen.from_offset,
            ),
        ),
    )
