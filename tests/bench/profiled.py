"""Run `diag` with the words given, under cProfile; `python tests/bench/kafka_lag.py --profile` calls it.

Prints to standard error: the main thread, and the thread that reads Kafka by itself.
"""

from __future__ import annotations

import cProfile
import os
import pstats
import sys
from typing import Any, NoReturn

from diag.__main__ import main
from diag.sources import kafka

_LINES = 30


def printed(profile: cProfile.Profile, title: str) -> None:
    """Print a profile, by cumulated and by own time."""
    for order in ("cumulative", "tottime"):
        print(f"== {title}, by {order}", file=sys.stderr)
        pstats.Stats(profile, stream=sys.stderr).sort_stats(order).print_stats(_LINES)


def profiled(read: Any) -> Any:
    """Return a reader of facts that prints its own profile."""

    def reader(*arguments: Any, **named: Any) -> Any:
        profile = cProfile.Profile()
        try:
            return profile.runcall(read, *arguments, **named)
        finally:
            printed(profile, "reading Kafka")

    return reader


def run() -> None:
    """Profile until the command ends, however it does."""
    profile, leave = cProfile.Profile(), os._exit

    def last(code: int) -> NoReturn:
        profile.disable()
        printed(profile, "the command")
        sys.stderr.flush()
        leave(code)

    kafka.kafka_lag = profiled(kafka.kafka_lag)
    os._exit = last
    profile.enable()
    try:
        main()
    except SystemExit as ended:
        last(int(ended.code or 0))
    last(0)


if __name__ == "__main__":
    sys.argv = ["diag", *sys.argv[1:]]
    run()
