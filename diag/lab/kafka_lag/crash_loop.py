"""Members die at one record, are restarted, and die at it again; all their partitions pause each time."""

from __future__ import annotations

import contextlib
import random
import signal
import sys
from collections.abc import Iterator

from diag.lab import folders, process
from diag.lab.kafka_lag import _stream, _traffic
from diag.lab.servers import Servers

NEEDS = ("kafka",)
OPTIONS = ("--samples", "6", "--interval", "3.1", "--deadline", "30")
_AGE_S = 600.0
_OLD_RECORDS = 40


@contextlib.contextmanager
def broken(servers: Servers, *, seed: int = 0) -> Iterator[None]:
    """Have one or two members that die at one offset again and again, until the block ends."""
    assert servers.kafka is not None
    brokers, chance = servers.kafka.bootstrap_servers, random.Random(str(seed))  # noqa: S311  a scenario, no secret
    topic, group = _traffic.fresh("payments"), _traffic.fresh("ledger")
    partitions, members = chance.randint(3, 5), chance.randint(1, 2)
    poison, offset = chance.randrange(partitions), chance.randrange(5, _OLD_RECORDS - 5)
    program = [sys.executable, "-m", "diag.lab.kafka_lag._crashing_member"]
    with contextlib.ExitStack() as undo:
        folder = folders.private_folder()
        undo.callback(folders.remove, folder)
        undo.enter_context(
            _stream.topic_in_use(
                brokers,
                topic,
                group,
                partitions=partitions,
                old_records=_OLD_RECORDS,
                age_s=_AGE_S,
                per_s=chance.uniform(5, 20),
            )
        )
        for number in range(members):
            words = [*program, brokers, topic, group, str(poison), str(offset)]
            pid = process.spawn(words, log=folder / f"member-{number}.log")
            undo.callback(process.stop, pid, signal.SIGKILL)
        _stream.wait_for_commits(
            brokers,
            group,
            lambda committed: all(
                committed.get(number) == offset if number == poison else committed.get(number, 0) > _OLD_RECORDS
                for number in range(partitions)
            ),
        )
        yield
