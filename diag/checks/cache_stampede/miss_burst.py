"""Many keys are missed at once that were found a moment before.

They expired together, were deleted together, or are asked for under a new name, as after a release. What
is asked for in addition, never existed, was evicted, or is cold after a restart or a flush is no burst.

Facts    INFO each second: hits, misses, calls, keys, expired_stale_perc; keymiss events where they are on
Units    misses beyond the usual; s = seconds, as exact as the samples are apart
Source   redis.io, "INFO", "EXPIRE"; expired_keys is no evidence: most are counted only when they are read
Blind    a mass expiry that nobody reads is none; what led to it must lie in the window
"""

from collections.abc import Iterator

from msgspec import Struct

from diag.analysis.miss_shapes import MANY, storms
from diag.checks.cache_stampede._burst_words import own_evidence, own_ruled_out, own_steps, summary
from diag.checks.cache_stampede._storm_words import counted, look_again, naming, ruled_out
from diag.findings import Basis, Check, Finding, Severity, Subject
from diag.snapshots.base import Window
from diag.snapshots.redis import RedisLoad


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When misses of many keys are felt."""

    misses: int = 100  # queries beyond the usual: a second of work for a small database
    critical_misses_per_s: float = 1_000.0  # each a query: half of a mid-size database's 2 000 a second


def judge(window: Window[RedisLoad], limits: Limits) -> Iterator[Finding]:
    """Say the worst burst of each mechanism."""
    bursts = [storm for storm in storms(window) if storm.shape in MANY and storm.stretch.misses >= limits.misses]
    for shape in dict.fromkeys(storm.shape for storm in bursts):
        storm = max((one for one in bursts if one.shape is shape), key=lambda one: one.stretch.misses)
        too_many = storm.stretch.per_s >= limits.critical_misses_per_s
        yield Finding(
            severity=Severity.CRITICAL if too_many else Severity.WARNING,
            basis=Basis.DERIVED,
            subject=Subject(),
            summary=summary(storm),
            evidence=(*own_evidence(storm), *counted(storm)),
            ruled_out=(*own_ruled_out(storm), *ruled_out(storm, window)),
            steps=(look_again(None), *naming(window.last), *own_steps(storm)),
        )


CHECK = Check(
    title="Misses of many keys at once",
    facts=Window[RedisLoad],
    needs=("calls",),
    min_frames=2,
    explains=("cache-hit/low-hit-ratio",),
    limits=Limits(),
    judge=judge,
)
