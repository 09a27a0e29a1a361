"""First looks at a consumer group that change nothing."""

from diag.findings import Risk, ShellCommand, Step, say
from diag.text import ServerText


def look_at_group(group: ServerText) -> tuple[Step, ...]:
    """Return the read-only steps that come before any other."""
    return (
        Step(
            title=say("Watch whether the lag of {group} grows or drains", group=group),
            risk=Risk.READ_ONLY,
            command=ShellCommand(("diag", "kafka-lag", "--group", group, "--samples", "6", "--interval", "5")),
            expect=say("half a minute later the trend is clear, partition by partition"),
        ),
    )
