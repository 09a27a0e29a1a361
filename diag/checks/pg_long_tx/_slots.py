"""The steps for a replication slot that nobody reads."""

from diag.findings import Risk, Step, say
from diag.findings.commands import drop_replication_slot, replication_slots
from diag.snapshots.postgres import ReplicationSlot


def look_at_slots() -> Step:
    """Look first: a consumer may only be restarting."""
    return Step(
        title=say("See all slots, and ask whose consumer this one has"),
        risk=Risk.READ_ONLY,
        command=replication_slots(),
        expect=say("active = t once its consumer is back; then the WAL and the horizon move on by themselves"),
    )


def drop_slot(slot: ReplicationSlot) -> Step:
    """Drop it, when its consumer will not come back."""
    return Step(
        title=say("Drop the slot {slot}, if its consumer is gone for good", slot=slot.slot),
        risk=Risk.DISRUPTIVE,
        command=drop_replication_slot(slot.slot),
        expect=say("the server keeps no more for it; a consumer that comes back needs a fresh copy"),
    )
