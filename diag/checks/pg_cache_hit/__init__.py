"""What the buffer cache finds and what it reads, over a window, and whether that matters."""

from diag.analysis.buffer_cache import cache_rows
from diag.snapshots.base import Window
from diag.snapshots.postgres import PgCache


def _hit_ratios(window: Window[PgCache]) -> dict[str, object]:
    return {"hit_ratios": cache_rows(window)}


TABLES = {PgCache: _hit_ratios}
COLUMNS = {"hit_ratios": ("relation", "hit_ratio", "reads", "read_s_per_block", "scans", "note")}
