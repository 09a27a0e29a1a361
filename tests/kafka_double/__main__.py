"""Run the double: `python -m kafka_double --groups 1000 …` in this folder's parent.

The first line it prints is JSON with its bootstrap servers. Each line on standard input gets
one in return: `count` tells requests by API of each broker and the CPU time so far, `reset`
forgets them first. It ends, with a last count, when its standard input does.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import fields

from kafka_double.answers import Cluster
from kafka_double.server import Listeners
from kafka_double.versions import spoken
from kafka_double.world import Shape, World


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for one in fields(Shape):
        parser.add_argument(f"--{one.name.replace('_', '-')}", type=type(one.default), default=one.default)
    parser.add_argument("--latency-ms", type=float, default=0.0, help="of each round trip")
    parser.add_argument("--release", default="4.3", help="which Kafka it plays, by the versions it speaks")
    parser.add_argument("--at-most", action="append", default=[], metavar="API=VERSION", help="OffsetFetch=7; -1: none")
    parser.add_argument("--at-least", action="append", default=[], metavar="API=VERSION", help="its oldest version")
    return parser.parse_args()


def _versions(words: list[str]) -> dict[str, int]:
    return {name: int(version) for name, _, version in (word.partition("=") for word in words)}


def main() -> None:
    """Serve until standard input ends."""
    told = _arguments()
    shape = Shape(**{one.name: getattr(told, one.name) for one in fields(Shape)})
    listeners = Listeners(shape.brokers, told.latency_ms / 1000)
    cluster = Cluster(
        World(shape), spoken(told.release, _versions(told.at_most), _versions(told.at_least)), listeners.ports
    )
    servers = ",".join(f"127.0.0.1:{port}" for port in listeners.ports.values())
    print(json.dumps({"bootstrap_servers": servers, "pid": os.getpid()}), flush=True)  # noqa: T201  its protocol
    before_s = time.process_time()

    def told_so_far() -> None:
        requests = {str(node): dict(sorted(counted.items())) for node, counted in listeners.requests.items()}
        used_s = round(time.process_time() - before_s, 4)
        answer = {"requests": requests, "cpu_s": used_s, "seen_s": listeners.seen_s}
        print(json.dumps(answer), flush=True)  # noqa: T201

    def command() -> bool:
        nonlocal before_s
        lines = os.read(0, 4096).decode().split()
        for word in lines:
            if word == "reset":
                listeners.forget()
                before_s = time.process_time()
            told_so_far()
        if not lines:
            told_so_far()
        return bool(lines)

    listeners.serve(cluster, 0, command)


if __name__ == "__main__":
    sys.exit(main())
