"""Take `KafkaLag`: groups, then their commits, and only then the ends of the partitions.

The order makes a negative lag impossible. Each wave is one round trip to all brokers at once;
an error on one group, topic or broker becomes a gap and leaves the rest alone. What comes after
the ends is asked about lagging partitions only.
Source: KIP-709 (batched OffsetFetch), KIP-79 (ListOffsets), KIP-98 (last stable offset).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any

import msgspec

from diag.errors import SourceError
from diag.snapshots.base import Gap, Scope
from diag.snapshots.kafka import CommittedOffset, ConsumerGroup, KafkaLag, LogEnds, TopicPartition
from diag.sources.kafka.broker import Answers, exchange
from diag.sources.kafka.cluster import Session
from diag.sources.kafka.gaps import from_the_future, groups_without_commits, no_such_topic, unseen_groups
from diag.sources.kafka.groups import (
    Coordinated,
    describe_requests,
    described,
    listed,
    share_commits,
    share_offset_requests,
)
from diag.sources.kafka.log_ends import leaders_of, log_ends, with_stable_offsets
from diag.sources.kafka.markers import only_markers
from diag.sources.kafka.offsets import commits_in, offset_fetches
from diag.sources.kafka.record_times import Place, record_times
from diag.sources.kafka.topic_settings import topic_settings
from diag.sources.kafka.transactions import open_transactions
from diag.text import ServerText

_GROUP, _ON, _TOPIC = attrgetter("group"), attrgetter("on"), attrgetter("on.topic")
Ends = dict[TopicPartition, LogEnds]
Dated = Mapping[Place, datetime]


def kafka_lag(session: Session, scope: Scope) -> KafkaLag:
    """Read every group's lag. Raises a `SourceError` only when nothing at all can be read."""
    started = time.monotonic()
    gaps = list(session.gaps)
    others: set[str] = set()
    coordinated = listed(session, scope, gaps, others)
    names = [group.group for of_node in coordinated.values() for group in of_node]
    gaps += unseen_groups(session, scope, names, others)
    groups, commits = _groups_and_commits(session, scope, coordinated, gaps)
    leaders, leaderless = leaders_of(session, _topics(commits), gaps)
    ends = log_ends(session, leaders, gaps)
    observed_at = datetime.now(UTC)  # of the ends: what comes later takes its time and must not bend the rates
    places = _places(commits, ends)
    lagging = {on for on, _ in places.values()}
    ends = with_stable_offsets(session, ends, lagging, leaders, gaps)
    topics = topic_settings(session, {on.topic for on in lagging}, gaps)
    markers = only_markers(session, {place: ends[place[0]] for place in places.values()}, leaders, gaps)
    skipped = _skipped(commits, groups, ends)
    dated = record_times(
        session,
        _to_date(places.values(), markers, skipped, ends),
        leaders,
        gaps,
        compacted={one.topic for one in topics if one.compacted},
    )
    commits = _dated_commits(commits, places, dated, markers)
    held = {
        on: ends[on] for on, offset in places.values() if _is_unstable(ends[on], offset + 1)
    }  # or at the marker before it
    return KafkaLag(
        target=session.target,
        observed_at=observed_at,
        took_s=time.monotonic() - started,
        groups=groups,
        commits=commits,
        log_ends=_dated_ends(ends, dated, lagging, skipped),
        leaderless=leaderless,
        transactions=open_transactions(session, held, leaders, gaps) if held else (),
        topics=topics,
        cluster_id=ServerText(session.cluster_id),
        gaps=tuple(dict.fromkeys((*gaps, *from_the_future(commits, observed_at)))),
    )


def _groups_and_commits(
    session: Session, scope: Scope, coordinated: Coordinated, gaps: list[Gap]
) -> tuple[tuple[ConsumerGroup, ...], tuple[CommittedOffset, ...]]:
    """Ask every coordinator for commits and members in one wave."""
    other_topics: set[str] = set()
    asked = (
        offset_fetches(session, coordinated, gaps),
        describe_requests(session, coordinated),
        share_offset_requests(session, coordinated),
    )
    together = {node: [message for part in asked for message in part.get(node, ())] for node in coordinated}
    answers = exchange(session.brokers, {node: sent for node, sent in together.items() if sent}, session.probe)
    fetched, told, shared = _taken_apart(answers, asked)
    commits = commits_in(session, scope, coordinated, fetched, gaps, other_topics)
    commits += share_commits(session, scope, coordinated, shared, gaps)
    groups = described(session, coordinated, told, gaps)  # last: it does not repeat a gap that is named already
    if scope.topics and not commits:
        gaps.append(no_such_topic(scope, other_topics))
    if not scope.topics:
        answered = {name.group for node, of_node in coordinated.items() if node in fetched for name in of_node}
        silent = [group for group in groups if group.group in answered and group.protocol != "share"]
        gaps += groups_without_commits(silent, {commit.group for commit in commits}, gaps)
    return groups, commits


