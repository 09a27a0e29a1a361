"""The proof of kafka-lag/open-transaction."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest
from kafka_worlds import frame, group, place
from worlds import NOW, gap, judged

from diag.diagnosis.judge import folded
from diag.diagnosis.plan import explained
from diag.findings import Basis, NoCommand, Outcome, Severity
from diag.snapshots.kafka import KafkaLag, Offset, OpenTransaction, ProducerId
from diag.text import ServerText

SLUG = "kafka-lag/open-transaction"
READERS = group("antifraud", [0, 1])
EMPTY = group("antifraud", state="Empty")


def held(  # noqa: PLR0913  a transaction and who waits for it
    of=READERS,
    *,
    committed: int = 100,
    stable: int = 100,
    end: int = 150,
    first_record_s: float | None = 120.0,
    transactions: tuple[OpenTransaction, ...] = (),
    **more,
) -> KafkaLag:
    """Partition 0 has an open transaction from `stable` on, its first record that old; partition 1 is read."""
    world = frame(of, {0: committed, 1: 50}, {0: end, 1: 50}, stable={0: stable}, transactions=transactions, **more)
    since = None if first_record_s is None else NOW - timedelta(seconds=first_record_s)
    logs = [msgspec.structs.replace(log, unstable_since=since) if log.on == place(0) else log for log in world.log_ends]
    return msgspec.structs.replace(world, log_ends=tuple(logs))


def transaction(
    *, open_s: float | None = 120.0, name: str | None = "orders-7", first: int = 100, producer: int = 4711
) -> OpenTransaction:
    """A transaction on partition 0; without `open_s` no coordinator knows it to be open there."""
    return OpenTransaction(
        on=place(0),
        producer_id=ProducerId(producer),
        first_offset=Offset(first),
        transactional_id=None if name is None else ServerText(name),
        started_at=None if open_s is None else NOW - timedelta(seconds=open_s),
        timeout_s=None if open_s is None else 900.0,
    )


WORLDS = {
    "no transaction open: the group is slow, or stopped": (held(stable=150), []),
    "everything is read, the transaction wrote nothing here": (held(committed=150, stable=150), []),
    "the group has not got as far as the transaction": (held(committed=40), []),
    "the group reads uncommitted records and is past it": (held(committed=101), []),
    "a marker before it, in front of which record + 1 was committed": (held(committed=99), [Severity.WARNING]),
    "two records before it are records to read": (held(committed=98), []),
    "the first record is just young enough": (held(first_record_s=59.9), []),
    "the first record is too old": (held(first_record_s=60.0), [Severity.WARNING]),
    "just under critical": (held(first_record_s=299.9), [Severity.WARNING]),
    "at critical": (held(first_record_s=300.0), [Severity.CRITICAL]),
    "nobody waits at the moment": (held(EMPTY, first_record_s=3_000.0), [Severity.WARNING]),
    "the date of the first record is not known": (held(first_record_s=None), []),
    "a young transaction that writes old records": (
        held(first_record_s=9_000.0, transactions=(transaction(open_s=2.0),)),
        [],
    ),
    "an old transaction whose first record is dated ahead": (
        held(first_record_s=-9_000.0, transactions=(transaction(open_s=400.0),)),
        [Severity.CRITICAL],
    ),
    "of two transactions the first holds readers up": (
        held(transactions=(transaction(open_s=2.0, first=140, producer=1), transaction(open_s=400.0))),
        [Severity.CRITICAL],
    ),
    "last stable offset not known": (
        msgspec.structs.replace(
            held(), log_ends=tuple(msgspec.structs.replace(log, last_stable_offset=None) for log in held().log_ends)
        ),
        [],
    ),
}


@pytest.mark.parametrize(("world", "said"), WORLDS.values(), ids=WORLDS.keys())
def test_what_it_says_of(world, said):
    findings, _ = judged(SLUG, world)
    assert [found.severity for found in findings] == said


def evidence(found) -> dict[str, object]:
    return {one.name: one.value for one in found.evidence}


def test_a_known_transaction_is_named_and_left_to_its_coordinator():
    (found,), _ = judged(SLUG, held(transactions=(transaction(),)))
    shown = evidence(found)
    assert (shown["producer id"], shown["transactional id"].raw) == (4711, "orders-7")
    assert (shown["records behind it"].value, shown["its timeout"].value) == (50, 900.0)
    assert shown["open since"] == NOW - timedelta(seconds=120)
    assert found.basis is Basis.OBSERVED
    assert found.subject.partition == 0
    assert isinstance(found.steps[-1].command, NoCommand), "it ends by itself: nobody has to abort it"


def test_a_transaction_that_hangs_can_be_aborted_in_the_end():
    (found,), _ = judged(SLUG, held(transactions=(transaction(open_s=None, name=None),)))
    risks = [step.risk.value for step in found.steps]
    assert risks == sorted(risks, key=["read-only", "reversible", "disruptive"].index), "safest first"
    argv = found.steps[-1].command.argv
    assert (argv[0], argv[2], argv[-2:]) == ("kafka-transactions.sh", "abort", ("--partition=0", "--start-offset=100"))
    assert [step for step in found.steps if step.command and "find-hanging" in getattr(step.command, "argv", ())]


def test_an_unknown_one_is_still_found_and_the_way_to_it_said():
    (found,), _ = judged(SLUG, held())
    assert found.basis is Basis.DERIVED
    assert "producer id" not in evidence(found)
    commands = [step.command.argv for step in found.steps if hasattr(step.command, "argv")]
    asked = [argv[2] for argv in commands if argv[0] == "kafka-transactions.sh"]
    assert asked == ["describe-producers", "find-hanging"]
    assert isinstance(found.steps[-1].command, NoCommand)


def test_several_partitions_of_one_topic_are_one_finding():
    world, an_hour = held(stable=100), timedelta(hours=1)
    second = msgspec.structs.replace(
        world.log_ends[1],
        log_end_offset=Offset(90),
        last_stable_offset=Offset(50),
        unstable_since=NOW - an_hour,
    )
    (found,), _ = judged(SLUG, msgspec.structs.replace(world, log_ends=(world.log_ends[0], second)))
    assert found.subject.partition is None
    assert evidence(found)["partitions that wait"] == 2
    assert evidence(found)["records behind it"].value == 90
    assert found.summary.values["partition"] == 1, "the one that waits longest"


def test_it_explains_the_time_lag_of_the_group():
    world = held(ages_s={0: 120.0})
    late, waits = judged("kafka-lag/time-lag", world)[0], judged(SLUG, world)[0]
    (shown,) = folded([*late, *waits], {SLUG: explained(SLUG).check.explains})
    assert (shown.check, [one.check for one in shown.explained]) == (SLUG, ["kafka-lag/time-lag"])


@pytest.mark.parametrize("fact", ["groups", "commits", "log_ends", "record_times"])
def test_a_gap_in_what_it_needs_is_unknown(fact):
    findings, outcome = judged(SLUG, held(stable=150, gaps=(gap(fact),)))
    assert (findings, outcome.outcome) == ([], Outcome.UNKNOWN)


def test_names_of_transactions_that_may_not_be_read_do_not_matter():
    findings, outcome = judged(SLUG, held(stable=150, gaps=(gap("transactions"),)))
    assert (findings, outcome.outcome) == ([], Outcome.CLEAR)
