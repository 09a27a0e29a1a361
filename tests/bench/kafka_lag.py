"""`diag kafka-lag` on a large cluster, beside peers, in one interleaved run; prints tables and writes nothing.

`PYTHONPATH=tests python tests/bench/kafka_lag.py`, with `--profile` where the time goes instead.
Scale comes from a cluster that is not there (tests/kafka_double), the comparison with Kafka's
own command from a real broker. Compare within one run only: the machine decides the rest.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from kafka_double import Counted, Double, kafka_double

from diag.errors import DiagError
from diag.lab import folders, services
from diag.lab.kafka_files import class_path, java, kafka_jars
from diag.lab.servers import KafkaServer

ROUNDS = 5
DIAG = [sys.executable, "-m", "diag", "kafka-lag", "--samples", "1", "--deadline", "120"]
"""More time than a person would give, so that a run that is too slow is measured and not cut short."""
LOOP, LOOP_GROUPS = Path(__file__).with_name("group_loop.py"), 50
RTT_MS = 20
MOST_WALL_S = {0: 1.2, RTT_MS: 2.0}
MOST_RSS_MB, MOST_REQUESTS, MOST_IMPORT_MS = 200, 6 + 2, 350
LEAST_LOOP_RATIO, LEAST_CLI_RATIO = 50, 30
COMMIT = Path(__file__).with_name("commit_groups.py")
CLI_GROUPS, CLI_PARTITIONS, MOST_CLI_ROUNDS = (200, 1000), 5, 3
CLI = ["-Xmx256m", "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"]
ALIKE = os.environ | {"PYTHONHASHSEED": "0"}
"""Sets are asked for in the same order each time, so that the double has its answers and costs next to nothing."""
RECORD_LAG = (
    *("ApiVersions", "Metadata", "ListGroups", "OffsetFetch", "DescribeGroups"),
    *("ListOffsets latest", "ListOffsets earliest"),
)
TIME_LAG = ("ListOffsets max_timestamp", "ListOffsets at a time", "Fetch")


@dataclass(frozen=True)
class Taken:
    """What one process took."""

    wall_s: float
    cpu_s: float
    stdout: str


def run(argv: list[str]) -> Taken:
    """Run a process by itself and time it."""
    with tempfile.TemporaryFile() as out:
        started = time.monotonic()
        child = subprocess.Popen(argv, stdout=out, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, env=ALIKE)
        _, _, used = os.wait4(child.pid, 0)
        wall_s = time.monotonic() - started
        child.returncode = 0  # it has been waited for
        out.seek(0)
        stdout = out.read().decode(errors="replace")
    return Taken(wall_s, used.ru_utime + used.ru_stime, stdout)


def peak_mb(argv: list[str]) -> float:
    """Return the peak memory of a process, from a small parent: Linux counts in what exec replaces."""
    weighed = "import resource as r, subprocess as s, sys; s.run(sys.argv[1:], stdout=s.DEVNULL, stderr=s.DEVNULL); "
    weighed += "print(r.getrusage(r.RUSAGE_CHILDREN).ru_maxrss)"
    return int(run([sys.executable, "-c", weighed, *argv]).stdout) / 1024


class Runs:
    """The runs of one command."""

    def __init__(self, argv: list[str]) -> None:
        self.argv = argv
        self.taken: list[Taken] = []

    def again(self) -> Taken:
        self.taken.append(run(self.argv))
        return self.taken[-1]

    @property
    def wall_s(self) -> float:
        return statistics.median(taken.wall_s for taken in self.taken)

    @property
    def cpu_s(self) -> float:
        return statistics.median(taken.cpu_s for taken in self.taken)

    @property
    def best_wall_s(self) -> float:
        return min(taken.wall_s for taken in self.taken)


def row(what: str, value: str, target: str = "", met: bool | None = None) -> None:
    """Print one line of a table."""
    verdict = "" if met is None else ("met" if met else "MISSED")
    print(f"  {what:<66}{value:>16}  {target:<12}{verdict}")


def on(double: Double) -> list[str]:
    """Return the command that looks at a double."""
    return [*DIAG, "--bootstrap-servers", double.bootstrap_servers]


def scale(rounds: int, words: list[str]) -> None:
    """Measure a look at the large cluster without and with a network, and the loop that peers have beside it."""
    with kafka_double(*words) as near, kafka_double(*words, "--latency-ms", str(RTT_MS)) as far:
        doubles = {0: near, RTT_MS: far}
        bare = Runs([sys.executable, "-c", "pass"])
        looks = {ms: Runs(on(double)) for ms, double in doubles.items()}
        loops = {
            ms: Runs([sys.executable, str(LOOP), double.bootstrap_servers, str(LOOP_GROUPS)])
            for ms, double in doubles.items()
        }
        for warmed in (*looks.values(), *loops.values()):  # the double keeps its answers
            run(warmed.argv)
        gaps = json.loads(run([*on(near), "--format", "json"]).stdout)["gaps"]
        rss_mb = peak_mb(on(near))
        counted: dict[int, Counted] = {}
        own_s: list[float] = []
        dated_s: dict[int, list[float]] = {ms: [] for ms in doubles}
        for _ in range(rounds):
            bare.again()
            for ms, look in looks.items():
                doubles[ms].forget()
                look.again()
                counted[ms] = doubles[ms].count()
                own_s.append(counted[ms].cpu_s)
                dated_s[ms].append(span_s(counted[ms], TIME_LAG))
            for loop in loops.values():
                loop.again()
    print(
        f"\nLarge cluster ({' '.join(words) or '1,000 groups, 100,000 commits, 10,000 partitions, 3 brokers, 5 % lag'})"
    )
    print(
        f"median of {rounds}; the double took {1000 * statistics.median(own_s):.0f} ms CPU of its own beside each run"
    )
    for ms, look in looks.items():
        row(f"wall, cold process to report, {ms} ms round trip (best {look.best_wall_s:.2f} s)", f"{look.wall_s:.2f} s")
        search_s = statistics.median(dated_s[ms])
        row("  of it the search for the lag in time", f"{search_s:.2f} s")
        left_s = look.wall_s - search_s
        row("  without it, the lag in records", f"{left_s:.2f} s", f"<= {MOST_WALL_S[ms]} s", left_s <= MOST_WALL_S[ms])
    row(f"CPU above a bare interpreter ({1000 * bare.cpu_s:.0f} ms)", f"{looks[0].cpu_s - bare.cpu_s:.2f} s")
    row("peak memory", f"{rss_mb:.0f} MB", f"<= {MOST_RSS_MB} MB", rss_mb <= MOST_RSS_MB)
    row("things not seen (gaps)", str(len(gaps)))
    requests(counted[0])
    for ms, loop in loops.items():
        beside_loop(ms, looks[ms], loop)


def span_s(counted: Counted, names: tuple[str, ...]) -> float:
    """Return the seconds between the first and the last of some requests."""
    seen = [counted.seen_s[name] for name in names if name in counted.seen_s]
    return max((last for _, last in seen), default=0.0) - min((first for first, _ in seen), default=0.0)


def requests(counted: Counted) -> None:
    """Print what was asked, by its purpose; the busiest broker decides."""
    asked = {node: Counter(by_name) for node, by_name in counted.requests.items()}

    def most(names: tuple[str, ...]) -> int:
        return max(sum(n for name, n in one.items() if name in names) for one in asked.values())

    lag, times = most(RECORD_LAG), most(TIME_LAG)
    row("requests to the busiest broker, for the lag in records", str(lag), f"<= {MOST_REQUESTS}", lag <= MOST_REQUESTS)
    row("  for the lag in time", str(times))
    others = max(sum(n for name, n in one.items() if name not in RECORD_LAG + TIME_LAG) for one in asked.values())
    row("  for transactions and retention, where somebody lags", str(others))
    row("requests to all brokers", str(sum(sum(one.values()) for one in asked.values())))
    busiest = max(asked.values(), key=lambda one: sum(one.values()))
    print(f"    busiest: {', '.join(f'{name} {count}' for name, count in sorted(busiest.items()))}")


def beside_loop(ms: int, look: Runs, loop: Runs) -> None:
    """Print the ratio to one group per request, which is not waited for to its end."""
    told = [json.loads(taken.stdout) for taken in loop.taken]
    groups_s = statistics.median(one["groups_s"] / one["looked_at"] * one["groups"] for one in told)
    whole_s = groups_s + statistics.median(one["list_s"] for one in told)
    what = f"one group per request, {ms} ms (extrapolated from {told[0]['looked_at']} groups)"
    row(what, f"{whole_s:.1f} s")
    ratio = whole_s / look.wall_s
    row("  times as long as diag", f"{ratio:.0f} x", f">= {LEAST_LOOP_RATIO} x", ratio >= LEAST_LOOP_RATIO)


def beside_kafkas_own(rounds: int) -> None:
    """Measure diag and Kafka's own command on one real broker."""
    folder = folders.private_folder()
    try:
        server = services.start_kafka(folder / "kafka")
    except DiagError as error:
        print(f"\nKafka's own command: not measured, {error.message}")
        folders.remove(folder)
        return
    try:
        for groups in CLI_GROUPS:
            beside_kafkas_own_with(groups, server, rounds)
    finally:
        services.stop(server)
        folders.remove(folder)