def _taken_apart(answers: Answers, asked: Sequence[Mapping[int, Sequence[object]]]) -> list[Answers]:
    """Give each part of a common wave its own answers; a broken connection is said of the first part only."""
    parts: list[Answers] = []
    begins: dict[int, int] = {}
    for of_part in asked:
        mine: Answers = {}
        for node, sent in of_part.items():
            if not sent:
                continue
            answer = answers[node]
            if isinstance(answer, SourceError):
                mine[node] = answer
                continue
            first = begins.get(node, 0)
            begins[node] = first + len(sent)
            mine[node] = answer[first : first + len(sent)]
        parts.append(mine)
    return parts


def _topics(commits: Sequence[CommittedOffset]) -> set[ServerText]:
    """Return the topics of the commits; the names of one look are shared objects, which makes that quick."""
    return set(_distinct(_TOPIC, commits).values())


def _distinct(name: attrgetter[Any], commits: Sequence[CommittedOffset]) -> dict[int, Any]:
    """Return what the commits have under a name, each object once, by its identity."""
    return dict(zip(map(id, map(name, commits)), map(name, commits), strict=True))


def _places(commits: Sequence[CommittedOffset], ends: Ends) -> dict[int, Place]:
    """Return, by the number of the commit, where each group with something left to read would read next."""
    found: dict[int, Place] = {}
    logs = {identity: ends.get(on) for identity, on in _distinct(_ON, commits).items()}  # of many groups the same
    for number, commit in enumerate(commits):
        on = commit.on
        log = logs[id(on)]
        if log is not None and commit.offset < log.log_end_offset > log.log_start_offset:
            found[number] = (on, max(commit.offset, log.log_start_offset))
    return found


def _skipped(
    commits: Sequence[CommittedOffset], groups: Iterable[ConsumerGroup], ends: Ends
) -> frozenset[TopicPartition]:
    """Return the partitions with records on which a group with members has no commit, though it has on others."""
    joined = {id(group.group) for group in groups if group.members and group.protocol != "share"}
    pairs = Counter(zip(map(id, map(_GROUP, commits)), map(id, map(_TOPIC, commits)), strict=True))
    counted = {(group, topic): count for (group, topic), count in pairs.items() if group in joined}
    written: dict[ServerText, set[TopicPartition]] = {}
    for on, log in ends.items():
        if log.log_end_offset > log.log_start_offset:
            written.setdefault(on.topic, set()).add(on)
    few: dict[tuple[int, int], set[TopicPartition]] = {}
    topics = _distinct(_TOPIC, commits)
    for (group, topic), count in counted.items():
        there = written.get(topics[topic], set())
        if count < len(there):
            few[group, topic] = set(there)
    for one in commits if few else ():
        few.get((id(one.group), id(one.on.topic)), set()).discard(one.on)
    return frozenset(on for left in few.values() for on in left)


def _to_date(
    places: Iterable[Place], markers: AbstractSet[Place], skipped: Iterable[TopicPartition], ends: Ends
) -> dict[Place, LogEnds]:
    """Return the places whose time matters: the next record, the first unstable one, the first that nobody took."""
    wanted: dict[Place, LogEnds] = {}
    for on, offset in places:
        if (on, offset) not in markers:
            log = wanted[on, offset] = ends[on]
            if log.last_stable_offset is not None and _is_unstable(log, log.log_end_offset):
                wanted[on, max(log.last_stable_offset, log.log_start_offset)] = log
    return wanted | {(on, ends[on].log_start_offset): ends[on] for on in skipped}


def _is_unstable(log: LogEnds, offset: int) -> bool:
    """Whether an open transaction begins before the log end, and at or before that offset."""
    stable = log.last_stable_offset
    return stable is not None and stable < log.log_end_offset and stable <= offset


def _dated_commits(
    commits: Sequence[CommittedOffset], places: Mapping[int, Place], dated: Dated, markers: AbstractSet[Place]
) -> tuple[CommittedOffset, ...]:
    changed = list(commits)
    for number, place in places.items():
        if place in markers:
            changed[number] = msgspec.structs.replace(changed[number], only_markers=True)
        elif place in dated:
            changed[number] = msgspec.structs.replace(changed[number], record_at=dated[place])
    return tuple(changed)


def _dated_ends(
    ends: Ends, dated: Dated, lagging: AbstractSet[TopicPartition], skipped: AbstractSet[TopicPartition]
) -> tuple[LogEnds, ...]:
    changed = dict(ends)
    for on in lagging | skipped:
        log = ends[on]
        if _is_unstable(log, log.log_end_offset):
            assert log.last_stable_offset is not None
            since = dated.get((on, max(log.last_stable_offset, log.log_start_offset)))
            log = msgspec.structs.replace(log, unstable_since=since)
        if on in skipped:
            log = msgspec.structs.replace(log, oldest_at=dated.get((on, log.log_start_offset)))
        changed[on] = log
    return tuple(changed.values())
