"""Take `KafkaHistory`: how logs grew and what groups committed in the last hour, with no monitoring before.

Two logs remember it anyway: the topic's own, whose records are dated, and that of the commits.
Describe on the topics gives the first half, Read on `__consumer_offsets` the second; whoever
lacks one still gets the other. Bounded in groups, partitions, look-ups, bytes and time.
Source: KIP-79 (ListOffsets by timestamp), `__consumer_offsets` (OffsetCommitValue), KIP-848.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Final, TypeAlias

import msgspec

from diag.snapshots.base import Gap, Scope
from diag.snapshots.kafka import (
    CommitCurve,
    CommittedOffset,
    KafkaHistory,
    LogEnds,
    Mark,
    Offset,
    Rebalance,
    TopicPartition,
)
from diag.sources.kafka.broker import exchange
from diag.sources.kafka.cluster import Session
from diag.sources.kafka.commit_log import ReadLog, read_commit_logs
from diag.sources.kafka.consumer_offsets import Generation
from diag.sources.kafka.gaps import unseen_groups
from diag.sources.kafka.groups import listed
from diag.sources.kafka.log_ends import leaders_of, log_ends
from diag.sources.kafka.offsets import commits_in, offset_fetches
from diag.sources.kafka.produce_curves import FEWEST_INSTANTS, MOST_LOOK_UPS, grid, produce_curves
from diag.text import ServerText

_MOST_GROUPS: Final = 10
_MOST_S: Final = 5.0
_SHARE: Final = 0.4  # of the time that is left: the live look is not finished yet
_LEAD_S: Final = 60.0  # twelve default commit intervals, to know where a group stood when the history begins
_MARKS: Final = 1_440  # of one commit curve; an hour has one every 2.5 s
_FACT: Final = {"log_ends": "produced", "groups": "committed", "commits": "committed"}
"""What is missing here when a live fact is."""

Ends: TypeAlias = Mapping[TopicPartition, LogEnds]


def kafka_history(session: Session, scope: Scope) -> KafkaHistory:
    """Rebuild the last `scope.history_s` seconds of the groups in scope, or of those that lag most."""
    started = time.monotonic()
    allowed_s = min(_MOST_S, _SHARE * session.probe.deadline.remaining_s)
    gaps: list[Gap] = []
    commits = _commits(session, scope, gaps)
    leaders, _ = leaders_of(session, {commit.on.topic for commit in commits}, gaps)
    ends = log_ends(session, leaders, gaps)
    gaps = _as_gaps_here((*session.gaps, *gaps))
    now = datetime.now(UTC)  # of the ends, and nothing that comes later is asked about
    now = now.replace(microsecond=now.microsecond // 1000 * 1000)
    since = now - timedelta(seconds=scope.history_s)
    chosen = _chosen(scope, commits, ends, gaps)
    wanted = {commit.on: ends[commit.on] for commit in chosen}
    groups = sorted({commit.group for commit in chosen})
    since_ms = int((since.timestamp() - _LEAD_S) * 1000)
    half = started + allowed_s / 2  # what is left of it goes to the other half
    logs = read_commit_logs(session, [group.raw for group in groups], since_ms, half, gaps) if groups else []
    steps = grid(since, scope.history_s, len(wanted))
    produced, step_s = produce_curves(session, wanted, leaders, steps, started + allowed_s, gaps)
    of_group = {group: log for log in logs for group in log.groups}
    return KafkaHistory(
        target=session.target,
        observed_at=now,
        took_s=time.monotonic() - started,
        gaps=tuple(dict.fromkeys(gaps)),
        since=since,
        step_s=step_s,
        produced=produced,
        committed=tuple(_curves(chosen, of_group, since, scope.history_s)),
        rebalances=tuple(_rebalances(groups, of_group, since)),
    )


def _commits(session: Session, scope: Scope, gaps: list[Gap]) -> tuple[CommittedOffset, ...]:
    coordinated = listed(session, scope, gaps)
    gaps += unseen_groups(session, scope, [group.group for of_node in coordinated.values() for group in of_node])
    asked = {node: sent for node, sent in offset_fetches(session, coordinated, gaps).items() if sent}
    return commits_in(session, scope, coordinated, exchange(session.brokers, asked, session.probe), gaps)


def _as_gaps_here(gaps: Iterable[Gap]) -> list[Gap]:
    """Say what a gap in a live fact means for the past."""
    return [msgspec.structs.replace(gap, fact=_FACT.get(gap.fact, gap.fact)) for gap in gaps]


def _chosen(scope: Scope, commits: Sequence[CommittedOffset], ends: Ends, gaps: list[Gap]) -> list[CommittedOffset]:
    """Return the commits whose past is rebuilt: of the groups that lag most, and there of the partitions that do."""
    lag: dict[ServerText, int] = {}
    for commit in commits:
        lag[commit.group] = lag.get(commit.group, 0) + _lag(commit, ends)
    groups = sorted(lag, key=lambda group: (-lag[group], group))
    kept = set(groups if scope.groups else groups[:_MOST_GROUPS])
    if len(kept) < len(groups):
        what = f"the past of {len(groups) - len(kept)} of {len(groups)} groups"
        gaps.append(_left_out(what, f"it is rebuilt for the {_MOST_GROUPS} that lag most now", "other_groups"))
    mine = [commit for commit in commits if commit.group in kept and commit.on in ends]
    mine.sort(key=lambda commit: -_lag(commit, ends))
    most = MOST_LOOK_UPS // FEWEST_INSTANTS
    partitions = list(dict.fromkeys(commit.on for commit in mine))
    if len(partitions) > most:
        what = f"the past of {len(partitions) - most} of {len(partitions)} partitions"
        gaps.append(_left_out(what, f"it is rebuilt for the {most} that lag most now", "produced"))
    within = set(partitions[:most])
    return [commit for commit in mine if commit.on in within]


def _lag(commit: CommittedOffset, ends: Ends) -> int:
    log = ends.get(commit.on)
    return 0 if log is None else max(0, log.log_end_offset - max(commit.offset, log.log_start_offset))


def _left_out(what: str, why: str, fact: str) -> Gap:
    fix = "name the one that matters with --group, and its --topic"
    return Gap(source="kafka", fact=fact, what=ServerText(what), why=ServerText(why), fix=ServerText(fix))


def _curves(
    commits: Iterable[CommittedOffset], of_group: Mapping[str, ReadLog], since: datetime, span_s: float
) -> Iterable[CommitCurve]:
    since_ms = since.timestamp() * 1000
    for commit in commits:
        read = of_group.get(commit.group.raw)
        if read is None:
            continue
        told = read.log.commits.get((commit.group.raw, commit.on.topic.raw, int(commit.on.partition)), [])
        hole_ms = read.log.whole_from_ms
        if hole_ms is not None:  # what is left from before it would look like a standstill
            told = [(at_ms, offset) for at_ms, offset in told if at_ms >= hole_ms]
        marks = _marks(told, since, span_s / _MARKS)
        whole = read.done and (hole_ms is None or hole_ms <= since_ms)
        if whole and not marks:  # nobody has committed since: it stood then where it stands now
            marks = (Mark(at=since, offset=commit.offset),)
        yield CommitCurve(group=commit.group, on=commit.on, marks=marks, whole=whole)


def _marks(told: Iterable[tuple[int, int]], since: datetime, finest_s: float) -> tuple[Mark, ...]:
    """Return the last commit before the history begins and those within it, oldest first, not too close together."""
    dated = ((_moment(at_ms), offset) for at_ms, offset in told)
    points = sorted(((at, offset) for at, offset in dated if at is not None), key=lambda point: point[0])
    first = max((number for number, (at, _) in enumerate(points) if at <= since), default=0)
    changes = _ends_of_levels(points[first:])
    kept: list[Mark] = []
    for (at, offset), (following, _) in pairwise([*changes, (datetime.max.replace(tzinfo=UTC), 0)]):
        near_last = bool(kept) and (at - kept[-1].at).total_seconds() < finest_s
        if not (near_last and (following - at).total_seconds() < finest_s):
            kept.append(Mark(at=at, offset=Offset(offset)))
    return tuple(kept)


def _ends_of_levels(points: Sequence[tuple[datetime, int]]) -> list[tuple[datetime, int]]:
    """Keep the first and the last of commits that repeat an offset."""
    last = len(points) - 1
    return [
        point
        for number, point in enumerate(points)
        if not (0 < number < last and points[number - 1][1] == point[1] == points[number + 1][1])
    ]


def _rebalances(groups: Iterable[ServerText], of_group: Mapping[str, ReadLog], since: datetime) -> Iterable[Rebalance]:
    for group in groups:
        read = of_group.get(group.raw)
        for generation in read.log.generations[group.raw] if read else ():
            at = _moment(generation.at_ms)
            if at is not None and at >= since:
                yield _rebalance(group, at, generation)


def _rebalance(group: ServerText, at: datetime, generation: Generation) -> Rebalance:
    timeout_ms, ids = generation.rebalance_timeout_ms, generation.member_ids
    return Rebalance(
        group=group,
        at=at,
        generation=generation.number,
        members=None if ids is None else tuple(map(ServerText, ids)),
        poll_interval_s=timeout_ms / 1000 if timeout_ms and timeout_ms > 0 else None,
    )


def _moment(at_ms: int) -> datetime | None:
    try:
        return datetime.fromtimestamp(at_ms / 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return None
