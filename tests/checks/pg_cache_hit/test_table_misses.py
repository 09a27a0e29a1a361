"""The proof of pg-cache-hit/table-misses: small worlds, each a story; one just under each limit, one at it."""

from __future__ import annotations

import pytest
from worlds import gap, judged, pg_cache, read

from diag.findings import Outcome, Severity
from diag.snapshots.postgres import Oid
from diag.text import ServerText

SLUG = "pg-cache-hit/table-misses"


def window(reads: int, scans: int, *, others: int = 0, valid: bool = True, pages: int = 0):
    """Two readings ten seconds apart: one table with an index, and whatever else is read."""
    before = [read("public.baskets", 1), read("public.baskets_customer", 2, table=Oid(1), valid=valid)]
    after = [read("public.baskets", 1, reads=reads, scans=scans, pages=pages), before[1]]
    return [
        pg_cache(relations=tuple(before)),
        pg_cache(0, reads + others, after_s=10.0, relations=tuple(after)),
    ]


SAID = [(Severity.WARNING, ServerText("public.baskets"))]
WORLDS = {
    "nothing was read": (window(0, 0), []),
    "a report": (window(50_000, 2), []),
    "a stream of scans": (window(50_000, 3), SAID),
    "just under a thousand a second": (window(9_999, 50), []),
    "a thousand a second": (window(10_000, 50), SAID),
    "just under half of all": (window(49_999, 50, others=50_001), []),
    "half of all": (window(50_000, 50, others=50_000), SAID),
    "one report by a leader and four workers": (window(50_000, 5, pages=50_000), []),
    "three reports by three sessions each": (window(150_000, 9, pages=50_000), SAID),
    "scans that were cut short": (window(50_000, 50, pages=20_001), []),
    "look-ups by index only": (window(50_000, 0), []),
}


@pytest.mark.parametrize(("frames", "said"), WORLDS.values(), ids=WORLDS.keys())
def test_what_it_says_of(frames, said):
    findings, _ = judged(SLUG, *frames)
    assert [(found.severity, found.subject.relation) for found in findings] == said


def test_an_invalid_index_is_named():
    (found,), _ = judged(SLUG, *window(50_000, 50, valid=False))
    assert found.summary.values["invalid"].values["index"] == ServerText("public.baskets_customer")
    assert len(found.steps) == 2
    (other,), _ = judged(SLUG, *window(50_000, 50))
    assert len(other.steps) == 1


def test_a_busy_index_is_no_table():
    frames = [
        pg_cache(relations=(read("i", 2, table=Oid(1)),)),
        pg_cache(0, 50_000, after_s=10.0, relations=(read("i", 2, table=Oid(1), reads=50_000, scans=50),)),
    ]
    assert judged(SLUG, *frames)[0] == []


def test_a_gap_in_what_it_needs_is_unknown():
    findings, outcome = judged(SLUG, pg_cache(), pg_cache(after_s=10.0, gaps=(gap("relations"),)))
    assert (findings, outcome.outcome) == ([], Outcome.UNKNOWN)
