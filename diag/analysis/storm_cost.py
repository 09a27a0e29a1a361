"""What a measured storm over one key says of the database, so that protections can be weighed.

The number of duplicates gives the load x (Kleinrock's processor sharing, see `storm_growth`), whatever the reads; the
recompute time follows from it, from the reads of the key a second and the database's workers. Samples a second
apart see a shorter storm only in parts, and its reads are then at least what is said.
"""

from __future__ import annotations

from diag.analysis.miss_shapes import Shape, Storm, storms
from diag.analysis.protections import MeasuredStorm, ProtectionRow, from_duplicates, protection_rows
from diag.snapshots.base import Window
from diag.snapshots.redis import RedisLoad

WORKERS = 8  # cores of a mid-size database


def measured(storm: Storm, workers: int) -> MeasuredStorm | None:
    """Return an unprotected storm in the terms of the forecasts; None for another, or where it tells too little."""
    if storm.shape is not Shape.HOT_KEY:
        return None
    estimate = from_duplicates(storm.stretch.per_s, float(storm.recomputations or 0), workers)
    if estimate is None:
        return None
    return MeasuredStorm(reads_per_s=storm.stretch.per_s, recompute_s=estimate.recompute_s, database_workers=workers)


def protections(window: Window[RedisLoad]) -> tuple[ProtectionRow, ...]:
    """Return what each protection would make of the window's worst storm over one key; nothing without one."""
    worst = max(storms(window), key=lambda storm: storm.duplicates if storm.shape is Shape.HOT_KEY else 0, default=None)
    made = measured(worst, WORKERS) if worst else None
    return protection_rows(made, window.last.target.name) if made else ()
