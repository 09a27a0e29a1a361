"""The proof of cache-hit/no-expiry: a cache that cannot make room is named, a store is left in peace."""

from __future__ import annotations

import pytest
from worlds import family, gap, judged, redis_expiry, redis_load

from diag.diagnosis.judge import folded
from diag.diagnosis.plan import explained
from diag.findings import Basis, Outcome, Severity

SLUG = "cache-hit/no-expiry"
TEN_S = 10.0


def load(  # noqa: PLR0913  one argument for each thing a story is made of
    used: int,
    *,
    volatile: int = 50,
    keys: int = 1_000,
    policy: str = "volatile-lru",
    limit: int = 1_000_000,
    added: int = 0,
    added_bytes: int = 0,
    **more,
):
    """Two readings ten seconds apart; `added` keys without a time to live came in between."""
    same = {"maxmemory_policy": policy, "maxmemory_bytes": limit, "volatile_keys": volatile}
    return [
        redis_load(keys=keys - added, used_memory_bytes=used - added_bytes, **same),
        redis_load(after_s=TEN_S, keys=keys, used_memory_bytes=used, **same | more),
    ]


FAST = {"added": 100, "added_bytes": 1_000}  # 10 keys and 100 bytes a second
WORLDS = {
    "a store without a limit": (load(10**9, limit=0, policy="noeviction", volatile=0, **FAST), []),
    "a store with a limit, at rest": (load(890_000, policy="noeviction", volatile=0), []),
    "anything may be evicted": (load(999_000, policy="allkeys-lru", volatile=0, **FAST), []),
    "a cache whose keys all expire": (load(999_000, volatile=1_000), []),
    "just under seven tenths": (load(699_999), []),
    "seven tenths": (load(700_000), [Severity.WARNING]),
    "just under a tenth may go": (load(800_000, volatile=99), [Severity.WARNING]),
    "a tenth may go": (load(800_000, volatile=100), []),
    "full within the hour": (load(640_000, policy="noeviction", volatile=500, **FAST), [Severity.WARNING]),
    "full a second later": (load(639_900, policy="noeviction", volatile=500, **FAST), []),
    "half of the keys expire": (load(640_000, policy="noeviction", volatile=501, **FAST), []),
    "just under ten keys a second": (
        load(640_000, policy="noeviction", volatile=500, added=99, added_bytes=1_000),
        [],
    ),
    "memory grows, but by keys that are there": (
        load(640_000, policy="noeviction", volatile=500, added_bytes=1_000),
        [],
    ),
    "the server was restarted in between": (
        load(640_000, policy="noeviction", volatile=500, **FAST, run_id="b"),
        [],
    ),
}


@pytest.mark.parametrize(("frames", "said"), WORLDS.values(), ids=WORLDS.keys())
def test_what_it_says_of(frames, said):
    findings, outcome = judged(SLUG, *frames)
    assert [found.severity for found in findings] == said
    assert outcome.outcome is (Outcome.FOUND if said else Outcome.CLEAR)


def test_the_family_is_named_with_its_interval():
    sample = redis_expiry(
        family("page:{n}", without_expiry=4_000), family("session:{n}", *range(1, 1_001)), total_keys=10**6
    )
    (found,), _ = judged(SLUG, *load(800_000), sample)
    assert found.summary.values["family"].values["pattern"].raw == "page:{n}"
    (told,) = [one.value.values for one in found.evidence if "of all keys" in one.name]
    assert told["low"].value < 0.8 == told["share"].value < told["high"].value
    assert found.steps[0].command.argv[-1][1].raw == "page:*"


def test_one_reading_is_enough_and_growth_is_a_forecast():
    (found,), _ = judged(SLUG, load(800_000)[1])
    assert found.basis is Basis.OBSERVED
    (found,), _ = judged(SLUG, *load(640_000, policy="noeviction", volatile=500, **FAST))
    assert found.basis is Basis.DERIVED
    assert found.summary.values["in_s"].values["wait"].value == pytest.approx(3_600)


def test_a_sample_that_may_not_be_taken_does_not_matter():
    _, outcome = judged(SLUG, *load(100), redis_expiry(gaps=(gap("families"),)))
    assert outcome.outcome is Outcome.CLEAR


def test_it_is_told_once():
    """Full: that comes first. Evictions of the few that can go: this is why."""
    full = [redis_load(errors={"OOM": after}, **at_limit(after)) for after in (0, 9)]
    said = [found for slug in SLUGS for found in judged(slug, *full)[0]]
    (one,) = folded(said, {slug: explained(slug).check.explains for slug in SLUGS})
    assert one.check == "cache-hit/memory-full"
    assert [under.check for under in one.explained] == ["cache-hit/evictions", "cache-hit/no-expiry"]
    evicting = [redis_load(**at_limit(after) | {"volatile_keys": 20}) for after in (0, 9)]
    said = [found for slug in SLUGS for found in judged(slug, *evicting)[0]]
    (one,) = folded(said, {slug: explained(slug).check.explains for slug in SLUGS})
    assert (one.check, [under.check for under in one.explained]) == (SLUG, ["cache-hit/evictions"])


SLUGS = ("cache-hit/evictions", "cache-hit/memory-full", SLUG)


def at_limit(after_s: int) -> dict[str, object]:
    return {
        "after_s": float(after_s),
        "evicted_keys": after_s * 100,
        "keys": 1_000,
        "volatile_keys": 5,
        "used_memory_bytes": 1_000,
        "maxmemory_bytes": 1_000,
        "maxmemory_policy": "volatile-lru",
    }
