"""A transaction that readers wait for: since when it is open, whose it is, and what can be done about it.

Source: KIP-664 (hanging transactions), KIP-98; `kafka-transactions.sh --help`
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from msgspec import Struct

from diag.analysis.consumer_lag import PartitionRow, partition_rows
from diag.checks.kafka_lag._readers import kafka_tool
from diag.findings import Evidence, NoCommand, Phrase, Quantity, Risk, Step, say
from diag.snapshots.base import Window
from diag.snapshots.kafka import KafkaLag, LogEnds, OpenTransaction, Partition, TopicPartition


class Waiting(Struct, frozen=True, kw_only=True):
    """A group that has read a partition up to an open transaction, and what is known of that transaction."""

    row: PartitionRow
    log: LogEnds
    known: OpenTransaction | None

    @property
    def since(self) -> datetime | None:
        """When it began by its coordinator's clock, else the date of its first record, which may be backdated."""
        began = self.known.started_at if self.known else None
        return began or self.log.unstable_since


def waiting_groups(window: Window[KafkaLag], marker_records: int) -> list[Waiting]:
    """Return who stands at a last stable offset before the log end, or in front of the markers right before it.

    A reader that is past it does not wait for it. Of several open transactions the first holds readers up.
    """
    now = window.last
    unstable = {log.on: log for log in now.log_ends if _stable(log) < log.log_end_offset}
    if not unstable:
        return []
    first = {one.on: one for one in sorted(now.transactions, key=lambda one: one.first_offset, reverse=True)}
    found = []
    for row in partition_rows(window):
        on = TopicPartition(row.topic, Partition(row.partition))
        log = unstable.get(on) if row.lag_records else None
        if log is not None and 0 <= _stable(log) - row.committed_offset <= marker_records:
            found.append(Waiting(row=row, log=log, known=first.get(on)))
    return sorted(found, key=lambda one: (one.row.group, one.log.on))


def _stable(log: LogEnds) -> int:
    return log.log_end_offset if log.last_stable_offset is None else log.last_stable_offset


def evidence_of(waiting: Sequence[Waiting], worst: Waiting, since: datetime) -> Iterator[Evidence]:
    """Yield what was read of the partitions that wait and of the transaction on the worst of them."""
    held, known = sum(one.row.lag_records or 0 for one in waiting), worst.known
    yield Evidence(name="records behind it", value=Quantity(held, "records"), source="OffsetFetch, ListOffsets")
    yield Evidence(name="partitions that wait", value=len(waiting), source="OffsetFetch, ListOffsets")
    yield Evidence(name="last stable offset", value=_stable(worst.log), source="ListOffsets, read_committed")
    told = known is not None and known.started_at is not None
    yield Evidence(name="open since", value=since, source="DescribeTransactions" if told else "its first record")
    if known is None:
        return
    yield Evidence(name="producer id", value=int(known.producer_id), source="DescribeProducers")
    if known.transactional_id is not None:
        yield Evidence(name="transactional id", value=known.transactional_id, source="ListTransactions")
    if known.timeout_s is not None:
        yield Evidence(name="its timeout", value=Quantity(known.timeout_s, "s"), source="DescribeTransactions")


def whose(known: OpenTransaction | None) -> Phrase:
    """Name the transaction as well as it is known."""
    if known is None:
        return say("whose it is could not be read")
    if known.transactional_id is None:
        return say("producer {id}, of a transactional id that no coordinator tells", id=int(known.producer_id))
    return say("transactional id {name}", name=known.transactional_id)


def steps_for(frame: KafkaLag, worst: Waiting) -> Iterator[Step]:
    """Yield the ways on, safest first; aborting by hand is for a transaction that its coordinator has forgotten."""
    on, known = worst.log.on, worst.known
    place = (("--topic=", on.topic), f"--partition={int(on.partition)}")
    yield Step(
        title=say("See which producer has it open"),
        risk=Risk.READ_ONLY,
        command=kafka_tool("kafka-transactions.sh", frame.target, "describe-producers", *place),
        expect=say("the row with the lowest CurrentTransactionStartOffset is the one"),
    )
    if known is not None and known.transactional_id is not None:
        name = ("--transactional-id=", known.transactional_id)
        yield Step(
            title=say("See what its coordinator knows of it"),
            risk=Risk.READ_ONLY,
            command=kafka_tool("kafka-transactions.sh", frame.target, "describe", name),
            expect=say("Ongoing: its producer still holds it; any other state: it hangs"),
        )
    yield Step(
        title=say("Ask Kafka whether it hangs"),
        risk=Risk.READ_ONLY,
        command=kafka_tool("kafka-transactions.sh", frame.target, "find-hanging", *place),
        expect=say("a row for this producer id if no coordinator will ever end it, else none"),
    )
    yield Step(
        title=say("Restart the producer with the same transactional.id, once nothing else helps it to commit"),
        risk=Risk.DISRUPTIVE,
        expect=say("its start (initTransactions) aborts what it left open, and the readers go on within seconds"),
    )
    yield _abort(frame, on, known)


def _abort(frame: KafkaLag, on: TopicPartition, known: OpenTransaction | None) -> Step:
    abort = say("Last, and only if find-hanging lists it: abort it by hand")
    expect = say("the last stable offset moves on; what that transaction wrote is never read")
    if known is None:
        why = say("its first offset and producer are not known here; find-hanging shows them")
        return Step(title=abort, risk=Risk.DISRUPTIVE, command=NoCommand(why), expect=expect)
    if known.started_at is not None and known.timeout_s is not None:
        until = _later(known.started_at, known.timeout_s)
        why = say("its coordinator knows it and aborts it itself when it times out, {until}", until=until)
        return Step(title=abort, risk=Risk.DISRUPTIVE, command=NoCommand(why), expect=expect)
    words = (
        "abort",
        ("--topic=", on.topic),
        f"--partition={int(on.partition)}",
        f"--start-offset={known.first_offset}",
    )
    command = kafka_tool("kafka-transactions.sh", frame.target, *words)
    return Step(title=abort, risk=Risk.DISRUPTIVE, command=command, expect=expect)


def _later(began: datetime, timeout_s: float) -> Phrase:
    """Say when; a timeout beyond the end of the calendar is never."""
    try:
        return say("at about {at}", at=began + timedelta(seconds=timeout_s))
    except OverflowError:
        return say("in {timeout}", timeout=Quantity(timeout_s, "s"))
