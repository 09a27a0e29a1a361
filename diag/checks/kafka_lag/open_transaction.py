"""A transaction that stays open holds up every reader with isolation.level=read_committed.

Such readers are given nothing from the last stable offset (LSO) on, the first offset of the
oldest open transaction, although records pile up behind it. They are not slow: they wait.

Facts    ListOffsets (log end, LSO), OffsetFetch; DescribeProducers, ListTransactions, DescribeTransactions
Units    records from the commit to the log end; s since the transaction began, else since its first record was dated
Source   KIP-98, "Consumer"; KIP-664 (hanging transactions); transaction.timeout.ms
Blind    a group that stopped at that very offset for another reason looks the same
"""

from collections.abc import Iterator
from itertools import groupby

from msgspec import Struct

from diag.checks.kafka_lag._next_steps import look_at_group
from diag.checks.kafka_lag._transactions import evidence_of, steps_for, waiting_groups, whose
from diag.findings import Basis, Check, Finding, Quantity, Severity, Subject, say
from diag.snapshots.base import Window
from diag.snapshots.kafka import KafkaLag


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long a transaction may be open."""

    open_s: float = 60.0  # transaction.timeout.ms of a producer: by then its coordinator should have ended it
    critical_s: float = 300.0  # five minutes late: notifications and fraud checks have lost their point
    marker_records: int = 1  # the marker of the transaction before: who commits "record + 1" stops in front of it


def judge(window: Window[KafkaLag], limits: Limits) -> Iterator[Finding]:
    """Find groups that have read up to the first offset of an old transaction, and no further."""
    now, states = window.last, {group.group: group.state for group in window.last.groups}
    waiting = waiting_groups(window, limits.marker_records)
    for (group, topic), of_topic in groupby(waiting, key=lambda one: (one.row.group, one.row.topic)):
        dated = [(since, one) for one in of_topic if (since := one.since)]
        since, worst = min(dated, key=lambda pair: pair[0], default=(now.observed_at, None))
        open_s = (now.observed_at - since).total_seconds()
        if worst is None or open_s < limits.open_s:
            continue
        critical = open_s >= limits.critical_s and states.get(group) not in ("Empty", "Dead")
        yield Finding(
            severity=Severity.CRITICAL if critical else Severity.WARNING,
            basis=Basis.OBSERVED if worst.known else Basis.DERIVED,
            subject=Subject(group=group, topic=topic, partition=worst.row.partition if len(dated) == 1 else None),
            summary=say(
                "group {group} waits in {topic}, partition {partition}, for a transaction open for {open}: {whose}",
                group=group,
                topic=topic,
                partition=worst.row.partition,
                open=Quantity(open_s, "s"),
                whose=whose(worst.known),
            ),
            evidence=tuple(evidence_of([one for _, one in dated], worst, since)),
            ruled_out=(say("slow consumers: everything before the transaction is read and committed"),),
            steps=(*look_at_group(group), *steps_for(now, worst)),
        )


CHECK = Check(
    title="Open transaction holds up readers",
    facts=Window[KafkaLag],
    needs=("groups", "commits", "log_ends", "record_times"),
    limits=Limits(),
    judge=judge,
    explains=(
        *("kafka-lag/time-lag", "kafka-lag/stalled-partition", "kafka-lag/downstream-outage"),
        *("kafka-lag/under-capacity", "kafka-lag/slow-member"),
    ),
)
