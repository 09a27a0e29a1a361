"""A sample of times to live and a full pass on a replica, beside redis-cli and a naive loop; prints a table.

`PYTHONPATH=tests python tests/bench/redis_sampling.py`. A second client asks 2,000 times a second meanwhile: what it
feels is the stall. Server time is what INFO says of the server's main thread, without the second client's share and
idling. Compare within one run only.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from forecasts import CLIFF_SHARE, client, fill
from open_loop import OpenLoop, open_loop, percentile, prefer

from diag.config import RedisTarget
from diag.lab import folders, services
from diag.lab.process import wait_until
from diag.lab.servers import RedisServer
from diag.snapshots.base import Scope
from diag.snapshots.redis import RedisExpiry
from diag.sources import redis as source
from diag.wire.probe import Deadline, Probe

KEYS, NAIVE_KEYS, SAMPLES, SPAN_S = 1_000_000, 50_000, 10, 0.5
LEAST_FULL_PER_S = 200_000
_SETTLED_S = 120.0


@dataclass(frozen=True)
class Contender:
    """One way to look at the keys of a server; `look` returns how many it looked at."""

    name: str
    look: Callable[[], int]


def sampled(server: RedisServer) -> int:
    """Take the sample of `diag cache-stampede`, some times in a row."""
    return sum(_expiry(server, Scope()).sampled_keys for _ in range(SAMPLES))


def full(server: RedisServer) -> int:
    """Take the full pass of `diag cache-stampede --full replica`."""
    return _expiry(server, Scope(full="replica")).total_keys


def _expiry(server: RedisServer, scope: Scope) -> RedisExpiry:
    probe = Probe(Deadline(300.0), client_name="diag/bench")
    with probe, source.connect(RedisTarget(url=server.url), probe) as session:
        return source.redis_expiry(session, scope)


def redis_cli(server: RedisServer, what: str) -> int:
    """Let redis-cli walk all keys."""
    subprocess.run(["redis-cli", "-p", str(server.port), what], stdout=subprocess.DEVNULL, check=True)
    return KEYS


def naive(server: RedisServer) -> int:
    """Walk with redis-py as its documentation shows, and ask for each key's time to live."""
    with client(server.url) as walker:
        for name in itertools.islice(walker.scan_iter(), NAIVE_KEYS):
            walker.pttl(name)
    return NAIVE_KEYS


def _used_s(server: RedisServer) -> float:
    with client(server.url) as oracle:
        used = oracle.info("cpu")
    return float(used["used_cpu_user_main_thread"] + used["used_cpu_sys_main_thread"])


def compared(contender: Contender, server: RedisServer, others: OpenLoop, other_s: float) -> float:
    """Print one row; return the keys a second."""
    looked: list[tuple[int, float]] = []

    def look() -> None:
        started = time.monotonic()
        looked.append((contender.look(), time.monotonic() - started))

    felt: list[float] = []
    thread = threading.Thread(target=look)
    before, started = _used_s(server), time.monotonic()
    thread.start()
    while thread.is_alive():
        others.begin(SPAN_S)
        felt += others.latencies_us()
    used_s = _used_s(server) - before - other_s * (time.monotonic() - started)
    ((keys, took_s),) = looked
    print(
        f"| {contender.name} | {keys:,} | {keys / took_s:,.0f} | {used_s / keys * 1e6:.2f}"
        f" | {percentile(felt, 0.99):.0f} | {max(felt) / 1000:.1f} |"
    )
    return keys / took_s


def idle(server: RedisServer, others: OpenLoop) -> float:
    """Print what the second client feels alone; return the server's seconds a second for it and for itself."""
    before, started = _used_s(server), time.monotonic()
    felt: list[float] = []
    for _ in range(6):
        others.begin(SPAN_S)
        felt += others.latencies_us()
    other_s = (_used_s(server) - before) / (time.monotonic() - started)
    print(f"| nobody | | | | {percentile(felt, 0.99):.0f} | {max(felt) / 1000:.1f} |")
    return other_s


def main() -> None:
    """Start a primary and its replica, print, stop them."""
    folder = folders.private_folder()
    servers: list[RedisServer] = []
    try:
        primary = services.start_redis(folder / "primary")
        servers.append(primary)
        fill(primary.url, KEYS, CLIFF_SHARE)
        replica = services.start_redis(folder / "replica", directives=[f"replicaof 127.0.0.1 {primary.port}"])
        servers.append(replica)
        with client(replica.url) as oracle:
            assert wait_until(lambda: oracle.info("replication")["master_link_status"] == "up", _SETTLED_S)
        first = all(map(prefer, [server.pid for server in servers]))
        prefer(os.getpid(), before_all=False)  # the contenders, too: they are our children
        print(f"Redis {primary.version}, {KEYS:,} keys; server, second client, then contender first: {first}\n")
        print(f"| Who | Keys | Keys/s | Server µs a key | p99 µs of others | Worst stall, ms |\n|{'---|' * 6}")
        rates = {}
        for server, contenders in (
            (
                primary,
                (
                    Contender(f"diag, {SAMPLES} samples of 5,000", lambda: sampled(primary)),
                    Contender("redis-cli --bigkeys", lambda: redis_cli(primary, "--bigkeys")),
                    Contender("redis-cli --memkeys", lambda: redis_cli(primary, "--memkeys")),
                    Contender("redis-py, scan_iter and pttl", lambda: naive(primary)),
                ),
            ),
            (replica, (Contender("diag --full replica", lambda: full(replica)),)),
        ):
            with open_loop(server.port) as others:
                other_s = idle(server, others)
                for contender in contenders:
                    rates[contender.name] = compared(contender, server, others, other_s)
        met = rates["diag --full replica"] >= LEAST_FULL_PER_S
        print(f"\nfull pass: target {LEAST_FULL_PER_S:,} keys/s {'met' if met else 'MISSED'}")
    finally:
        for server in servers:
            services.stop(server)
        folders.remove(folder)


if __name__ == "__main__":
    main()
