"""What to do first where memory is short, whatever it has led to."""

from diag.findings import Phrase, Risk, Step, say
from diag.findings.commands import redis_cli

WHAT_IS_BIG = Step(
    title=say("See what takes the memory, on a replica if there is one: this reads every key"),
    risk=Risk.READ_ONLY,
    command=redis_cli("--memkeys", "-i", "0.01"),
    expect=say("one family that has grown; compare it with the last release or import"),
)


def more_memory(expect: Phrase) -> Step:
    """Raise the limit; `expect` is how one sees that it was enough."""
    return Step(
        title=say("If the host has memory to spare, raise maxmemory (CONFIG SET maxmemory), leaving room for a fork"),
        risk=Risk.REVERSIBLE,
        expect=expect,
    )
