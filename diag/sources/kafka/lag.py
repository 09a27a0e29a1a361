"""Take `KafkaLag`: groups, then their commits, and only then the ends of the partitions.

The order makes a negative lag impossible. Each wave is one round trip to all brokers at once;
an error on one group, topic or broker becomes a gap and leaves the rest alone.
Source: KIP-709 (batched OffsetFetch), KIP-79 (ListOffsets), Kafka protocol guide.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any

from kafka.errors import KafkaError
from kafka.protocol.admin.groups import DescribeGroupsRequest, ListGroupsRequest
from kafka.protocol.consumer.group import OffsetFetchRequest
from kafka.protocol.consumer.metadata import ConsumerProtocolAssignment
from kafka.protocol.consumer.offsets import ListOffsetsRequest, OffsetSpec
from kafka.protocol.metadata import MetadataRequest

from diag.errors import Rung, SourceError, Unreadable
from diag.snapshots.base import Gap, Scope
from diag.snapshots.kafka import (
    CommittedOffset,
    ConsumerGroup,
    KafkaLag,
    LogEnds,
    Member,
    Offset,
    Partition,
    TopicPartition,
)
from diag.sources.kafka.broker import Message, exchange
from diag.sources.kafka.cluster import Session
from diag.sources.kafka.gaps import (
    from_the_future,
    groups_without_commits,
    no_such_topic,
    refused,
    unread,
    unseen_groups,
)
from diag.sources.kafka.record_times import with_record_times
from diag.text import ServerText

_BATCHED_SINCE = 8  # OffsetFetch version (brokers from 3.0)
_METADATA, _LIST_OFFSETS = 12, 7  # newest versions this module was tested with
_READ_GROUP_TYPES = ("", "classic", "consumer")
_NO_OFFSET = -1

Coordinated = dict[int, list[ConsumerGroup]]
"""Groups by the broker that coordinates them: whoever lists a group coordinates it."""


def kafka_lag(session: Session, scope: Scope) -> KafkaLag:
    """Read every group's lag. Raises a `SourceError` only when nothing at all can be read."""
    started = time.monotonic()
    gaps = list(session.gaps)
    listed = _listed(session, scope, gaps)
    gaps += unseen_groups(session, scope, [group.group for groups in listed.values() for group in groups])
    commits, answered = _committed(session, scope, listed, gaps)
    groups = _described(session, listed, gaps)
    if scope.topics and not commits:
        gaps.append(no_such_topic(scope))
    if not scope.topics:
        silent = [group for group in groups if group.group in answered]
        gaps += groups_without_commits(silent, {commit.group for commit in commits}, gaps)
    leaders = _leaders(session, {commit.on.topic for commit in commits}, gaps)
    wanted = {commit.on for commit in commits} & leaders.keys()
    ends = _ends(session, {on: leaders[on] for on in wanted}, gaps)
    observed_at = datetime.now(UTC)  # of the ends: what comes later takes its time and must not bend the rates
    commits, _ = with_record_times(session, commits, ends, leaders, gaps)
    return KafkaLag(
        target=session.target,
        observed_at=observed_at,
        took_s=time.monotonic() - started,
        gaps=tuple(dict.fromkeys((*gaps, *from_the_future(commits, observed_at)))),
        groups=groups,
        commits=commits,
        log_ends=tuple(ends.values()),
        cluster_id=ServerText(session.cluster_id),
    )


def _ask(
    session: Session, requests: Mapping[int, list[Message]], gaps: list[Gap], fact: str, what: str
) -> Iterator[tuple[int, int, Message]]:
    """Exchange one wave; yield (broker id, place of the request, answer). A broker's failure becomes a gap."""
    for node, answers in exchange(session.brokers, requests, session.probe).items():
        if isinstance(answers, SourceError):
            gaps.append(unread(fact, f"{what} of broker {node}", answers))
        else:
            yield from ((node, place, answer) for place, answer in enumerate(answers))


