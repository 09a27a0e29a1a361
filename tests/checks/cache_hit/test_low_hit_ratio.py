"""The proof of cache-hit/low-hit-ratio: the ratio of this minute, and the cause that the counters show."""

from __future__ import annotations

import pytest
from miss_worlds import CALM, look, storm
from worlds import judged

from diag.findings import Outcome, Severity

SLUG = "cache-hit/low-hit-ratio"


ALWAYS = {"keyspace_hits": 25_000_000, "keyspace_misses": 75_000_000}


def always(misses: int, **more: float):
    """The same, and it was so all the time since the start."""
    return look({"hits": 100, "misses": misses, **more}, **ALWAYS)


def window(hits: int, misses: int, **more: float):
    """Two readings a second apart."""
    return look({"hits": hits, "misses": misses, **more})


WORLDS = {
    "a list of what is denied": (window(5, 495, exists=500), [Severity.WARNING]),
    "a list of what was seen": (window(5, 195, sets=195, created=195), [Severity.WARNING]),
    "nothing is read": (window(0, 0), []),
    "a cache at work": (window(950, 50), []),
    "at the limit": (window(800, 200), []),
    "just below it": (window(799, 201), [Severity.WARNING]),
    "half of the reads": (window(500, 500), [Severity.WARNING]),
    "less than half": (window(499, 501), [Severity.CRITICAL]),
    "too few reads to say": (window(0, 49), []),
    "just enough reads": (window(0, 50), [Severity.CRITICAL]),
    "too few a second to matter": (look(*[{"misses": 19}] * 10), []),
    "as few as matter": (look(*[{"misses": 20}] * 10), [Severity.CRITICAL]),
}


@pytest.mark.parametrize(("frames", "said"), WORLDS.values(), ids=WORLDS.keys())
def test_what_it_says_of(frames, said):
    findings, _ = judged(SLUG, *frames)
    assert [found.severity for found in findings] == said


CAUSES = {
    "a restart in the look": (
        look(CALM, {"run_id": "b", "uptime_s": 1.0}, {"hits": 10, "misses": 390, "sets": 390, "created": 390}),
        "had a {anew}",
    ),
    "a failover in the look": (
        look(CALM, {"role": "slave"}, {"hits": 10, "misses": 390, "sets": 390, "created": 390}),
        "had a {anew}",
    ),
    "a start a minute ago": (
        look({"hits": 10, "misses": 390, "sets": 390, "created": 390}, uptime_s=60.0),
        "was started",
    ),
    "a flush": (look({"misses": 400, "sets": 400, "created": 400, "flushes": 1, "deleted": 50_000}), "FLUSHALL"),
    "evictions": (window(200, 200, sets=200, created=200, evicted=200), "evicted"),
    "one hot key": (look(*storm()[4:6]), "hot key"),
    "a lock": (window(100, 300, sets=300, wrote=0), "lock"),
    "a job has deleted them": (window(100, 300, sets=300, created=300, deleted=900, unlinks=1), "at once"),
    "another tool asks whether keys exist": (window(400, 400, exists=400), "EXISTS"),
    "keys that do not exist": (window(100, 300), "penetration"),
    "keys that do not exist, soon after a start": (
        look({"hits": 100, "misses": 300}, uptime_s=5.0, keyspace_hits=0, keyspace_misses=0),
        "penetration",
    ),
    "times to live that are too short": (always(300, sets=300, created=300, expired=300), "expire before"),
    "first reads": (window(100, 300, sets=300, created=300), "first reads"),
    "nothing shows": (always(300, sets=300), "no cause"),
}


@pytest.mark.parametrize(("frames", "word"), CAUSES.values(), ids=CAUSES.keys())
def test_it_names_the_cause(frames, word):
    (found,), _ = judged(SLUG, *frames)
    assert word in found.summary.values["cause"].template


@pytest.mark.parametrize("cause", ["a restart in the look", "a start a minute ago", "a flush"])
def test_a_cold_cache_fills_by_itself_and_is_never_critical(cause):
    (found,), _ = judged(SLUG, *CAUSES[cause][0])
    assert found.severity is Severity.WARNING


def test_it_says_what_the_ratio_is_without_the_other_tool():
    (found,), _ = judged(SLUG, *window(400, 400, exists=400))
    assert found.summary.values["cause"].values["without"].values["ratio"].value == pytest.approx(1.0)


def test_one_reading_is_not_enough():
    findings, outcome = judged(SLUG, *look())
    assert (findings, outcome.outcome) == ([], Outcome.SKIPPED)
