"""Read the part of `__consumer_offsets` in which some groups have written lately: by Fetch, joining nothing.

Each group writes to one partition. Where its recent part begins is found by ListOffsets by
timestamp; from there it is read to the end, at most so many bytes and so long. Where it is too
long, the oldest part is left out, as the newest matters more. Needs Read on the topic.
Source: Kafka protocol guide, "ListOffsets", "Fetch"; Kafka documentation, offsets.topic.num.partitions.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Final

from kafka.protocol.consumer.fetch import FetchRequest
from kafka.protocol.consumer.offsets import OffsetSpec
from kafka.protocol.metadata import MetadataRequest
from msgspec import Struct

from diag.errors import SourceError
from diag.snapshots.base import Gap
from diag.sources.kafka.broker import Message, exchange
from diag.sources.kafka.cluster import Session
from diag.sources.kafka.consumer_offsets import TOPIC, CommitLog, partition_of
from diag.sources.kafka.gaps import refused, unread
from diag.sources.kafka.list_offsets import list_offsets
from diag.text import ServerText

FACTS: Final = ("committed", "rebalances")
"""The fields of a history that come from here."""
_METADATA, _FETCH = 12, 11  # newest versions this module was tested with; they name topics
_MOST_BYTES: Final = 32 * 1024 * 1024
_ONE_FETCH_BYTES: Final = 4 * 1024 * 1024
_CAREFULLY: Final = 0.75  # of what may be read: later records can be larger than those seen so far
_NO_OFFSET = -1
_WHAT = "the commits of the past"
_NAME: Final = ServerText(TOPIC)


class ReadLog(Struct, kw_only=True, eq=False):
    """One partition of the log. `position` is what to fetch next, `read_to` what it should follow on from.

    `done` says that it was read to its end, `skipped` that its oldest part was left out.
    """

    partition: int
    leader: int
    groups: tuple[str, ...]
    log: CommitLog
    position: int = 0
    read_to: int = 0
    end: int = 0
    size_bytes: int = 0
    covered: int = 0
    done: bool = False
    skipped: bool = False

    @property
    def bytes_left(self) -> float:
        """About how many bytes there are still to read."""
        return (self.end - self.position) * self.size_bytes / max(1, self.covered)


def read_commit_logs(
    session: Session, groups: Iterable[str], since_ms: int, until: float, gaps: list[Gap]
) -> list[ReadLog]:
    """Read what the groups wrote since then; stop at `until` (monotonic clock). What was not read is in `gaps`.

    Raises `TooSlow` only when the command's deadline passes.
    """
    logs = _placed(session, groups, gaps)
    logs = _begun(session, logs, since_ms, gaps)
    spent_bytes = 0
    while open_logs := [log for log in logs if not log.done]:
        if spent_bytes >= _MOST_BYTES or time.monotonic() >= until:
            gaps += _both(_cut_short(open_logs))
            break
        for log in open_logs:
            _leave_out_the_oldest(log, (_MOST_BYTES - spent_bytes) / len(open_logs))
        before = spent_bytes
        refused_ones: list[ReadLog] = []
        for log, fetched in _fetch(session, open_logs, refused_ones, gaps):
            spent_bytes += len(fetched)
            _take(log, fetched)
        logs = [log for log in logs if log not in refused_ones]
        if spent_bytes == before and not refused_ones:
            gaps += _both(_cut_short(open_logs))
            break
    if any(log.skipped for log in logs):
        why = f"{TOPIC} has more of them than the {_MOST_BYTES // 1024 // 1024} MiB that are read"
        gaps.append(_gap(f"the oldest of {_WHAT}", why, "ask for less --history", fact="older_commits"))
    if any(log.log.malformed for log in logs):
        gaps += _both(_gap(_WHAT, "some of the log could not be read", "its layout may be newer than diag"))
    return logs


def _placed(session: Session, groups: Iterable[str], gaps: list[Gap]) -> list[ReadLog]:
    """Return which partition each group writes to, and who leads it."""
    asked = [MetadataRequest.MetadataRequestTopic(name=TOPIC)]
    request = MetadataRequest(topics=asked, allow_auto_topic_creation=False, max_version=_METADATA)
    node = min(session.brokers)
    answered = exchange(session.brokers, {node: [request]}, session.probe)[node]
    if isinstance(answered, SourceError):
        gaps += _both(unread(FACTS[0], _WHAT, answered))
        return []
    topic = next((one for one in answered[0].topics if one.name == TOPIC), None)
    if topic is None or topic.error_code or not topic.partitions:
        gaps += _both(_refused(topic.error_code if topic is not None else 3, session))
        return []
    leaders = {one.partition_index: one.leader_id for one in topic.partitions}
    of_partition: dict[int, list[str]] = {}
    for group in groups:
        of_partition.setdefault(partition_of(group, len(leaders)), []).append(group)
    found = []
    for partition, names in of_partition.items():
        leader = leaders.get(partition, -1)
        if leader in session.brokers:
            found.append(ReadLog(partition=partition, leader=leader, groups=tuple(names), log=CommitLog(names)))
        else:
            what = f"{_WHAT} of {len(names)} groups (first: {names[0]})"
            gaps += _both(_gap(what, f"nobody reachable leads {TOPIC}-{partition}", "look at the brokers that hold it"))
    return found


def _begun(session: Session, logs: list[ReadLog], since_ms: int, gaps: list[Gap]) -> list[ReadLog]:
    """Find where to begin and where the end is, once for all; nothing is left of a partition that is refused."""
    specs = (OffsetSpec.EARLIEST, since_ms, OffsetSpec.LATEST)
    requests = {
        node: [list_offsets({TOPIC: [(log.partition, at) for log in logs if log.leader == node]}) for at in specs]
        for node in {log.leader for log in logs}
    }
    told: dict[int, list[tuple[int, int]]] = {}
    codes = set()
    for node, answers in exchange(session.brokers, requests, session.probe).items() if requests else ():
        if isinstance(answers, SourceError):
            gaps += _both(unread(FACTS[0], f"{_WHAT} on broker {node}", answers))
            continue
        for partition, error_code, at_ms, offset in (row for answer in answers for _, rows in answer for row in rows):
            if error_code:
                codes.add(error_code)
            else:
                told.setdefault(partition, []).append((offset, at_ms))
    for code in sorted(codes):
        gaps += _both(_refused(code, session))
    found = []
    for log in logs:
        if len(answers_ := told.get(log.partition, [])) != len(specs):
            continue
        (earliest, _), (since, at_ms), (log.end, _) = answers_
        log.position = log.read_to = log.end if since == _NO_OFFSET else since
        log.done = log.position >= log.end
        if 0 < earliest == since:  # what came before it has been deleted
            log.log.whole_from_ms = at_ms
        found.append(log)
    return found


def _leave_out_the_oldest(log: ReadLog, share_bytes: float) -> None:
    """Go forward when more is left than may be read. That commits are missing there is seen from their offsets."""
    if log.covered and log.bytes_left > share_bytes and not log.skipped:
        log.position = log.end - int((log.end - log.position) * _CAREFULLY * share_bytes / log.bytes_left)
        log.skipped, log.read_to = True, -1


def _take(log: ReadLog, fetched: bytes) -> None:
    reached = max(log.position, log.log.read(fetched, log.read_to))
    log.size_bytes += len(fetched)
    log.covered += reached - log.position
    log.position = log.read_to = reached
    log.done = reached >= log.end


def _fetch(
    session: Session, logs: list[ReadLog], refused_ones: list[ReadLog], gaps: list[Gap]
) -> Iterator[tuple[ReadLog, bytes]]:
    """Yield the next piece of each partition. One that is refused goes to `refused_ones`."""
    by_leader: dict[int, list[ReadLog]] = {}
    for log in logs:
        by_leader.setdefault(log.leader, []).append(log)
    requests = {node: [_fetch_request(of_node)] for node, of_node in by_leader.items()}
    for node, answers in exchange(session.brokers, requests, session.probe).items():
        if isinstance(answers, SourceError):
            gaps += _both(unread(FACTS[0], f"{_WHAT} on broker {node}", answers))
            refused_ones += by_leader[node]
            continue
        known = {log.partition: log for log in by_leader[node]}
        parts = [one for topic in answers[0].responses if topic.topic == TOPIC for one in topic.partitions]
        if answers[0].error_code:
            gaps += _both(_refused(answers[0].error_code, session))
            refused_ones += by_leader[node]
        for part in parts:
            log_ = known.get(part.partition_index)
            if log_ is None:
                continue
            if part.error_code:
                gaps += [gap for gap in _both(_refused(part.error_code, session)) if gap not in gaps]
                refused_ones.append(log_)
            else:
                yield log_, bytes(part.records or b"")


def _fetch_request(logs: list[ReadLog]) -> Message:
    of_topic = FetchRequest.FetchTopic
    wanted = [
        of_topic.FetchPartition(
            partition=log.partition, fetch_offset=log.position, partition_max_bytes=_ONE_FETCH_BYTES // len(logs)
        )
        for log in logs
    ]
    return FetchRequest(
        replica_id=-1,
        max_wait_ms=0,
        min_bytes=0,
        max_bytes=_ONE_FETCH_BYTES,
        isolation_level=0,  # commits of open transactions are told from the others by their batches
        topics=[of_topic(topic=TOPIC, partitions=wanted)],
        min_version=4,
        max_version=_FETCH,
    )


def _refused(error_code: int, session: Session) -> Gap:
    return refused(FACTS[0], _WHAT, error_code, session, topic=_NAME, right="Read")


def _cut_short(logs: list[ReadLog]) -> Gap:
    left = sum(log.bytes_left for log in logs) / 1024 / 1024
    what = f"the newest {_WHAT.removeprefix('the ')} of {sum(len(log.groups) for log in logs)} groups"
    why = f"there was no time or room to read the rest of {TOPIC} (about {left:.0f} MiB)"
    return _gap(what, why, "ask for less --history, or narrow it with --group")


def _gap(what: str, why: str, fix: str, fact: str = FACTS[0]) -> Gap:
    return Gap(source="kafka", fact=fact, what=ServerText(what), why=ServerText(why), fix=ServerText(fix))


def _both(gap: Gap) -> list[Gap]:
    """Say the same of everything that comes from this log."""
    return [Gap(source=gap.source, fact=fact, what=gap.what, why=gap.why, fix=gap.fix, rung=gap.rung) for fact in FACTS]
