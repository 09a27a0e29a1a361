"""A printed command asks the server that was looked at."""

from __future__ import annotations

import pytest

from diag.diagnosis.leading import led_to_the_same_server
from diag.findings import Risk, ShellCommand, Step, say
from diag.snapshots.base import Target
from diag.text import ServerText

AGAIN = ("--redis-url=redis://cache-1:6380/2",)
STORIES = {
    "a look": (("diag", "cache-hit"), False, ("diag", "cache-hit", *AGAIN)),
    "a book is on nobody's server": (("diag", "runbook", "pattern"), False, ("diag", "runbook", "pattern")),
    "the server's own client": (
        ("redis-cli", "UNLINK", ("", ServerText("-n x"))),
        False,
        ("redis-cli", "-h", "cache-1", "-p", "6380", "-n", "2", "UNLINK", ("", ServerText("-n x"))),
    ),
    "the same, encrypted": (
        ("redis-cli", "INFO"),
        True,
        ("redis-cli", "-h", "cache-1", "-p", "6380", "-n", "2", "--tls", "INFO"),
    ),
    "another system's client": (("psql", "-l"), False, ("psql", "-l")),
}


@pytest.mark.parametrize(("argv", "encrypted", "led"), STORIES.values(), ids=STORIES.keys())
def test_where_it_leads(argv, encrypted, led):
    step = Step(title=say("Look"), risk=Risk.READ_ONLY, expect=say("seen"), command=ShellCommand(argv))
    redis = Target(kind="redis", address="cache-1:6380/2", encrypted=encrypted)
    assert led_to_the_same_server(step, AGAIN, redis).command == ShellCommand(led)


def test_without_a_server_it_stays_as_it_is():
    step = Step(title=say("Look"), risk=Risk.READ_ONLY, expect=say("seen"), command=ShellCommand(("redis-cli", "INFO")))
    assert led_to_the_same_server(step, (), None) == step
