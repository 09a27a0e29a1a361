"""What a broker's error means for the reader, and the exact line that would close the gap.

Source: Kafka protocol guide, "Error Codes"; Kafka documentation, "Authorization and ACLs".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from difflib import get_close_matches
from fnmatch import fnmatchcase

from kafka.errors import for_code

from diag.errors import Rung, SourceError
from diag.snapshots.base import Gap, Scope
from diag.snapshots.kafka import CommittedOffset, ConsumerGroup
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


def unseen_groups(
    session: Session, scope: Scope, seen: Sequence[ServerText], others: AbstractSet[str] = frozenset()
) -> Iterator[Gap]:
    """Yield what ListGroups does not say: groups that were asked for and are not there, or may not be seen.

    `others` are the visible groups that were not asked for; a name near to one of them may be a slip.

    It leaves out, in silence, every group this user may not describe (KafkaApis, ListGroups). With
    some groups in sight that is a remark; with none, nothing is known about groups at all.
    """
    for glob in scope.groups:
        if not any(fnmatchcase(name.raw, glob) for name in seen):
            why = "no group of that name is visible to this user"
            yield _unseen("groups", f"group {glob}", why, session, _near([glob], others))
    if not session.sees_every_group:
        what = "groups that this user may not describe"
        yield _unseen("other_groups" if seen else "groups", what, "the broker leaves them out in silence", session)


def groups_without_commits(
    groups: Sequence[ConsumerGroup], committed: set[ServerText], known: Sequence[Gap]
) -> Iterator[Gap]:
    """Yield the groups that show no commit at all: OffsetFetch leaves out topics this user may not describe.

    An empty group lives by its commits alone, so there they are hidden; a live one may not have
    committed yet, which is a remark and no more.
    """
    refused_groups = {gap.what.raw for gap in known if gap.fact == "commits"}
    for group in groups:
        if group.group in committed or any(f"({group.group.raw})" in what for what in refused_groups):
            continue
        yield Gap(
            source="kafka",
            fact="commits" if group.state == "Empty" else "uncommitted",
            what=ServerText(f"the commits of group {group.group.raw}"),
            why=ServerText("none is visible; the broker leaves out topics that this user may not describe"),
            fix=ServerText("if it does commit: grant Describe on its topics to the user diag connects as"),
        )


def no_such_topic(scope: Scope, others: AbstractSet[str] = frozenset()) -> Gap:
    """Return the gap for topics that were asked for and that no visible group has commits on."""
    return Gap(
        source="kafka",
        fact="commits",
        what=ServerText(f"commits on {', '.join(scope.topics)}"),
        why=ServerText("no visible group has commits on a topic of that name"),
        fix=ServerText(
            f"{_near(scope.topics, others)}check the name; or grant Describe on the topic to the user diag connects as"
        ),
    )


def _near(asked: Sequence[str], others: AbstractSet[str]) -> str:
    """Return a hint at the names most like what was asked for; empty without any."""
    written = {name.lower(): name for name in sorted(others)}
    near = [written[name] for one in asked for name in get_close_matches(one.lower(), written, n=3)]
    return f"did you mean: {', '.join(dict.fromkeys(near))}? Else " if near else ""


def from_the_future(commits: Sequence[CommittedOffset], now: datetime) -> Iterator[Gap]:
    """Yield a gap when records are dated ahead of our clock: their time lag is unknown, and not zero."""
    ahead = [commit for commit in commits if commit.record_at is not None and commit.record_at > now]
    if ahead:
        yield Gap(
            source="kafka",
            fact="record_times",
            what=ServerText(f"the time lag on {len(ahead)} partitions (first: {ahead[0].on.topic.raw})"),
            why=ServerText("the next record is dated in the future"),
            fix=ServerText("compare the clocks of the producers, the brokers and this machine"),
        )


def _unseen(fact: str, what: str, why: str, session: Session, near: str = "") -> Gap:
    fix = near + (
        "check the name; or grant Describe on the group"
        if session.sees_every_group
        else ("grant Describe on the cluster to the user diag connects as, or on each group that matters")
    )
    return Gap(source="kafka", fact=fact, what=ServerText(what), why=ServerText(why), fix=ServerText(fix))
