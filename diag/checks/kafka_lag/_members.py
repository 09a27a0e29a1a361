"""Steps that look at the members of a group, and none that changes it."""

from diag.checks.kafka_lag._readers import kafka_tool
from diag.findings import Risk, Step, say
from diag.snapshots.base import Target
from diag.text import ServerText


def show_members(target: Target, group: ServerText) -> Step:
    """Return the step that lists members, their hosts and their partitions."""
    return Step(
        title=say("Show which member of {group} owns which partitions, and on which host", group=group),
        risk=Risk.READ_ONLY,
        command=kafka_tool(
            "kafka-consumer-groups.sh", target, "--describe", "--members", "--verbose", ("--group=", group)
        ),
        expect=say("one line for each member; one without partitions reads nothing"),
    )
