"""The proof of pg-cache-hit/low-hit-ratio: small worlds, each a story; one just under each limit, one at it."""

from __future__ import annotations

import pytest
from worlds import judged, pg_cache

from diag.findings import Outcome, Severity
from diag.snapshots.postgres import CacheCounters

SLUG = "pg-cache-hit/low-hit-ratio"
TOTAL = 10**12  # since the last reset, long ago: it must not matter


def window(hits: int, reads: int, *, read_time_s: float = 0.0, **more):
    """Two readings ten seconds apart."""
    before = pg_cache(TOTAL, 0, **more)
    return [before, pg_cache(TOTAL + hits, reads, after_s=10.0, read_time_s=read_time_s, **more)]


def with_bulk_reads(bulk: int, normal: int):
    counted = {"bulkread": CacheCounters(hits=0, reads=bulk), "normal": CacheCounters(hits=0, reads=normal)}
    none = {name: CacheCounters(hits=0, reads=0) for name in counted}
    return [pg_cache(TOTAL, 0, contexts=none), pg_cache(TOTAL, 20_000, after_s=10.0, contexts=counted)]


WORLDS = {
    "nothing was asked": (window(0, 0), []),
    "at 95 %": (window(190_000, 10_000), []),
    "just under 95 %": (window(189_999, 10_001), [Severity.WARNING]),
    "just under a thousand a second": (window(0, 9_999), []),
    "a thousand a second": (window(0, 10_000), [Severity.WARNING]),
    "the disk takes its time": (window(0, 20_000, read_time_s=4.0), [Severity.WARNING]),
    "just under four backends always reading": (window(0, 20_000, read_time_s=39.9), [Severity.WARNING]),
    "four backends always reading": (window(0, 20_000, read_time_s=40.0), [Severity.CRITICAL]),
    "the operating system has the blocks": (window(0, 20_000, read_time_s=0.99), []),
    "just as fast as a disk": (window(0, 20_000, read_time_s=1.01), [Severity.WARNING]),
    "cold: it cannot have filled": (window(0, 20_000, uptime_s=16.0), []),
    "it has filled twice": (window(0, 20_000, uptime_s=16.5), [Severity.WARNING]),
    "half of the reads are bulk reads": (with_bulk_reads(10_000, 10_000), []),
    "fewer are": (with_bulk_reads(9_000, 11_000), [Severity.WARNING]),
    "the statistics were reset": ([pg_cache(TOTAL, 5), pg_cache(10, 20_000, after_s=10.0)], []),
}


@pytest.mark.parametrize(("frames", "said"), WORLDS.values(), ids=WORLDS.keys())
def test_what_it_says_of(frames, said):
    findings, _ = judged(SLUG, *frames)
    assert [found.severity for found in findings] == said


def test_without_timing_it_says_that_it_does_not_know_the_disk():
    (found,), _ = judged(SLUG, *window(0, 20_000))
    assert "not measured" in found.summary.values["cost"].template
    assert any("track_io_timing" in step.title.template for step in found.steps)
    (timed,), _ = judged(SLUG, *window(0, 20_000, read_time_s=4.0, track_io_timing=True))
    assert timed.summary.values["cost"].values["each"].value == pytest.approx(0.0002)
    assert not any("track_io_timing" in step.title.template for step in timed.steps)


def test_one_reading_is_not_enough():
    findings, outcome = judged(SLUG, pg_cache(0, 10**9))
    assert (findings, outcome.outcome) == ([], Outcome.SKIPPED)
