"""A report in REPEATABLE READ has kept its snapshot while a million transactions went by."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from diag.lab.servers import Servers
from diag.lab.sessions import sessions

NEEDS = ("postgres",)
_A_MILLION = r"DO $$ BEGIN FOR n IN 1..1000100 LOOP PERFORM txid_current(); COMMIT; END LOOP; END $$"


@contextlib.contextmanager
def broken(servers: Servers) -> Iterator[None]:
    """Keep the snapshot until the block ends; an idle reader beside it holds none."""
    assert servers.postgres is not None
    with sessions(servers.postgres.dsn) as lab:
        lab.setup("CREATE TABLE IF NOT EXISTS ledger (id bigint)")
        lab.hold("innocent", "BEGIN", "SELECT count(*) FROM ledger")
        lab.hold("month-end", "BEGIN ISOLATION LEVEL REPEATABLE READ", "SELECT count(*) FROM ledger")
        lab.setup(_A_MILLION)
        yield
