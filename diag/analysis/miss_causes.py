"""Why so many reads of a window found nothing: the one cause that the counters show, or that they show none.

In the order in which one explains the next: the counters began anew, a flush, evictions, what a stretch of misses
was, look-ups by other tools (EXISTS, TTL, TYPE… count as reads), keys that nobody writes, keys that are read for the
first time or have expired before they are read again.
Source: redis.io, "INFO" (Stats, Commandstats), "EXPIRE".
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from diag.analysis.miss_shapes import HOT, MANY, Shape, storms
from diag.analysis.read_steps import Step, steps
from diag.snapshots.base import Window
from diag.snapshots.redis import RedisLoad

_MOST = 0.5  # of the misses: then it is what made them
_SOME = 0.3
_LEAST_REFUSED = 10
_COLD_S = 900.0  # after a start: the times to live of most caches are minutes


class Cause(StrEnum):
    """What made the misses of a window."""

    COLD = "cold cache"
    FLUSH = "flush"
    EVICTION = "evictions"
    STORM = "one hot key"
    LOCK = "a lock that keeps readers waiting"
    BURST = "many keys gone at once"
    PROBES = "look-ups by other tools"
    ABSENT = "keys that do not exist"
    EXPIRED = "keys that expire before they are read again"
    FIRST = "keys that are read for the first time"
    UNKNOWN = "unknown"


class Reads(Struct, frozen=True, kw_only=True):
    """The reads of a window since its counters last began, and why so many of them found nothing."""

    cause: Cause
    span_s: float
    hits: int
    misses: int
    sets: int
    refused: int
    created: int
    expired: int
    evicted: int
    probes: int
    anew: str
    distinct: int | None

    @property
    def hit_ratio(self) -> float | None:
        """Share (0-1) of reads that found their key."""
        return self.hits / (self.hits + self.misses) if self.hits + self.misses else None

    @property
    def without_probes(self) -> float | None:
        """The share if all of the other tools' look-ups had missed; it is at most so."""
        own = self.hits + self.misses - self.probes
        return min(1.0, self.hits / own) if own > 0 else None


def reads(window: Window[RedisLoad]) -> Reads | None:
    """Return what was read in the window; None when nothing can be said of it."""
    taken = steps(window)
    begun = max((place + 1 for place, step in enumerate(taken) if step.anew), default=0)
    counted = taken[begun:]
    if not counted:
        return None
    anew = taken[begun - 1].anew if begun else ""
    named = [step.missed.distinct for step in counted if step.missed]
    made = Reads(
        cause=Cause.UNKNOWN,
        span_s=sum(step.span_s for step in counted),
        hits=sum(step.hits for step in counted),
        misses=sum(step.misses for step in counted),
        sets=sum(step.kept for step in counted),
        refused=sum(step.refused or 0 for step in counted),
        created=sum(step.created for step in counted),
        expired=sum(step.expired for step in counted),
        evicted=sum(step.evicted for step in counted),
        probes=sum(step.probes for step in counted),
        anew=anew,
        distinct=max(named) if named else None,
    )
    return _with(made, _cause(made, counted, window))


def _with(made: Reads, cause: Cause) -> Reads:
    return Reads(**{name: getattr(made, name) for name in Reads.__struct_fields__} | {"cause": cause})


def _cause(made: Reads, counted: tuple[Step, ...], window: Window[RedisLoad]) -> Cause:
    if made.anew and made.anew != "reset":
        return Cause.COLD
    if any(step.flushes for step in counted):
        return Cause.FLUSH
    if made.evicted >= max(1.0, _SOME * min(made.misses, made.created)):
        return Cause.EVICTION
    shapes = {storm.shape for storm in storms(window) if storm.stretch.misses >= _MOST * made.misses}
    return _of_storms(shapes) or _of_counters(made, window, cold=Shape.COLD in shapes)


def _of_storms(shapes: set[Shape]) -> Cause | None:
    """Return what the stretches with most of the misses were."""
    if shapes & {Shape.LOCK_HELD, Shape.LOCK_SHORT}:
        return Cause.LOCK
    if shapes & set(HOT):
        return Cause.STORM
    return Cause.BURST if shapes & set(MANY) else None


def _of_counters(made: Reads, window: Window[RedisLoad], *, cold: bool) -> Cause:
    """Return what goes on all the time."""
    first_reads = made.created >= _MOST * made.misses and made.expired < _MOST * made.created
    if made.refused >= max(_LEAST_REFUSED, _SOME * made.misses):
        return Cause.LOCK
    if made.probes >= _MOST * made.misses:
        return Cause.PROBES
    if max(made.sets, made.created) <= _SOME * made.misses:
        return Cause.UNKNOWN if window.last.lacks("calls") else Cause.ABSENT
    if cold or (window.last.uptime_s < _COLD_S and first_reads):
        return Cause.COLD
    if made.created >= _MOST * made.misses:
        return Cause.FIRST if first_reads else Cause.EXPIRED
    return Cause.UNKNOWN
