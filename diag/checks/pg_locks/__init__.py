"""Who blocks whom, who heads the queue, and what frees whom."""

from diag.analysis.lock_graph import wait_rows
from diag.snapshots.base import Window
from diag.snapshots.postgres import PgLocks


def _waits(window: Window[PgLocks]) -> dict[str, object]:
    return {"waits": wait_rows(window.last)}


TABLES = {PgLocks: _waits}
COLUMNS = {"waits": ("pid", "waiting_s", "blocked_by", "relation", "mode", "query")}
