"""The proof of pg-locks/advisory-convoy: small worlds, each a story; one just under each limit, one at it."""

from __future__ import annotations

import pytest
from worlds import backend, gap, judged, lock, pg_locks

from diag.findings import Outcome, Severity
from diag.snapshots.postgres import LockMode, LockTag, Oid

SLUG = "pg-locks/advisory-convoy"
KEY = LockTag(locktype="advisory", database=Oid(5), classid=Oid(0), objid=Oid(42), objsubid=1)


def convoy(count: int, waited_s: float, *, tag: LockTag = KEY, **more):
    waits = [lock(LockMode.EXCLUSIVE, pid=200 + number, tag=tag, waited_s=waited_s) for number in range(count)]
    return pg_locks(lock(LockMode.EXCLUSIVE, pid=100, tag=tag), *waits, **more)


WORLDS = {
    "nobody waits": (convoy(0, 0.0), []),
    "just under the limit": (convoy(1, 4.9), []),
    "at the limit": (convoy(1, 5.0), [(Severity.WARNING, 1, 100)]),
    "one job short of critical": (convoy(9, 9.0), [(Severity.WARNING, 9, 100)]),
    "a pool of jobs": (convoy(10, 9.0), [(Severity.CRITICAL, 10, 100)]),
    "a lock queue is no convoy": (
        pg_locks(lock(LockMode.ACCESS_SHARE, pid=100), lock(LockMode.ACCESS_EXCLUSIVE, pid=200, waited_s=60)),
        [],
    ),
}


@pytest.mark.parametrize(("world", "said"), WORLDS.values(), ids=WORLDS.keys())
def test_what_it_says_of(world, said):
    findings, _ = judged(SLUG, world)
    assert [(found.severity, found.evidence[0].value.value, found.subject.pid) for found in findings] == said


def test_an_idle_holder_is_told_from_one_in_a_transaction():
    idle, busy = (convoy(3, 9.0, backends=(backend(100, state=state),)) for state in ("idle", "active"))
    assert "session-level" in judged(SLUG, idle)[0][0].summary.values["kept"].template
    assert judged(SLUG, busy)[0][0].summary.values["kept"].template == ""


@pytest.mark.parametrize(
    ("tag", "said"),
    [
        ({"classid": Oid(0), "objid": Oid(42), "objsubid": 1}, {"key": 42}),
        ({"classid": Oid(2**32 - 1), "objid": Oid(2**32 - 7), "objsubid": 1}, {"key": -7}),
        ({"classid": Oid(3), "objid": Oid(2**32 - 7), "objsubid": 2}, {"one": 3, "two": -7}),
    ],
)
def test_the_key_is_given_as_the_functions_take_it(tag, said):
    (found,), _ = judged(SLUG, convoy(1, 9.0, tag=LockTag(locktype="advisory", database=Oid(5), **tag)))
    assert found.summary.values["key"].values == said


def test_a_gap_in_what_it_needs_is_unknown():
    findings, outcome = judged(SLUG, pg_locks(gaps=(gap("locks"),)))
    assert (findings, outcome.outcome) == ([], Outcome.UNKNOWN)
