"""The proof of pg-long-tx/xmin-horizon: small worlds, each a story; one just under each limit, one at it."""

from __future__ import annotations

import msgspec
import pytest
from worlds import client, gap, judged, pg_transactions, prepared, slot

from diag.diagnosis.judge import folded
from diag.findings import Outcome, Severity
from diag.snapshots.postgres import Oid
from diag.text import ServerText

SLUG = "pg-long-tx/xmin-horizon"
OLD = 1_000_000
FORGOTTEN = msgspec.structs.replace(prepared(777, "order-4711"), age_transactions=OLD)


def holding(age: int, **more):
    return pg_transactions(client(100, state="idle in transaction", open_s=60.0, xmin_age_transactions=age, **more))


WORLDS = {
    "just under the limit": (holding(999_999), []),
    "at the limit": (holding(OLD), [(Severity.WARNING, {"pid": 100})]),
    "just under critical": (holding(49_999_999), [(Severity.WARNING, {"pid": 100})]),
    "critical": (holding(50_000_000), [(Severity.CRITICAL, {"pid": 100})]),
    "by a transaction id": (
        pg_transactions(client(100, xid_age_transactions=OLD)),
        [(Severity.WARNING, {"pid": 100})],
    ),
    "an innocent reader of two hours": (
        pg_transactions(client(100, state="idle in transaction", open_s=7_200.0, silent_s=7_200.0)),
        [],
    ),
    "a vacuum ignores itself": (holding(OLD, query="VACUUM orders", backend_type="client backend"), []),
    "an autovacuum likewise": (holding(OLD, query="autovacuum: VACUUM public.orders"), []),
    "an ANALYZE does not": (holding(OLD, query="ANALYZE orders"), [(Severity.WARNING, {"pid": 100})]),
    "a worker is its leader's": (holding(OLD, leader=99), []),
    "a prepared transaction": (
        pg_transactions(prepared=(FORGOTTEN,)),
        [(Severity.WARNING, {"gid": ServerText("order-4711")})],
    ),
    "a physical slot": (
        pg_transactions(slots=(slot("old_standby", xmin_age_transactions=OLD),)),
        [(Severity.WARNING, {"slot": ServerText("old_standby")})],
    ),
    "a logical slot holds the catalogs only": (
        pg_transactions(slots=(slot("cdc", slot_type="logical", catalog_xmin_age_transactions=OLD),)),
        [],
    ),
    "a standby's feedback": (
        pg_transactions(client(100, backend_type="walsender", database=None, xmin_age_transactions=OLD)),
        [(Severity.WARNING, {"pid": 100})],
    ),
}


@pytest.mark.parametrize(("world", "said"), WORLDS.values(), ids=WORLDS.keys())
def test_what_it_says_of(world, said):
    findings, _ = judged(SLUG, world)
    assert [(found.severity, found.subject.named()) for found in findings] == said


def test_it_names_the_database_that_suffers_or_all_of_them():
    (here,), _ = judged(SLUG, holding(OLD))
    (there,), _ = judged(SLUG, holding(OLD, database=Oid(9)))
    (every,), _ = judged(SLUG, pg_transactions(slots=(slot("old", xmin_age_transactions=OLD),)))
    assert here.summary.values["where"] == ServerText("shop")
    assert there.summary.values["where"] == ServerText("database 9")
    assert every.summary.values["where"].template == "every database"


def test_it_explains_the_idle_session_that_it_is():
    world = pg_transactions(
        client(100, state="idle in transaction", open_s=90.0, silent_s=90.0, xmin_age_transactions=OLD)
    )
    findings = [found for slug in (SLUG, "pg-long-tx/idle-in-transaction") for found in judged(slug, world)[0]]
    (kept,) = folded(findings, {SLUG: findings[0].explains})
    assert kept.check == SLUG
    assert [one.check for one in kept.explained] == ["pg-long-tx/idle-in-transaction"]


@pytest.mark.parametrize("fact", ["backends", "prepared", "slots"])
def test_a_gap_in_what_it_needs_is_unknown(fact):
    findings, outcome = judged(SLUG, pg_transactions(gaps=(gap(fact),)))
    assert (findings, outcome.outcome) == ([], Outcome.UNKNOWN)
