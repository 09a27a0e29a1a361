"""Steps that many findings about a consumer group share: a first look that changes nothing, and a start."""

import re

from diag.findings import Risk, ShellCommand, Step, say
from diag.text import ServerText


def look_at_group(group: ServerText) -> tuple[Step, ...]:
    """Return the read-only steps that come before any other."""
    return (
        Step(
            title=say("Watch whether the lag of {group} grows or drains", group=group),
            risk=Risk.READ_ONLY,
            command=ShellCommand(("diag", "kafka-lag", ("--group=", _exactly(group)), "--samples=6", "--interval=5")),
            expect=say("half a minute later the trend is clear, partition by partition"),
        ),
    )


def start_consumers(group: ServerText) -> Step:
    """Return the step that brings the members back, at the offsets where they stopped."""
    return Step(
        title=say("Start the consumers of {group} again; change no offset", group=group),
        risk=Risk.REVERSIBLE,
        expect=say("the state becomes Stable and the committed offsets move on from where they stopped"),
    )


def _exactly(name: ServerText) -> ServerText:
    """Return a glob that matches this name and nothing else."""
    return ServerText(re.sub(r"([*?[])", r"[\1]", name.raw))