def beside_kafkas_own_with(groups: int, server: KafkaServer, rounds: int) -> None:
    """Print the comparison for as many groups, which are made if need be."""
    made = [sys.executable, str(COMMIT), server.bootstrap_servers, str(groups), str(CLI_PARTITIONS)]
    subprocess.run(made, check=True)
    tool = [java().program, "-cp", class_path(kafka_jars()), *CLI, "--bootstrap-server", server.bootstrap_servers]
    cli = Runs([*tool, "--describe", "--all-groups", "--timeout", "60000"])
    look = Runs([*DIAG, "--bootstrap-servers", server.bootstrap_servers])
    run(look.argv)
    seen = len(set(re.findall(r"bench-\d+", run(cli.argv).stdout)))
    for _ in range(min(rounds, MOST_CLI_ROUNDS)):
        look.again()
        cli.again()
    print(f"\nReal broker, Kafka {server.version}: {groups} groups x {CLI_PARTITIONS} partitions")
    row("diag kafka-lag: wall, CPU", f"{look.wall_s:.2f} s, {look.cpu_s:.2f} s")
    row(f"kafka-consumer-groups ({seen} groups): wall, CPU", f"{cli.wall_s:.2f} s, {cli.cpu_s:.2f} s")
    ratio = cli.wall_s / look.wall_s
    row("  times as long as diag", f"{ratio:.1f} x", f">= {LEAST_CLI_RATIO} x", ratio >= LEAST_CLI_RATIO)
    row("  times as much CPU as diag", f"{cli.cpu_s / look.cpu_s:.1f} x")


