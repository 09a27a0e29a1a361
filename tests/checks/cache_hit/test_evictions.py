"""The proof of cache-hit/evictions: small worlds, each a story; one just under each limit, one at it."""

from __future__ import annotations

import pytest
from worlds import judged, redis_load

from diag.findings import Outcome, Severity

SLUG = "cache-hit/evictions"


def window(evicted: int, **more):
    """Two readings ten seconds apart."""
    return [redis_load(evicted_keys=10**9, **more), redis_load(after_s=10.0, evicted_keys=10**9 + evicted, **more)]


WORLDS = {
    "nothing is thrown away now": (window(0), []),
    "just under one a second": (window(9), []),
    "one a second": (window(10), [Severity.WARNING]),
    "just under a thousand a second": (window(9_999), [Severity.WARNING]),
    "a thousand a second": (window(10_000), [Severity.CRITICAL]),
    "the server was restarted in between": (
        [redis_load(evicted_keys=0, run_id="a"), redis_load(after_s=10.0, evicted_keys=10**6, run_id="b")],
        [],
    ),
    "the counters were reset": ([redis_load(evicted_keys=9), redis_load(after_s=10.0, evicted_keys=0)], []),
}


@pytest.mark.parametrize(("frames", "said"), WORLDS.values(), ids=WORLDS.keys())
def test_what_it_says_of(frames, said):
    findings, _ = judged(SLUG, *frames)
    assert [found.severity for found in findings] == said


def test_it_says_how_full_and_under_which_policy():
    (found,), _ = judged(
        SLUG, *window(50, used_memory_bytes=99, maxmemory_bytes=100, maxmemory_policy="volatile-lru", volatile_keys=7)
    )
    assert found.summary.values["full"].value == pytest.approx(0.99)
    assert found.summary.values["policy"] == "volatile-lru"
    assert found.evidence[3].value.value == 7


def test_one_reading_is_not_enough():
    findings, outcome = judged(SLUG, redis_load(evicted_keys=10**9))
    assert (findings, outcome.outcome) == ([], Outcome.SKIPPED)
