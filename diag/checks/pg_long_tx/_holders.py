"""What holds the xmin horizon: its name, where it was read, and the way to end it, for each kind."""

from collections.abc import Iterator

from diag.analysis.xmin_horizon import Holder, Kind
from diag.checks.pg_long_tx._seen import end, look
from diag.checks.pg_long_tx._slots import drop_slot, look_at_slots
from diag.findings import Phrase, Risk, Step, Subject, say
from diag.findings.commands import look_at_prepared
from diag.snapshots.postgres import Backend, PreparedTransaction


def subject(who: Kind) -> Subject:
    """Name it as a subject of a finding."""
    if isinstance(who, Backend):
        return Subject(pid=who.pid)
    return Subject(gid=who.gid) if isinstance(who, PreparedTransaction) else Subject(slot=who.slot)


def called(who: Kind) -> Phrase:
    """Name it in a sentence."""
    if isinstance(who, Backend):
        feedback = say(" (a standby's feedback)") if who.backend_type == "walsender" else say("")
        return say("pid {pid}{feedback}", pid=who.pid, feedback=feedback)
    if isinstance(who, PreparedTransaction):
        return say("the prepared transaction {gid}", gid=who.gid)
    return say("the replication slot {slot}", slot=who.slot)


def source(holder: Holder) -> str:
    """Say where it was read."""
    if isinstance(holder.who, Backend):
        return "pg_stat_activity.backend_xid, backend_xmin"
    return "pg_prepared_xacts" if isinstance(holder.who, PreparedTransaction) else "pg_replication_slots.xmin"


def steps(who: Kind) -> Iterator[Step]:
    """Yield the way to end each kind, safest first."""
    if isinstance(who, Backend):
        yield look(who)
        yield end(who)
    elif isinstance(who, PreparedTransaction):
        expect = say("owner and database; only COMMIT PREPARED or ROLLBACK PREPARED ends it")
        command = look_at_prepared(who.gid)
        yield Step(title=say("See whose it is"), risk=Risk.READ_ONLY, command=command, expect=expect)
    else:
        yield look_at_slots()
        yield drop_slot(who)
