"""A replication slot has no consumer: the server keeps WAL for it, and perhaps dead rows, without end.

A standby was removed, a change-data pipeline stopped; its slot stayed. The disk fills with WAL
until somebody drops the slot or max_slot_wal_keep_size cuts it off.

Facts    pg_get_replication_slots(); one round trip
Units    bytes = WAL from the slot's restart_lsn to the server's present position
Source   PostgreSQL manual: "Replication Slots", "pg_replication_slots", "max_slot_wal_keep_size"
Blind    free space on the disk; since when it is inactive (before PostgreSQL 17)
"""

from collections.abc import Iterator

from msgspec import Struct

from diag.checks.pg_long_tx._slots import drop_slot, look_at_slots
from diag.findings import Basis, Check, Evidence, Finding, Quantity, Severity, Subject, say
from diag.snapshots.postgres import PgTransactions, ReplicationSlot

_CUT_OFF = ("unreserved", "lost")


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much WAL may wait for somebody who is not there."""

    retained_bytes: int = 1_073_741_824  # the default max_wal_size: what a server has on disk anyway
    critical_retained_bytes: int = 53_687_091_200  # a usual small volume for WAL


def judge(facts: PgTransactions, limits: Limits) -> Iterator[Finding]:
    """Find the slots that nobody reads and that keep much, or have been cut off."""
    for slot in sorted(facts.slots, key=lambda one: -(one.retained_bytes or 0)):
        retained_bytes = slot.retained_bytes or 0
        if slot.active or (retained_bytes < limits.retained_bytes and slot.wal_status not in _CUT_OFF):
            continue
        inactive_s = facts.since_s(slot.inactive_since)
        yield Finding(
            severity=Severity.CRITICAL if retained_bytes >= limits.critical_retained_bytes else Severity.WARNING,
            basis=Basis.OBSERVED,
            subject=Subject(slot=slot.slot),
            summary=say(
                "the {kind} slot {slot} has no consumer{since} and keeps {retained} of WAL",
                kind=slot.slot_type,
                slot=slot.slot,
                since=say(" since {ago} ago", ago=Quantity(inactive_s, "s")) if inactive_s is not None else say(""),
                retained=Quantity(retained_bytes, "bytes"),
            ),
            evidence=tuple(_evidence(slot)),
            ruled_out=(say("a slow consumer: there is none (active = f)"),),
            steps=(look_at_slots(), drop_slot(slot)),
        )


def _evidence(slot: ReplicationSlot) -> Iterator[Evidence]:
    source = "pg_replication_slots"
    yield Evidence(name="WAL kept", value=Quantity(slot.retained_bytes or 0, "bytes"), source=f"{source}.restart_lsn")
    if slot.wal_status:
        yield Evidence(name="state of its WAL", value=slot.wal_status, source=f"{source}.wal_status")
    for name, age in (
        ("holds vacuum back by", slot.xmin_age_transactions),
        ("holds vacuum of catalogs back by", slot.catalog_xmin_age_transactions),
    ):
        if age is not None:
            yield Evidence(name=name, value=Quantity(age, "transactions"), source=source)


CHECK = Check(
    title="Replication slot without a consumer", facts=PgTransactions, needs=("slots",), limits=Limits(), judge=judge
)
