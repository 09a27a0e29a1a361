"""Consumer groups of every protocol: who they are, how they stand, and what their members own.

Classic groups, KIP-848 groups and share groups each have their own describe request, and each
request takes the others' groups for dead or unknown: so a group is asked by its own protocol,
and where its protocol is not known, the second request has the last word. Requests are made
here and sent by the caller, who puts them into one wave with others.
Source: Kafka protocol guide (API keys 15, 16, 69, 77, 90); KIP-518, KIP-848, KIP-932, KIP-1043, KIP-1226.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Final

from kafka.errors import (
    GroupIdNotFoundError,
    KafkaError,
    NoError,
    TopicAuthorizationFailedError,
)
from kafka.protocol.admin.groups import DescribeGroupsRequest, DescribeGroupsResponse, ListGroupsRequest
from msgspec.structs import replace

from diag.errors import Rung, SourceError
from diag.snapshots.base import NOTHING, Gap, Scope
from diag.snapshots.kafka import CommittedOffset, ConsumerGroup, Member, Offset, Partition, TopicPartition
from diag.sources.kafka.assignments import Topics, assigned, named
from diag.sources.kafka.broker import Answers, Message, exchange
from diag.sources.kafka.cluster import Session
from diag.sources.kafka.gaps import refused, unread
from diag.sources.kafka.messages import (
    ConsumerGroupDescribeRequest,
    ConsumerGroupDescribeResponse,
    DescribeShareGroupOffsetsRequest,
    ShareGroupDescribeRequest,
)
from diag.text import ServerText

Coordinated = dict[int, list[ConsumerGroup]]
"""Groups by the broker that coordinates them: whoever lists a group coordinates it."""

_WORDS: Final = (
    *("Stable", "Empty", "Dead"),  # every protocol
    *("PreparingRebalance", "CompletingRebalance"),  # classic
    *("Assigning", "Reconciling"),  # KIP-848
)
_STATES: Final = {word.lower(): word for word in _WORDS}  # 3.7 writes KIP-848 states in lower case
_UNKNOWN: Final = "unknown"
_CONSUMERS: Final = ("consumer", "")  # protocol types; empty: it only ever committed. Others are Connect and the like
_ON_TOPICS: Final = "grant Describe on every topic that group {} reads to the user diag connects as"
_STREAMS: Final = "streams groups (KIP-1071)"
_NO_OFFSET: Final = -1  # nobody has read the share partition yet
_NOT_TOLD: Final = -1
_TOO_OLD: Final = {
    "classic": ("members of classic groups", "DescribeGroups", "1.0"),
    "consumer": ("members of KIP-848 groups", "ConsumerGroupDescribe (KIP-848)", "3.7"),
    "share": ("members of share groups", "ShareGroupDescribe (KIP-932)", "4.1"),
}
_NO_STARTS: Final = ("start offsets of share groups", "DescribeShareGroupOffsets (KIP-932)", "4.1")


def matches(name: str, globs: tuple[str, ...]) -> bool:
    """Return whether a group or topic was asked for; without globs, every one is."""
    return not globs or any(fnmatchcase(name, glob) for glob in globs)


def listed(session: Session, scope: Scope, gaps: list[Gap], others: set[str] | None = None) -> Coordinated:
    """Ask every broker which groups it coordinates: name, protocol and state, no members yet.

    The names of groups that were not asked for are added to `others`.
    """
    requests: dict[int, list[Message]] = {node: [ListGroupsRequest()] for node in session.brokers}
    found: Coordinated = {}
    left_out: set[str] = set()
    for node, answered in exchange(session.brokers, requests, session.probe).items():
        if isinstance(answered, SourceError):
            gaps.append(unread("groups", f"the groups of broker {node}", answered))
            continue
        (answer,) = answered
        if answer.error_code:  # those that it has loaded already come with it
            gaps.append(refused("groups", f"the groups of broker {node}", answer.error_code, session))
        found[node] = list(_read(answer.groups, scope, left_out))
        if others is not None:
            others |= {group.group_id for group in answer.groups if not matches(group.group_id, scope.groups)}
    gaps += _unread_kinds(left_out, seen=any(found.values()))
    return found


def _read(told: Iterable[Message], scope: Scope, left_out: set[str]) -> Iterator[ConsumerGroup]:
    for group in told:
        protocol = (group.group_type or "classic").lower()  # brokers before 3.8 do not tell
        if not matches(group.group_id, scope.groups):
            continue
        if protocol not in _DESCRIBE:
            left_out.add(protocol)
        elif protocol != "classic" or group.protocol_type in _CONSUMERS:
            yield ConsumerGroup(
                group=ServerText(group.group_id), state=_state(group.group_state), protocol=protocol, members=None
            )


def _unread_kinds(kinds: set[str], *, seen: bool) -> Iterator[Gap]:
    """Name what was left out, once for each kind; a remark where other groups were read."""
    words = {_STREAMS if kind == "streams" else "groups of a type that diag does not know" for kind in kinds}
    for what in sorted(words):
        yield Gap(
            source="kafka",
            fact="other_groups" if seen else "groups",
            what=ServerText(what),
            why=ServerText("streams groups are not read yet" if what == _STREAMS else "they are not read"),
        )


def describe_requests(session: Session, listed: Coordinated) -> dict[int, list[Message]]:
    """Return the requests for state, epochs and members: one for each protocol and coordinator."""
    return {node: list(_describes(session, node, groups)) for node, groups in listed.items()}


def _describes(session: Session, node: int, groups: Sequence[ConsumerGroup]) -> Iterator[Message]:
    for protocol, request in _DESCRIBE.items():
        names = [group.group.raw for group in groups if group.protocol == protocol]
        if names and _speaks(session, node, asked := request(names)):
            yield asked


def _classic(names: list[str]) -> Message:
    return DescribeGroupsRequest(groups=names)


def _consumer(names: list[str]) -> Message:
    return ConsumerGroupDescribeRequest(group_ids=names)


def _share(names: list[str]) -> Message:
    return ShareGroupDescribeRequest(group_ids=names, min_version=1)  # 0 was a preview of 4.0


_DESCRIBE: Final[dict[str, Callable[[list[str]], Message]]] = {
    "classic": _classic,
    "consumer": _consumer,
    "share": _share,
}


def _speaks(session: Session, node: int, request: Message) -> bool:
    try:
        session.brokers[node].versions.api_version(request)
    except KafkaError:
        return False
    return True


def described(session: Session, listed: Coordinated, answers: Answers, gaps: list[Gap]) -> tuple[ConsumerGroup, ...]:
    """Return the listed groups with what the answers to `describe_requests` say of them.

    A group that could not be described keeps the state of the list, has `members` None and a gap;
    of a right whose lack a gap names already, nothing more is said. One more round trip is made
    only when a group is unknown to the request of the protocol it was listed with.
    """
    found = {group.group.raw: group for groups in listed.values() for group in groups}
    reader = _Reader(session, found, gaps)
    again: dict[int, list[Message]] = {}
    for node, groups in listed.items():
        answered = answers.get(node, [])
        if isinstance(answered, SourceError):
            if groups:
                gaps.append(unread("members", f"the members of the groups of broker {node}", answered))
            continue
        gaps += _too_old(session, node, groups, gaps)
        names = [name for answer in answered for name in reader.read(answer)]
        others = _consumer([name for name in names if found[name].protocol == "classic"])
        if others.group_ids and _speaks(session, node, others):
            again[node] = [others]
            names = [name for name in names if found[name].protocol != "classic"]
        gaps += map(_vanished, names)
    for node, answered in exchange(session.brokers, again, session.probe).items() if again else ():
        if isinstance(answered, SourceError):
            gaps.append(unread("members", f"the members of the groups of broker {node}", answered))
        else:
            gaps += [_vanished(name) for answer in answered for name in reader.read(answer)]
    return tuple(found.values())


class _Reader:
    """Puts descriptions in the place of what the list says."""

    def __init__(self, session: Session, found: dict[str, ConsumerGroup], gaps: list[Gap]) -> None:
        self._session, self._found, self._gaps = session, found, gaps
        self._denied = _denied(gaps)
        self._topics = Topics()

    def read(self, answer: Message) -> Iterator[str]:
        """Take over every described group; yield the names of those the request does not know."""
        classic = isinstance(answer, DescribeGroupsResponse)
        for group in answer.groups:
            before = self._found.get(group.group_id)
            if before is None:  # nobody asked for it
                continue
            vanished = group.error_code == GroupIdNotFoundError.errno
            if vanished or (classic and group.group_state == "Dead" and before.state != "Dead"):
                yield group.group_id
            elif group.error_code != NoError.errno:
                self._refuse(before.group, group.error_code)
            elif classic:
                self._found[group.group_id] = self._classic(before, group)
            else:
                self._found[group.group_id] = self._epochal(
                    before, group, isinstance(answer, ConsumerGroupDescribeResponse)
                )

    def _refuse(self, group: ServerText, error_code: int) -> None:
        gap = refused("members", "the members of a group", error_code, self._session, group=group)
        if error_code == TopicAuthorizationFailedError.errno:  # of one topic that a member reads; it does not say which
            gap = replace(gap, fix=ServerText(_ON_TOPICS.format(group.raw)))
        if gap.rung is not Rung.AUTHORISE or gap.fix.raw not in self._denied:
            self._gaps.append(gap)

    def _classic(self, before: ConsumerGroup, told: Message) -> ConsumerGroup:
        return ConsumerGroup(
            group=before.group,
            state=_state(told.group_state),
            members=tuple(
                Member(
                    member_id=ServerText(member.member_id),
                    client_id=ServerText(member.client_id),
                    host=ServerText(member.client_host.lstrip("/")),
                    assigned=self._topics.sorted(assigned(member.member_assignment)),
                )
                for member in told.members
            ),
            assignor=ServerText(told.protocol_data) if told.protocol_data else NOTHING,
        )

    def _epochal(self, before: ConsumerGroup, told: Message, has_target: bool) -> ConsumerGroup:
        return ConsumerGroup(
            group=before.group,
            state=_state(told.group_state),
            protocol="consumer" if has_target else "share",
            members=tuple(self._member(member, has_target) for member in told.members),
            epoch=told.group_epoch,
            assignment_epoch=told.assignment_epoch,
            assignor=ServerText(told.assignor_name) if told.assignor_name else NOTHING,
        )

    def _member(self, told: Message, has_target: bool) -> Member:
        return Member(
            member_id=ServerText(told.member_id),
            client_id=ServerText(told.client_id),
            host=ServerText(told.client_host.lstrip("/")),
            assigned=self._topics.sorted(named(told.assignment)),
            wanted=self._topics.sorted(named(told.target_assignment)) if has_target else None,
            epoch=told.member_epoch,
        )


def share_offset_requests(session: Session, listed: Coordinated) -> dict[int, list[Message]]:
    """Return the requests for the start offsets of share groups: one for each coordinator that has some."""
    found: dict[int, list[Message]] = {}
    of_group = DescribeShareGroupOffsetsRequest.Group
    for node, groups in listed.items():
        # No topics (null) stands for all of them; an empty list is answered with an empty one.
        asked = [of_group(group_id=group.group.raw, topics=None) for group in groups if group.protocol == "share"]
        request = DescribeShareGroupOffsetsRequest(groups=asked)
        if asked and _speaks(session, node, request):
            found[node] = [request]
    return found


def share_commits(
    session: Session, scope: Scope, listed: Coordinated, answers: Answers, gaps: list[Gap]
) -> tuple[CommittedOffset, ...]:
    """Return the start offset of every share partition that somebody has read, with the broker's own lag.

    That lag is not the distance to the log end: between the start offset and the end, records that
    are acknowledged already do not count, and the start offset follows them late.
    """
    commits: list[CommittedOffset] = []
    denied = _denied(gaps)
    for node, groups in listed.items():
        names = {group.group.raw: group.group for group in groups if group.protocol == "share"}
        answered = answers.get(node, [])
        if not names:
            continue
        if isinstance(answered, SourceError):
            gaps.append(unread("commits", f"the start offsets of the share groups of broker {node}", answered))
        elif not answered:
            gaps.append(_older("commits", *_NO_STARTS))
        for answer in answered if isinstance(answered, list) else ():
            for group in answer.groups:
                if (name := names.get(group.group_id)) is None:  # nobody asked for it
                    continue
                if group.error_code == NoError.errno:
                    commits += _starts(session, scope, name, group.topics, gaps)
                    continue
                gap = refused("commits", "the commits of a group", group.error_code, session, group=name)
                if gap.rung is not Rung.AUTHORISE or gap.fix.raw not in denied:
                    gaps.append(gap)
    return tuple(commits)


def _starts(
    session: Session, scope: Scope, group: ServerText, topics: Iterable[Message], gaps: list[Gap]
) -> Iterator[CommittedOffset]:
    for topic in topics:
        if not matches(topic.topic_name, scope.topics):
            continue
        name = ServerText(topic.topic_name)
        for partition in topic.partitions:
            if partition.error_code:
                gaps.append(refused("commits", "start offsets on a topic", partition.error_code, session, topic=name))
            elif partition.start_offset != _NO_OFFSET:
                yield CommittedOffset(
                    group=group,
                    on=TopicPartition(name, Partition(partition.partition_index)),
                    offset=Offset(partition.start_offset),
                    broker_lag_records=partition.lag if partition.lag != _NOT_TOLD else None,
                )


def _state(said: str | None) -> str:
    return _STATES.get((said or "").lower(), _UNKNOWN)


def _denied(gaps: Iterable[Gap]) -> set[str]:
    """Return the grants that gaps already ask for."""
    return {gap.fix.raw for gap in gaps if gap.rung is Rung.AUTHORISE}


def _too_old(session: Session, node: int, groups: Sequence[ConsumerGroup], known: Sequence[Gap]) -> list[Gap]:
    """Name, once for the cluster, the protocols whose groups a broker lists but cannot describe."""
    protocols = {group.protocol for group in groups} & _TOO_OLD.keys()
    lacking = [_TOO_OLD[one] for one in sorted(protocols) if not _speaks(session, node, _DESCRIBE[one]([]))]
    found = [_older("members", *words) for words in lacking]
    return [gap for gap in found if gap not in known]


def _older(fact: str, what: str, request: str, since: str) -> Gap:
    return Gap(
        source="kafka",
        fact=fact,
        what=ServerText(what),
        why=ServerText(f"their coordinator does not answer {request}"),
        fix=ServerText(f"brokers from {since} on do; the state of the groups is from ListGroups"),
    )


def _vanished(name: str) -> Gap:
    return Gap(
        source="kafka",
        fact="members",
        what=ServerText(f"the members of a group ({name})"),
        why=ServerText("its coordinator listed it, and then knew no such group"),
        fix=ServerText("it was deleted or changes its protocol just now: run diag again"),
        rung=Rung.QUERY,
    )
