"""Which transactions stay open, what holds vacuum back, and how near the limits are."""

from diag.analysis.open_transactions import transaction_rows
from diag.snapshots.base import Window
from diag.snapshots.postgres import PgTransactions


def _transactions(window: Window[PgTransactions]) -> dict[str, object]:
    return {"transactions": transaction_rows(window.last)}


TABLES = {PgTransactions: _transactions}
COLUMNS = {"transactions": ("pid", "database", "state", "open_s", "holds_vacuum_back", "client", "query")}
