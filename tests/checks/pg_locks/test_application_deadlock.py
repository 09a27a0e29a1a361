"""The proof of pg-locks/application-deadlock: small worlds, each a story; one just under each limit, one at it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from worlds import NOW, backend, gap, judged, lock, pg_locks

from diag.findings import Basis, Outcome
from diag.snapshots.postgres import LockMode, LockTag, Xid
from diag.text import ServerText

SLUG = "pg-locks/application-deadlock"
XID = LockTag(locktype="transactionid", transactionid=Xid(777))


def world(
    *,
    waited_s: float = 9.0,
    between_s: float = 0.1,
    waiters: int = 1,
    holder: str = "idle in transaction",
    **other,
):
    silent_since = NOW - timedelta(seconds=waited_s + between_s)
    held = lock(LockMode.EXCLUSIVE, pid=100, tag=XID)
    waits = [lock(LockMode.SHARE, pid=200 + n, tag=XID, waited_s=waited_s - n / 100) for n in range(waiters)]
    here = {"application": "worker-3", "client_address": ServerText("10.0.0.1")}
    there = here | other
    backends = [backend(100, state=holder, state_changed_at=silent_since, **here)]
    backends += [backend(200 + number, **there) for number in range(waiters)]
    return pg_locks(held, *waits, backends=tuple(backends))


WORLDS = {
    "just under the wait": (world(waited_s=4.9), []),
    "at the wait": (world(waited_s=5.0), [100]),
    "it asked at the limit after the holder fell silent": (world(between_s=1.0), [100]),
    "it asked later than one step of a program": (world(between_s=1.01), []),
    "it asked while the holder was at work": (world(between_s=-0.5), []),
    "two waiters of one program": (world(waiters=2), [100]),
    "a pool of one program that wants the same row": (world(waiters=3), []),
    "another program": (world(application="worker-4"), []),
    "another host": (world(client_address=ServerText("10.0.0.2")), []),
    "the holder works": (world(holder="active"), []),
}


@pytest.mark.parametrize(("world", "said"), WORLDS.values(), ids=WORLDS.keys())
def test_what_it_says_of(world, said):
    findings, _ = judged(SLUG, world)
    assert [found.subject.pid for found in findings] == said


def test_it_is_a_supposition_and_says_so():
    (found,), _ = judged(SLUG, world())
    assert found.basis is Basis.HYPOTHESIS
    assert "may wait for itself" in found.summary.template


@pytest.mark.parametrize("fact", ["locks", "backends"])
def test_a_gap_in_what_it_needs_is_unknown(fact):
    findings, outcome = judged(SLUG, pg_locks(gaps=(gap(fact),)))
    assert (findings, outcome.outcome) == ([], Outcome.UNKNOWN)
