"""The proof of cache-stampede/miss-burst: many keys gone at once, by what took them; and what is none of it."""

from __future__ import annotations

import pytest
from miss_worlds import CALM, look, storm
from worlds import judged

from diag.findings import Outcome, Severity

SLUG = "cache-stampede/miss-burst"
DECAY = (0.9, 0.7, 0.5, 0.3, 0.1)


def burst(misses: int = 1_000, **first: float):
    """Many keys are missed once each, ever fewer; `first` is what the first second counts besides."""
    parts = [round(misses * share / sum(DECAY)) for share in DECAY[:-1]]
    parts.append(misses - sum(parts))
    seconds = [{"hits": 400 - min(400, part), "misses": part, "sets": part, "created": part} for part in parts]
    return [*[CALM] * 4, seconds[0] | first, *seconds[1:], *[CALM] * 4]


def fast(misses: int):
    """All of it within one second."""
    one = {"hits": 2_000 - misses, "misses": misses, "sets": misses, "created": misses, "deleted": misses, "unlinks": 1}
    return [*[{"hits": 2_000}] * 4, one, *[{"hits": 2_000}] * 4]


WORLDS = {
    "a cache at work": (look(*[CALM] * 12), []),
    "a job deletes them in one call": (look(*burst(deleted=1_000, unlinks=1)), [(Severity.WARNING, "DEL")]),
    "a job deletes them one by one": (look(*burst(deleted=1_000, unlinks=1_000)), [(Severity.WARNING, "DEL")]),
    "they expired together and stale keys pile up": (look(*burst(stale=0.17)), [(Severity.WARNING, "expired")]),
    "they expired together and went at once": (look(*burst(expired=1_000)), [(Severity.WARNING, "expired")]),
    "a release reads another name": (look(*burst()), [(Severity.WARNING, "never")]),
    "one short of the limit": (look(*fast(99)), []),
    "at the limit": (look(*fast(100)), [(Severity.WARNING, "DEL")]),
    "one short of critical": (look(*fast(999)), [(Severity.WARNING, "DEL")]),
    "a thousand a second": (look(*fast(1_000)), [(Severity.CRITICAL, "DEL")]),
    "a mass expiry that nobody reads": (
        look(*[CALM] * 4, {"hits": 400, "stale": 0.17, "expired": 200}, *[{"hits": 400, "expired": 200}] * 6),
        [],
    ),
    "one hot key": (look(*storm()), []),
    "a crawler reads what nobody has read yet": (
        look(*[CALM] * 5, *[{"hits": 400, "misses": 300, "sets": 300, "created": 300}] * 6),
        [],
    ),
    "keys that do not exist": (look(*[CALM] * 5, *[{"hits": 400, "misses": 300}] * 6), []),
    "limits that live for two seconds": (
        look(*[{"hits": 200, "misses": 100, "sets": 100, "created": 100, "expired": 100}] * 12),
        [],
    ),
    "evictions": (
        look(*[CALM] * 4, *[{"hits": 300, "misses": 100, "sets": 100, "created": 100, "evicted": 100}] * 6),
        [],
    ),
    "a cold cache after a restart": (look(*burst()[4:], uptime_s=20.0), []),
    "a flush": (look(*burst(deleted=50_000, flushes=1)), []),
    "a failover": (look(*burst(role="slave"), role="master"), []),
    "what led to it came before the look": (look(*burst()[4:]), []),
    "two samples of a job that deletes": (
        look({"hits": 30, "misses": 370, "sets": 370, "created": 370, "deleted": 1_000, "unlinks": 1}),
        [(Severity.WARNING, "DEL")],
    ),
}


@pytest.mark.parametrize(("frames", "said"), WORLDS.values(), ids=WORLDS.keys())
def test_what_it_says_of(frames, said):
    findings, _ = judged(SLUG, *frames)
    assert [found.severity for found in findings] == [severity for severity, _ in said]
    for found, (_, word) in zip(findings, said, strict=True):
        assert word in found.summary.values["cause"].template


def test_expired_keys_alone_are_no_sign_of_a_mass_expiry():
    """Two hundred a second expire all the time: that explains none of a thousand misses."""
    seconds = [one | {"expired": 200, "created": one.get("created", 0) + 200} for one in burst()]
    (found,), _ = judged(SLUG, *look(*seconds))
    assert "never" in found.summary.values["cause"].template


def test_one_reading_is_not_enough():
    findings, outcome = judged(SLUG, *look())
    assert (findings, outcome.outcome) == ([], Outcome.SKIPPED)
