"""A look does no harm: what a client of 2,000 requests a second feels, at a million and at ten million keys.

Looks follow each other without a pause; spans with and without them alternate, and two without show the noise. Each
figure is the median over the spans of a kind: a shared machine stops everybody for milliseconds now and then.
"""

from __future__ import annotations

import itertools
import statistics
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

ROUNDS, SPAN_S = 15, 1.5
CONDITIONS = ("without", "with", "without again")
SIZES = (1_000_000, 10_000_000)
SLOW_US, SLOWLOG_US = 1_000, 10_000  # what is shown; what SLOWLOG keeps by default
MOST_RISE_US, MOST_LOOK_S, MOST_STALL_US = 250.0, 5.0, 15_000.0


_HEAD = (
    "| keys | p50 without, with | p99 without, with, without again | worst without, with | worst look"
    " | slow: ours, GETs | changes | off |"
)


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
    assert [one for one in trial["slow_ours_us"] if one >= SLOWLOG_US] == []
    assert (trial["dirty"], trial["hits"], trial["misses"]) == (0, 0, 0)


def _measured(private_redis: StartRedis, keys: int) -> dict[str, Any]:
    server = private_redis(directives=[f"slowlog-log-slower-than {SLOW_US}", "slowlog-max-len 1000"])
    fill(server.url, keys, CLIFF_SHARE)
    preferred = prefer(server.pid)
    felt: dict[str, list[list[float]]] = {name: [] for name in CONDITIONS}
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
                felt[name].append(latencies)
        last = source.redis_load(session, Scope())
        slow = oracle.slowlog_get(1000)
        return {
            "preferred": preferred,
            "p50_us": {name: _typical(felt[name], 0.5) for name in felt},
            "p99_us": {name: _typical(felt[name], 0.99) for name in felt},
            "worst_us": {name: _typical(felt[name], 1.0) for name in felt},
            "slow_ours_us": [one["duration"] for one in slow if one["client_name"].startswith(b"diag")],
            "slow_gets_us": [one["duration"] for one in slow if one["command"].startswith(b"GET")],
            "looks_s": looks_s,
            "dirty": _dirty(oracle) - dirty,
            "hits": last.keyspace_hits - first.keyspace_hits - asked,
            "misses": last.keyspace_misses - first.keyspace_misses,
        }


def _typical(spans: list[list[float]], share: float) -> float:
    """Return the median over the spans of what so large a share of a span's requests did not exceed."""
    return statistics.median(percentile(latencies, share) for latencies in spans)


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
        "looks without a pause between them; each figure the median over the spans of a kind. Server and client have",
        "the processor first where permitted. Slow: entries in SLOWLOG from 1 ms on, ours and the client's GETs, and",
        "the longest. Off: hits and misses that we report beyond the client's.",
        "",
        _HEAD,
        "|---|---|---|---|---|---|---|---|",
    ]
    for keys, one in progress.trials.items():
        p50, p99, worst = (one[name] for name in ("p50_us", "p99_us", "worst_us"))
        ours, gets = (
            f"{len(slow)} ({max(slow, default=0) / 1000:.1f} ms)" for slow in (one["slow_ours_us"], one["slow_gets_us"])
        )
        lines.append(
            f"| {int(keys):,} | {p50['without']:.0f}, {p50['with']:.0f} µs"
            f" | {p99['without']:.0f}, {p99['with']:.0f}, {p99['without again']:.0f} µs"
            f" | {worst['without'] / 1000:.1f}, {worst['with'] / 1000:.1f} ms"
            f" | {max(one['looks_s']):.2f} s of {len(one['looks_s'])} | {ours}, {gets} | {one['dirty']}"
            f" | {one['hits']}, {one['misses']} |"
        )
    return "\n".join(lines)
