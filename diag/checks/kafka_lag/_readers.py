"""Who reads a topic now, and steps with Kafka's own tools, pointed at the cluster that was looked at."""

from diag.findings import Phrase, Risk, ShellCommand, Step
from diag.snapshots.base import Target
from diag.snapshots.kafka import ConsumerGroup
from diag.text import ServerText

Word = str | tuple[str, ServerText]


def reads(group: ConsumerGroup | None, topic: ServerText) -> bool | None:
    """Say whether a member owns a partition of the topic; None while members or what they own are not known.

    A group whose members own other topics only has left this one: its commits on it are a remainder.
    """
    if group is None or group.members is None:
        return None
    owned = {on.topic for member in group.members for on in member.assigned}
    return topic in owned if owned or not group.members else None


def kafka_tool(program: str, target: Target, *words: Word) -> ShellCommand:
    """Return a command of Kafka's own scripts for the same cluster."""
    return ShellCommand((program, ("--bootstrap-server=", ServerText(target.address)), *words))


def look(title: Phrase, command: ShellCommand | None, expect: Phrase) -> Step:
    """Return a step that changes nothing."""
    return Step(title=title, risk=Risk.READ_ONLY, command=command, expect=expect)


def by_person(title: Phrase, risk: Risk, expect: Phrase) -> Step:
    """Return a step for which there is no command that is the same everywhere."""
    return Step(title=title, risk=risk, expect=expect)
