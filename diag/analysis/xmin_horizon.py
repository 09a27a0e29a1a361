"""Who keeps VACUUM from removing dead rows, for each database.

A dead row goes when no transaction can see it any more; the oldest one that still could is the
xmin horizon. A backend holds it by its snapshot (backend_xmin) or by having been given a
transaction id (backend_xid), in its own database only; a standby's feedback, a physical slot and a
prepared transaction likewise; a logical slot for the catalogs only. An idle READ COMMITTED session
that has only read has neither and holds nothing. Source: PostgreSQL manual, "Routine Vacuuming",
"pg_stat_activity"; `ComputeXidHorizons` in storage/ipc/procarray.c.
"""

from __future__ import annotations

import re
from typing import Final

from msgspec import Struct

from diag.snapshots.postgres import Backend, PgTransactions, PreparedTransaction, ReplicationSlot

_VACUUM: Final = re.compile(r"(autovacuum: )?vacuum\b", re.IGNORECASE)
Kind = Backend | PreparedTransaction | ReplicationSlot


class Holder(Struct, frozen=True, kw_only=True):
    """One thing that holds the horizon. `database` is None when it holds that of every database."""

    who: Kind
    age_transactions: int
    database: int | None
    catalogs_only: bool = False


def holders(facts: PgTransactions) -> tuple[Holder, ...]:
    """Return everything that holds a horizon, the oldest first."""
    found = [
        Holder(who=one, age_transactions=age, database=None if one.backend_type == "walsender" else one.database)
        for one in facts.backends
        if (age := held_by(one)) is not None
    ]
    found += [
        Holder(who=one, age_transactions=one.age_transactions, database=int(one.database.raw))
        for one in facts.prepared
        if one.age_transactions is not None and one.database.raw.isdigit()
    ]
    for slot in facts.slots:
        if slot.xmin_age_transactions is not None:
            found.append(Holder(who=slot, age_transactions=slot.xmin_age_transactions, database=None))
        elif slot.catalog_xmin_age_transactions is not None:
            age = slot.catalog_xmin_age_transactions
            found.append(Holder(who=slot, age_transactions=age, database=slot.database, catalogs_only=True))
    return tuple(sorted(found, key=lambda one: -one.age_transactions))


def held_by(backend: Backend) -> int | None:
    """Return how far back a backend holds the horizon, in transactions; None when it holds nothing.

    VACUUM ignores other vacuums; a parallel worker's snapshot is its leader's.
    """
    if backend.leader_pid or (backend.state != "idle" and _VACUUM.match(backend.query.raw)):
        return None
    ages = (backend.xid_age_transactions, backend.xmin_age_transactions)
    return max((age for age in ages if age is not None), default=None)