def imports(rounds: int) -> None:
    """Measure what a command costs that reaches nobody, and which packages it spends that on."""
    bare = Runs([sys.executable, "-c", "pass"])
    look = Runs([*DIAG, "--bootstrap-servers", "127.0.0.1:1"])
    for _ in range(rounds):
        bare.again()
        look.again()
    ms = 1000 * (look.cpu_s - bare.cpu_s)
    print(f"\nA refused port: interpreter, imports and report, median of {rounds}")
    row("CPU above a bare interpreter", f"{ms:.0f} ms", f"<= {MOST_IMPORT_MS} ms", ms <= MOST_IMPORT_MS)
    argv = [sys.executable, "-X", "importtime", *look.argv[1:]]
    told = subprocess.run(argv, capture_output=True, text=True, check=False).stderr
    spent: Counter[str] = Counter()
    for self_us, name in re.findall(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)", told):
        spent[name.partition(".")[0]] += int(self_us)
    top = ", ".join(f"{name} {us / 1000:.0f}" for name, us in spent.most_common(5))
    print(f"    ms by package while importing ({sum(spent.values()) / 1000:.0f} in all): {top}")


def profile(words: list[str]) -> None:
    """Print where one look at the large cluster spends its time, the thread that asks Kafka by itself."""
    with kafka_double(*words) as double:
        run(on(double))
        subprocess.run(
            [sys.executable, str(Path(__file__).with_name("profiled.py")), *on(double)[3:]],
            stdout=subprocess.DEVNULL,
            check=False,
        )


def main() -> None:
    """Print every table, or the profile."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--profile", action="store_true", help="print where the time goes instead")
    parser.add_argument("--only", choices=["scale", "peer", "imports"], help="one of the tables")
    parser.add_argument("double", nargs="*", help="words for the double, after --, such as: -- --in-flight 20")
    told = parser.parse_args()
    if told.profile:
        profile(told.double)
        return
    tables = {
        "scale": lambda: scale(told.rounds, told.double),
        "peer": lambda: beside_kafkas_own(told.rounds),
        "imports": lambda: imports(told.rounds),
    }
    for name, table in tables.items():
        if told.only in (None, name):
            table()
    print(f"\n{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}")


if __name__ == "__main__":
    main()
