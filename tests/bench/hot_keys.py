"""`diag cache-hot-keys` beside `redis-cli --bigkeys`, `--memkeys` and `--hotkeys`, in one run; prints a table.

`python tests/bench/hot_keys.py`: a server with an LFU policy, 1.5 million small keys, one string of 30 MB and one key
that is read 300,000 times. Server CPU is what INFO counts; the stall is the longest round trip of a second client that
asks for nothing (PING) a thousand times a second, beside the same of a quiet server. Compare within one run only.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from diag.lab import folders, services

PAGES, SESSIONS = 1_000_000, 500_000
BIG, HOT = "export:catalogue", "limits:config"
BIG_BYTES, HOT_READS = 30_000_000, 300_000
QUIET_S = 5.0
_PINGS_PER_S = 1_000
_SECOND_CLIENT = """
import socket, sys, time
connected = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
trips = []
sys.stdout.write("ready\\n"); sys.stdout.flush()
connected.settimeout(30)
import select
while not select.select([sys.stdin], [], [], 0)[0]:
    started = time.perf_counter()
    connected.sendall(b"PING\\r\\n")
    connected.recv(64)
    took = time.perf_counter() - started
    trips.append(took)
    time.sleep(max(0.0, 1 / float(sys.argv[2]) - took))
trips.sort()
print(trips[-1] * 1000, trips[int(len(trips) * 0.99)] * 1000, len(trips))
"""


def filled(url: str) -> redis.Redis:
    """Fill the server; return a client of it."""
    client = redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0), socket_timeout=300)
    client.execute_command("DEBUG", "POPULATE", PAGES, "product:page", 120)
    client.execute_command("DEBUG", "POPULATE", SESSIONS, "session", 40)
    client.set(BIG, "x" * BIG_BYTES)
    client.set(HOT, "x")
    for _ in range(HOT_READS // 1_000):
        client.mget([HOT] * 1_000)
    return client


def cpu_s(client: redis.Redis) -> float:
    """Return what the server has used so far."""
    told = client.info("cpu")
    return float(told["used_cpu_user"]) + float(told["used_cpu_sys"])


class Measured:
    """What one contender took: wall and server CPU in seconds, the second client's worst and p99 trip in ms."""

    def __init__(self, client: redis.Redis, port: int, words: Sequence[str]) -> None:
        """Run it; without words, let as much time pass quietly."""
        watcher = subprocess.Popen(
            [sys.executable, "-c", _SECOND_CLIENT, str(port), str(_PINGS_PER_S)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert watcher.stdout is not None
        watcher.stdout.readline()
        before, started = cpu_s(client), time.monotonic()
        self.said = ""
        if words:
            self.said = subprocess.run(list(words), capture_output=True, text=True, check=False).stdout
        else:
            time.sleep(QUIET_S)
        self.wall_s = time.monotonic() - started
        self.cpu_s = cpu_s(client) - before
        told, _ = watcher.communicate("\n")
        self.worst_ms, self.p99_ms, self.pings = map(float, told.split())

    def above(self, quiet: Measured) -> float:
        """Return the server CPU above what the second client and the server by itself take."""
        return self.cpu_s - quiet.cpu_s / quiet.wall_s * self.wall_s


def found(said: str) -> str:
    """Say which of the two a report names."""
    named = [word for word, key in (("big", BIG), ("hot", HOT)) if key in said]
    return " and ".join(named) or ("memory not met" if "did not meet" in said else "neither")


def main() -> None:
    """Start a server, print, stop it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    folder = folders.private_folder()
    server = services.start_redis(folder / "redis", directives=["maxmemory-policy allkeys-lfu"])
    cli = [shutil.which("redis-cli") or "redis-cli", "-p", str(server.port)]
    ours = [sys.executable, "-m", "diag", "cache-hot-keys", "--redis-url", server.url, "--samples", "1", "-f", "json"]
    contenders = {
        "nobody (noise floor)": [],
        "diag cache-hot-keys": ours,
        "diag, --match export:*": [*ours, "--match", "export:*"],
        "redis-cli --bigkeys": [*cli, "--bigkeys"],
        "redis-cli --memkeys": [*cli, "--memkeys"],
        "redis-cli --hotkeys": [*cli, "--hotkeys"],
    }
    try:
        with filled(server.url) as client:
            keys = client.dbsize()
            quiet = Measured(client, server.port, [])
            print(f"Redis {server.version}, {keys:,} keys, {asked.rounds} rounds: medians, worst stall of all\n")
            print("| Who | Wall s | Server CPU s | x ours | p99 of a second client ms | Worst stall ms | Names |")
            print("|" + "---|" * 7)
            runs: dict[str, list[Measured]] = {who: [] for who in contenders}
            for _ in range(asked.rounds):
                for who, words in contenders.items():
                    runs[who].append(Measured(client, server.port, words))
            mine = median([one.above(quiet) for one in runs["diag cache-hot-keys"]])
            for who, taken in runs.items():
                spent = median([one.above(quiet) for one in taken])
                print(
                    f"| {who} | {median([one.wall_s for one in taken]):.2f} | {spent:.3f} |"
                    f" {spent / mine if mine > 0 else 0:.1f} | {median([one.p99_ms for one in taken]):.2f} |"
                    f" {max(one.worst_ms for one in taken):.1f} | {found(taken[-1].said)} |"
                )
            told = json.loads(runs["diag cache-hot-keys"][-1].said)
            print(f"\nsaid by diag: {[gap['why'] for gap in told['gaps']]}, verdict {told['verdict']}")
    finally:
        services.stop(server)
        folders.remove(folder)


def median(values: list[float]) -> float:
    """Return the middle one."""
    return sorted(values)[len(values) // 2]


if __name__ == "__main__":
    main()
