"""A look does no harm: what a client of 2,000 requests a second feels, at a million and at ten million keys.

Looks follow each other without a pause; spans with and without them alternate, and two without show the noise.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import StartRedis
from forecasts import CLIFF_SHARE, client, fill
from open_loop import OpenLoop, open_loop, percentile, prefer
from proof.progress import Progress

from diag.config import RedisTarget
from diag.snapshots.base import Scope
from diag.sources import redis as source
from diag.wire.probe import Deadline, Probe

pytestmark = [pytest.mark.proof, pytest.mark.timeout(3600)]

ROUNDS, SPAN_S = 20, 1.5
CONDITIONS = ("without", "with", "without again")
SIZES = (1_000_000, 10_000_000)
SLOW_US = 1_000
MOST_RISE_US, MOST_LOOK_S, MOST_STALL_US = 250.0, 5.0, 15_000.0


@pytest.fixture(scope="module")
def progress() -> Iterator[Progress]:
    """What was tried; the figures are written when this module ends, also when it is interrupted."""
    progress = Progress("redis-harmless")
    yield progress
    progress.publish(_words(progress))


@pytest.mark.parametrize("keys", SIZES)
def test_what_others_feel(private_redis: StartRedis, progress: Progress, keys: int) -> None:
    if str(keys) not in progress.trials:
        progress.add(str(keys), **_measured(private_redis, keys))
    trial = progress.trials[str(keys)]
    noise_us = abs(trial["p99_us"]["without again"] - trial["p99_us"]["without"])
    assert trial["p99_us"]["with"] - trial["p99_us"]["without"] <= MOST_RISE_US + noise_us
    assert trial["worst_us"]["with"] - trial["worst_us"]["without"] <= MOST_STALL_US
    assert max(trial["looks_s"]) <= MOST_LOOK_S
    assert (trial["ours_in_slowlog"], trial["dirty"], trial["hits"], trial["misses"]) == (0, 0, 0, 0)


def _measured(private_redis: StartRedis, keys: int) -> dict[str, Any]:
    server = private_redis(directives=[f"slowlog-log-slower-than {SLOW_US}", "slowlog-max-len 1000"])
    fill(server.url, keys, CLIFF_SHARE)
    preferred = prefer(server.pid)
    felt: dict[str, list[float]] = {name: [] for name in CONDITIONS}
    looks_s: list[float] = []
    probe = Probe(Deadline(3_600.0), client_name="diag/test")
    with (
        client(server.url) as oracle,
        open_loop(server.port) as others,
        probe,
        source.connect(RedisTarget(url=server.url), probe) as session,
    ):
        _span(others)  # warm
        oracle.slowlog_reset()
        first, dirty = source.redis_load(session, Scope()), _dirty(oracle)
        asked = 0
        for number in range(ROUNDS):
            for name in itertools.islice(itertools.cycle(CONDITIONS), number % 3, number % 3 + 3):
                others.begin(SPAN_S)
                looks_s += _looks(session) if name == "with" else []
                latencies = others.latencies_us()
                asked += len(latencies)
                felt[name] += latencies
        last = source.redis_load(session, Scope())
        slow = [one for one in oracle.slowlog_get(1000) if one["client_name"].startswith(b"diag")]
        return {
            "preferred": preferred,
            "p50_us": {name: percentile(felt[name], 0.5) for name in felt},
            "p99_us": {name: percentile(felt[name], 0.99) for name in felt},
            "worst_us": {name: max(felt[name]) for name in felt},
            "looks_s": looks_s,
            "ours_in_slowlog": len(slow),
            "dirty": _dirty(oracle) - dirty,
            "hits": last.keyspace_hits - first.keyspace_hits - asked,
            "misses": last.keyspace_misses - first.keyspace_misses,
        }


def _span(others: OpenLoop) -> None:
    others.begin(SPAN_S)
    others.latencies_us()


def _looks(session: Any) -> list[float]:
    ends, taken = time.monotonic() + SPAN_S, []
    while time.monotonic() < ends - 0.3:
        seen = source.redis_expiry(session, Scope())
        taken.append(seen.took_s)
    return taken


def _dirty(oracle: Any) -> int:
    return int(oracle.info("persistence")["rdb_changes_since_last_save"])


def _words(progress: Progress) -> str:
    lines = [
        "## What others feel of a sample of keys",
        "",
        f"An open-loop client of 2,000 requests a second, {ROUNDS} spans of {SPAN_S} s of each kind, interleaved;",
        "looks without a pause between them. Server and client have the processor before the look where permitted.",
        "Slow: entries of ours in SLOWLOG from 1 ms on. Off: hits and misses that we report beyond the client's.",
        "",
        "| keys | p50 without, with | p99 without, with, without again | worst | worst look | slow | changes | off |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for keys, one in progress.trials.items():
        p50, p99, worst = (one[name] for name in ("p50_us", "p99_us", "worst_us"))
        lines.append(
            f"| {int(keys):,} | {p50['without']:.0f}, {p50['with']:.0f} µs"
            f" | {p99['without']:.0f}, {p99['with']:.0f}, {p99['without again']:.0f} µs"
            f" | {worst['without'] / 1000:.1f}, {worst['with'] / 1000:.1f} ms"
            f" | {max(one['looks_s']):.2f} s of {len(one['looks_s'])} | {one['ours_in_slowlog']} | {one['dirty']}"
            f" | {one['hits']}, {one['misses']} |"
        )
    return "\n".join(lines)
