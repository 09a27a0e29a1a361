"""How to ask the very server again, with redis-cli."""

from diag.findings import ShellCommand
from diag.snapshots.base import Target
from diag.text import KeyText


def redis_cli(target: Target, *words: str | KeyText) -> ShellCommand:
    """Return the command for the server and logical database that was looked at; a key stays one argument."""
    address, _, database = target.address.rpartition("/")
    host, _, port = address.rpartition(":")
    where = ("-h", host, "-p", port, *(("-n", database) if database != "0" else ()))
    encrypted = ("--tls",) if target.encrypted else ()
    said = tuple(("", word) if isinstance(word, KeyText) else word for word in words)
    return ShellCommand(("redis-cli", *where, *encrypted, *said))
