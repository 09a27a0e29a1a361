"""The proof of cache-stampede/expiry-cliff: cliffs are seen, ordinary expiry is not."""

from __future__ import annotations

import random

import pytest
from worlds import family, gap, judged, redis_expiry

from diag.findings import Outcome, Severity

SLUG = "cache-stampede/expiry-cliff"
HOUR_S = 3_600


def spread(count: int, *, over_s: float = HOUR_S, seed: int = 1) -> list[float]:
    chance = random.Random(seed)
    return [chance.uniform(0, over_s) for _ in range(count)]


def renewed(count: int) -> list[float]:
    """Seconds since each session was last used: a minute ago on average, at most half an hour."""
    chance = random.Random(3)
    return [min(1_800.0, chance.expovariate(1 / 60)) for _ in range(count)]


def cliff(count: int, *, at_s: float = 290.0, width_s: float = 2.0) -> list[float]:
    return [at_s + width_s * number / count for number in range(count)]


WORLDS = {
    "an empty database": (redis_expiry(), []),
    "keys that never expire": (redis_expiry(family("limits:config", without_expiry=5_000)), []),
    "times to live well spread": (redis_expiry(family("session:{n}", *spread(5_000)), total_keys=10**6), []),
    "a short time to live fills every window": (
        redis_expiry(family("rate:{n}", *spread(5_000, over_s=60)), total_keys=10**6),
        [],
    ),
    "a mild bump in a busy family is no cliff": (
        redis_expiry(family("rate:{n}", *spread(5_000, over_s=60), *cliff(400, at_s=30)), total_keys=10**6),
        [],
    ),
    "sessions renewed on use pile up at their full time to live": (
        redis_expiry(family("session:{uuid}", *[1_800 - at for at in renewed(5_000)]), total_keys=30_000),
        [],
    ),
    "a time to live in milliseconds by mistake": (
        redis_expiry(family("c:{n}", *[1.8e12] * 600)),
        [(Severity.WARNING, 600)],
    ),
    "one key short of the limit": (redis_expiry(family("product:{n}", *cliff(499))), []),
    "at the limit": (redis_expiry(family("product:{n}", *cliff(500))), [(Severity.WARNING, 500)]),
    "one short of critical": (redis_expiry(family("product:{n}", *cliff(9_999))), [(Severity.WARNING, 9_999)]),
    "a warm-up of a whole catalogue": (
        redis_expiry(family("product:{n}", *cliff(10_000))),
        [(Severity.CRITICAL, 10_000)],
    ),
    "a cliff within a family that is otherwise spread": (
        redis_expiry(family("page:{n}", *spread(4_000), *cliff(1_000)), total_keys=50_000),
        [(Severity.CRITICAL, 10_000)],
    ),
}


@pytest.mark.parametrize(("world", "said"), WORLDS.values(), ids=WORLDS.keys())
def test_what_it_says_of(world, said):
    findings, _ = judged(SLUG, world)
    assert [(found.severity, pytest.approx(found.evidence[0].value.value, rel=0.02)) for found in findings] == said


def test_the_moment_and_the_interval_hold_the_truth():
    world = redis_expiry(family("page:{n}", *cliff(3_000, at_s=290)), family("s:{n}", *spread(2_000)), total_keys=10**6)
    (found,), _ = judged(SLUG, world)
    keys, least, most = (one.value.value for one in found.evidence[:3])
    assert least < 600_000 == keys < most
    assert found.summary.values["wait"].value == pytest.approx(290)


def test_it_says_how_many_misses_a_second_that_would_be():
    (found,), _ = judged(SLUG, redis_expiry(family("page:{n}", *cliff(3_000, width_s=2))))
    (expected,) = [one for one in found.evidence if one.name.startswith("misses")]
    assert expected.value.value == pytest.approx(1_500, rel=0.01)
    assert found.steps[2].expect.values["gain"].value == pytest.approx(0.4 * 290 / 2, rel=0.01)


def test_quiet_traffic_raises_no_alarm_in_a_thousand_looks():
    alarms = sum(
        bool(judged(SLUG, redis_expiry(family("s:{n}", *spread(300, seed=seed)), total_keys=10**6))[0])
        for seed in range(1_000)
    )
    assert alarms == 0


def test_a_gap_in_what_it_needs_is_unknown():
    findings, outcome = judged(SLUG, redis_expiry(gaps=(gap("families"),)))
    assert (findings, outcome.outcome) == ([], Outcome.UNKNOWN)
