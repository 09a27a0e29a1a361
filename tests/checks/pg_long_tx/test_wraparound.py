"""The proof of pg-long-tx/wraparound: small worlds, each a story; one just under each limit, one at it."""

from __future__ import annotations

import msgspec
import pytest
from worlds import database, gap, judged, pg_transactions

from diag.findings import Outcome, Severity
from diag.text import ServerText

SLUG = "pg-long-tx/wraparound"


def old(age: int, **more):
    return pg_transactions(databases=(database("template1", oid=1), database("archive", age=age, **more)))


GENEROUS = msgspec.structs.replace(
    old(1_600_000_000),
    settings=msgspec.structs.replace(pg_transactions().settings, autovacuum_freeze_max_age=2_000_000_000),
)
WORLDS = {
    "where autovacuum begins": (old(200_000_000), []),
    "just under the limit": (old(399_999_999), []),
    "at the limit": (old(400_000_000), [Severity.WARNING]),
    "just under critical": (old(1_599_999_999), [Severity.WARNING]),
    "critical": (old(1_600_000_000), [Severity.CRITICAL]),
    "critical whatever the setting": (GENEROUS, [Severity.CRITICAL]),
    "multixacts wrap, too": (old(0, multixact_age=400_000_000), [Severity.WARNING]),
}


@pytest.mark.parametrize(("world", "said"), WORLDS.values(), ids=WORLDS.keys())
def test_what_it_says_of(world, said):
    findings, _ = judged(SLUG, world)
    assert [found.severity for found in findings] == said
    assert all(found.subject.database == ServerText("archive") for found in findings)


def test_what_is_left_is_counted_to_the_wrap():
    (found,), _ = judged(SLUG, old(1_600_000_000))
    assert found.summary.values["left"].value == 2**31 - 1_600_000_000


def test_a_gap_in_what_it_needs_is_unknown():
    findings, outcome = judged(SLUG, pg_transactions(gaps=(gap("databases"),)))
    assert (findings, outcome.outcome) == ([], Outcome.UNKNOWN)
