"""A printed command asks the server that was looked at, not whatever is the default where it is pasted."""

from __future__ import annotations

import msgspec

from diag.findings import ShellCommand, Step
from diag.snapshots.base import Target


def led_to_the_same_server(step: Step, again: tuple[str, ...], redis: Target | None) -> Step:
    """Add the way to the server to a `diag` or `redis-cli` command; `again` are diag's own words for it."""
    command = step.command
    if not isinstance(command, ShellCommand):
        return step
    if command.argv[0] == "diag" and command.argv[1] != "runbook":  # a book is on nobody's server
        return msgspec.structs.replace(step, command=ShellCommand((*command.argv, *again)))
    if command.argv[0] == "redis-cli" and redis is not None:
        led = ShellCommand(("redis-cli", *_way(redis), *command.argv[1:]))
        return msgspec.structs.replace(step, command=led)
    return step


def _way(redis: Target) -> tuple[str, ...]:
    """Return the options for the server and the logical database; user and password are for the person to add."""
    address, _, database = redis.address.rpartition("/")
    host, _, port = address.rpartition(":")
    where = ("-h", host, "-p", port) if host else ()
    return (*where, *(("-n", database) if database != "0" else ()), *(("--tls",) if redis.encrypted else ()))
