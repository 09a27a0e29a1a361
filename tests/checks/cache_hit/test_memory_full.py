"""The proof of cache-hit/memory-full: small worlds, each a story; one just under each limit, one at it."""

from __future__ import annotations

import pytest
from worlds import judged, redis_load

from diag.findings import Severity

SLUG = "cache-hit/memory-full"


def full(used: int, *, refused: int = 0, policy: str = "noeviction", limit: int = 1_000, volatile: int = 0):
    """Two readings ten seconds apart, of a server with a thousand keys."""
    same = {"used_memory_bytes": used, "maxmemory_bytes": limit, "maxmemory_policy": policy, "keys": 1_000}
    return [
        redis_load(errors={"OOM": 5}, volatile_keys=volatile, **same),
        redis_load(after_s=10.0, errors={"OOM": 5 + refused}, volatile_keys=volatile, **same),
    ]


WORLDS = {
    "no limit is set": (full(10**9, limit=0), []),
    "just under nine tenths": (full(899), []),
    "nine tenths": (full(900), [Severity.WARNING]),
    "writes are refused": (full(1_000, refused=1), [Severity.CRITICAL]),
    "it may evict anything": (full(1_000, policy="allkeys-lru"), []),
    "a hundredth of the keys can go": (full(1_000, policy="volatile-lru", volatile=10), []),
    "just under a hundredth can go": (full(1_000, policy="volatile-lru", volatile=9), [Severity.WARNING]),
    "refused although something can go": (
        full(1_000, policy="volatile-lru", volatile=900, refused=3),
        [Severity.CRITICAL],
    ),
}


@pytest.mark.parametrize(("frames", "said"), WORLDS.values(), ids=WORLDS.keys())
def test_what_it_says_of(frames, said):
    findings, _ = judged(SLUG, *frames)
    assert [found.severity for found in findings] == said


def test_one_reading_is_enough_for_a_full_server():
    (found,), _ = judged(SLUG, full(950)[0])
    assert found.severity is Severity.WARNING


def test_the_errors_of_long_ago_do_not_count():
    findings, _ = judged(SLUG, *full(100, policy="allkeys-lru"))
    assert findings == []
