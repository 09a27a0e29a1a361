"""What a broker's error means for the reader, and the exact line that would close the gap.

Source: Kafka protocol guide, "Error Codes"; Kafka documentation, "Authorization and ACLs".
"""

from __future__ import annotations

from kafka.errors import for_code

from diag.errors import Rung, SourceError
from diag.snapshots.base import Gap
from diag.sources.kafka.cluster import Session
from diag.text import ServerText, visible

_FIX = {
    "TopicAuthorizationFailedError": "grant {right} on topic {topic} to the user diag connects as",
    "GroupAuthorizationFailedError": "grant Describe on group {group} to the user diag connects as",
    "ClusterAuthorizationFailedError": "grant Describe on the cluster to the user diag connects as",
    "CoordinatorLoadInProgressError": "the coordinator is still reading its log: run diag again in a minute",
    "NotCoordinatorError": "the coordinator has just moved: run diag again",
    "NotLeaderOrFollowerError": "the leader has just moved: run diag again",
    "LeaderNotAvailableError": "no replica leads it: look at the brokers that hold it",
    "UnknownTopicOrPartitionError": "the topic was deleted; the group still has commits on it",
}


def refused(  # noqa: PLR0913  the words of one sentence
    fact: str,
    what: str,
    error_code: int,
    session: Session,
    *,
    group: ServerText | None = None,
    topic: ServerText | None = None,
    right: str = "Describe",
) -> Gap:
    """Return the gap for an error code of the broker; `group` or `topic` is what it was about."""
    name = for_code(error_code).__name__
    named = (group or topic or ServerText("")).raw
    fix = _FIX.get(name, "").format(group=named, topic=named, right=right)
    return Gap(
        source=session.target.kind,
        fact=fact,
        what=ServerText(f"{what} ({named})" if named else what),
        why=ServerText(name.removesuffix("Error")),
        fix=ServerText(fix),
        rung=Rung.AUTHORISE if "Authorization" in name else Rung.QUERY,
    )


def unread(fact: str, what: str, error: SourceError) -> Gap:
    """Return the gap for a broker that could not be read."""
    return Gap(
        source="kafka",
        fact=fact,
        what=ServerText(visible(what)),
        why=ServerText(error.message),
        fix=ServerText(error.fix),
        rung=error.rung,
    )