def _listed(session: Session, scope: Scope, gaps: list[Gap]) -> Coordinated:
    requests: dict[int, list[Message]] = {node: [ListGroupsRequest()] for node in session.brokers}
    listed: Coordinated = {}
    for node, _, answer in _ask(session, requests, gaps, "groups", "the groups"):
        if answer.error_code:
            gaps.append(refused("groups", f"the groups of broker {node}", answer.error_code, session))
            continue
        listed[node] = [
            ConsumerGroup(
                group=ServerText(group.group_id),
                state=group.group_state or "",
                protocol=(group.group_type or "classic").lower(),
                members=None,
            )
            for group in answer.groups
            if (group.group_type or "").lower() in _READ_GROUP_TYPES
            and group.protocol_type in ("consumer", "")  # empty: it only ever committed
            and _matches(group.group_id, scope.groups)
        ]
    return listed


def _matches(name: str, globs: tuple[str, ...]) -> bool:
    return not globs or any(fnmatchcase(name, glob) for glob in globs)


def _committed(
    session: Session, scope: Scope, listed: Coordinated, gaps: list[Gap]
) -> tuple[tuple[CommittedOffset, ...], set[ServerText]]:
    """Read the commits; return them and the groups whose coordinator answered."""
    requests: dict[int, list[Message]] = {}
    for node, groups in listed.items():
        try:
            requests[node] = _offset_fetches(session, node, groups) if groups else []
        except KafkaError:
            why = Unreadable("the broker speaks no version of OffsetFetch that diag does", rung=Rung.QUERY)
            gaps.append(unread("commits", f"the commits of the groups of broker {node}", why))
    commits: list[CommittedOffset] = []
    answered: set[ServerText] = set()
    for node, place, answer in _ask(session, requests, gaps, "commits", "the commits of the groups"):
        answered |= {group.group for group in listed[node]}
        if answer.groups:
            for group in answer.groups:
                commits += _commits_of(session, scope, ServerText(group.group_id), group, gaps)
        else:
            commits += _commits_of(session, scope, listed[node][place].group, answer, gaps)
    return tuple(commits), answered


def _offset_fetches(session: Session, node: int, groups: list[ConsumerGroup]) -> list[Message]:
    """Ask for all groups in one request, or one request each before 3.0; no topics means all of them."""
    newest = session.brokers[node].versions.api_version(OffsetFetchRequest)
    if newest < _BATCHED_SINCE:
        return [OffsetFetchRequest(group_id=group.group.raw, topics=None, min_version=2) for group in groups]
    of_group = OffsetFetchRequest.OffsetFetchRequestGroup
    asked = [of_group(group_id=group.group.raw, topics=None) for group in groups]
    return [OffsetFetchRequest(groups=asked, min_version=_BATCHED_SINCE, max_version=_BATCHED_SINCE)]


def _commits_of(
    session: Session, scope: Scope, group: ServerText, answer: Message, gaps: list[Gap]
) -> Iterator[CommittedOffset]:
    if answer.error_code:
        gaps.append(refused("commits", "the commits of a group", answer.error_code, session, group=group))
        return
    for topic in answer.topics:
        if not _matches(topic.name, scope.topics):
            continue
        name = ServerText(topic.name)
        for partition in topic.partitions:
            if partition.error_code:
                gaps.append(refused("commits", "commits on a topic", partition.error_code, session, topic=name))
            elif partition.committed_offset != _NO_OFFSET:
                yield CommittedOffset(
                    group=group,
                    on=TopicPartition(name, Partition(partition.partition_index)),
                    offset=Offset(partition.committed_offset),
                )


def _described(session: Session, listed: Coordinated, gaps: list[Gap]) -> tuple[ConsumerGroup, ...]:
    """Add members to the classic groups; a KIP-848 group would be described as Dead by this request."""
    requests = {
        node: [DescribeGroupsRequest(groups=[group.group.raw for group in groups if group.protocol == "classic"])]
        for node, groups in listed.items()
        if any(group.protocol == "classic" for group in groups)
    }
    found: dict[ServerText, ConsumerGroup] = {group.group: group for groups in listed.values() for group in groups}
    for _, _, answer in _ask(session, requests, gaps, "members", "the members of the groups"):
        for group in answer.groups:
            name = ServerText(group.group_id)
            if group.error_code:
                gaps.append(refused("members", "the members of a group", group.error_code, session, group=name))
                continue
            members = tuple(_member(member) for member in group.members)
            found[name] = ConsumerGroup(group=name, state=group.group_state, members=members)
    if any(group.protocol == "consumer" for group in found.values()):
        why = "diag does not ask ConsumerGroupDescribe (KIP-848) yet; their state is from ListGroups"
        gaps.append(
            Gap(source="kafka", fact="members", what=ServerText("members of KIP-848 groups"), why=ServerText(why))
        )
    return tuple(found.values())


def _member(member: Message) -> Member:
    return Member(
        member_id=ServerText(member.member_id),
        client_id=ServerText(member.client_id),
        host=ServerText(member.client_host.lstrip("/")),
        assigned=tuple(_assigned(member.member_assignment)),
    )


def _assigned(encoded: Any) -> Iterator[TopicPartition]:
    """Decode what the leader assigned; another protocol's bytes assign nothing we can name."""
    if not encoded:
        return
    try:
        assignment = ConsumerProtocolAssignment.decode(encoded) if isinstance(encoded, bytes) else encoded
        for topic in assignment.assigned_partitions:
            for partition in topic.partitions:
                yield TopicPartition(ServerText(topic.topic), Partition(partition))
    except (struct.error, ValueError, IndexError, AttributeError):
        return


def _leaders(session: Session, topics: set[ServerText], gaps: list[Gap]) -> dict[TopicPartition, int]:
    if not topics:
        return {}
    asked = [MetadataRequest.MetadataRequestTopic(name=topic.raw) for topic in sorted(topics)]
    request = MetadataRequest(topics=asked, allow_auto_topic_creation=False, max_version=_METADATA)
    leaders: dict[TopicPartition, int] = {}
    for _, _, answer in _ask(session, {min(session.brokers): [request]}, gaps, "log_ends", "the leaders"):
        for topic in answer.topics:
            name = ServerText(topic.name)
            if topic.error_code:
                gaps.append(refused("log_ends", "the partitions of a topic", topic.error_code, session, topic=name))
            for partition in topic.partitions:
                if partition.leader_id in session.brokers:
                    leaders[TopicPartition(name, Partition(partition.partition_index))] = partition.leader_id
                elif partition.error_code:
                    what = f"partition {partition.partition_index} of a topic"
                    gaps.append(refused("log_ends", what, partition.error_code, session, topic=name))
    return leaders


def _ends(session: Session, leaders: Mapping[TopicPartition, int], gaps: list[Gap]) -> dict[TopicPartition, LogEnds]:
    """Ask each leader for first and next offsets: two requests, as one may not name a partition twice."""
    requests = {
        node: [_list_offsets(on_node, spec) for spec in (OffsetSpec.EARLIEST, OffsetSpec.LATEST)]
        for node in set(leaders.values())
        if (on_node := [on for on, leader in leaders.items() if leader == node])
    }
    found: tuple[dict[TopicPartition, int], dict[TopicPartition, int]] = ({}, {})
    for _, place, answer in _ask(session, requests, gaps, "log_ends", "the ends of the partitions"):
        for topic in answer.topics:
            name = ServerText(topic.name)
            for partition in topic.partitions:
                if partition.error_code:
                    gaps.append(refused("log_ends", "ends of a topic", partition.error_code, session, topic=name))
                else:
                    found[place][TopicPartition(name, Partition(partition.partition_index))] = partition.offset
    earliest, latest = found
    return {
        on: LogEnds(on=on, log_start_offset=Offset(earliest[on]), log_end_offset=Offset(latest[on]))
        for on in leaders
        if on in earliest and on in latest
    }


def _list_offsets(partitions: Iterable[TopicPartition], spec: int) -> Message:
    by_topic: dict[str, list[int]] = {}
    for on in partitions:
        by_topic.setdefault(on.topic.raw, []).append(on.partition)
    of_topic = ListOffsetsRequest.ListOffsetsTopic
    topics = [
        of_topic(
            name=name,
            partitions=[of_topic.ListOffsetsPartition(partition_index=number, timestamp=spec) for number in numbers],
        )
        for name, numbers in by_topic.items()
    ]
    return ListOffsetsRequest(replica_id=-1, isolation_level=0, topics=topics, max_version=_LIST_OFFSETS)
