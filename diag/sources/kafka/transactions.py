"""Which transactions hold readers up: whose they are, since when, and when they would time out.

Three waves: the partition leaders name the producers with a transaction open (Read on the
topic), every broker looks whether it coordinates one of them, and the coordinators tell about
those (Describe on the transactional id; whoever may not describe one is told nothing of it).
Source: KIP-664 (DescribeProducers, ListTransactions, DescribeTransactions), KIP-98.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from kafka.errors import KafkaError, TransactionalIdAuthorizationFailedError, for_code
from kafka.protocol.admin.transactions import (
    DescribeProducersRequest,
    DescribeTransactionsRequest,
    ListTransactionsRequest,
)
from msgspec import Struct

from diag.errors import Rung, SourceError
from diag.snapshots.base import Gap
from diag.snapshots.kafka import LogEnds, Offset, OpenTransaction, ProducerId, TopicPartition
from diag.sources.kafka.broker import Message, exchange
from diag.sources.kafka.cluster import Session
from diag.sources.kafka.gaps import refused, unread
from diag.text import ServerText

_FACT = "transactions"
_MOST_PARTITIONS = 100
_MOST_ON_ONE = 5  # the first transaction holds readers up; a few more are what would do so next
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class _Open(Struct, frozen=True, kw_only=True):
    """A producer with a transaction open on a partition, as the leader tells it."""

    on: TopicPartition
    producer_id: int
    first_offset: int
    last_written_ms: int


class _Told(Struct, frozen=True, kw_only=True):
    """A transaction as its coordinator tells it; `partitions` are those it is open on (none when it has ended)."""

    transactional_id: str
    timeout_ms: int = -1
    started_ms: int = -1
    partitions: frozenset[tuple[str, int]] = frozenset()


def open_transactions(
    session: Session, ends: Mapping[TopicPartition, LogEnds], leaders: Mapping[TopicPartition, int], gaps: list[Gap]
) -> tuple[OpenTransaction, ...]:
    """Return the transactions that are open on these partitions, first offsets first.

    A transaction without `started_at` is one that no coordinator knows to be open on that
    partition: it hangs, or a gap says why nobody told.
    """
    found = list(_open_on(session, _asked(ends, leaders, gaps), leaders, gaps))
    told = _told(session, {one.producer_id for one in found}, gaps) if found else {}
    return tuple(_transaction(one, told.get(one.producer_id)) for one in found)


def _asked(
    ends: Mapping[TopicPartition, LogEnds], leaders: Mapping[TopicPartition, int], gaps: list[Gap]
) -> list[TopicPartition]:
    """Return the partitions to ask about: those that hold back the most records, if there are too many."""
    led = [on for on in ends if on in leaders]
    if len(led) > _MOST_PARTITIONS:
        what = f"the transactions open on {len(led) - _MOST_PARTITIONS} of {len(led)} partitions"
        why = f"at most {_MOST_PARTITIONS} are asked about"
        gaps.append(_gap(what, why, "narrow it with --group or --topic"))
    return sorted(led, key=lambda on: (-_held_back(ends[on]), on))[:_MOST_PARTITIONS]


def _held_back(log: LogEnds) -> int:
    return log.log_end_offset - (log.log_end_offset if log.last_stable_offset is None else log.last_stable_offset)


def _open_on(
    session: Session, asked: Sequence[TopicPartition], leaders: Mapping[TopicPartition, int], gaps: list[Gap]
) -> Iterator[_Open]:
    """Ask the leaders; yield the first few open transactions of each partition."""
    nodes = sorted({leaders[on] for on in asked})
    requests = {node: [_describe_producers(on for on in asked if leaders[on] == node)] for node in nodes}
    known = {(on.topic.raw, int(on.partition)): on for on in asked}
    said: set[tuple[str, int]] = set()
    for _, topic in _wave(session, requests, gaps, "the transactions open on partitions", "topics"):
        for partition in topic.partitions:
            on = known.get((topic.name, partition.partition_index))
            if on is None:
                continue
            if partition.error_code:
                if (topic.name, partition.error_code) not in said:  # one right is missing, on however many partitions
                    said.add((topic.name, partition.error_code))
                    what = "the transactions open on a topic"
                    gaps.append(refused(_FACT, what, partition.error_code, session, topic=on.topic, right="Read"))
                continue
            writing = [one for one in partition.active_producers if one.current_txn_start_offset >= 0]
            for one in sorted(writing, key=lambda one: one.current_txn_start_offset)[:_MOST_ON_ONE]:
                yield _Open(
                    on=on,
                    producer_id=one.producer_id,
                    first_offset=one.current_txn_start_offset,
                    last_written_ms=one.last_timestamp,
                )


def _describe_producers(partitions: Iterable[TopicPartition]) -> Message:
    by_topic: dict[str, list[int]] = {}
    for on in partitions:
        by_topic.setdefault(on.topic.raw, []).append(on.partition)
    of_topic = DescribeProducersRequest.TopicRequest
    return DescribeProducersRequest(
        topics=[of_topic(name=name, partition_indexes=numbers) for name, numbers in by_topic.items()]
    )


def _told(session: Session, producers: set[int], gaps: list[Gap]) -> dict[int, _Told]:
    """Return what coordinators tell of these producers' transactions; a gap names who is known to nobody."""
    before = len(gaps)
    wanted = sorted(producers)
    lists: dict[int, list[Message]] = {
        node: [ListTransactionsRequest(producer_id_filters=wanted, max_version=0)] for node in session.brokers
    }
    named: dict[int, str] = {}
    coordinated: dict[int, list[str]] = {}
    for node, listing in _wave(session, lists, gaps, "the transactions coordinated", "transaction_states"):
        if listing.producer_id in producers:
            named[listing.producer_id] = listing.transactional_id
            coordinated.setdefault(node, []).append(listing.transactional_id)
    told = {producer: _Told(transactional_id=name) for producer, name in named.items()}
    describes: dict[int, list[Message]] = {
        node: [DescribeTransactionsRequest(transactional_ids=names)] for node, names in coordinated.items()
    }
    for _, state in _wave(session, describes, gaps, "the transactions described", "transaction_states"):
        if state.error_code:
            gaps.append(_undescribed(state.transactional_id, state.error_code))
        elif state.producer_id in named:
            told[state.producer_id] = _state(state)
    if len(gaps) == before:
        gaps += map(_unlisted, (one for one in wanted if one not in named))
    return told


def _state(state: Message) -> _Told:
    return _Told(
        transactional_id=state.transactional_id,
        timeout_ms=state.transaction_timeout_ms,
        started_ms=state.transaction_start_time_ms,
        partitions=frozenset((topic.topic, number) for topic in state.topics for number in topic.partitions),
    )


def _transaction(one: _Open, told: _Told | None) -> OpenTransaction:
    knows = told is not None and (one.on.topic.raw, int(one.on.partition)) in told.partitions
    return OpenTransaction(
        on=one.on,
        producer_id=ProducerId(one.producer_id),
        first_offset=Offset(one.first_offset),
        last_written_at=_moment(one.last_written_ms),
        transactional_id=ServerText(told.transactional_id) if told else None,
        started_at=_moment(told.started_ms) if told and knows else None,
        timeout_s=told.timeout_ms / 1000 if told and knows and told.timeout_ms >= 0 else None,
    )


def _wave(
    session: Session, requests: Mapping[int, Sequence[Message]], gaps: list[Gap], what: str, entries: str
) -> Iterator[tuple[int, Message]]:
    """Exchange one wave; yield (broker id, entry of its answer). What a broker does not tell is one gap."""
    spoken = {node: sent for node, sent in requests.items() if _speaks(session, node, sent)}
    if len(spoken) < len(requests):
        older = next(node for node in requests if node not in spoken)
        gaps.append(_gap(f"{what} by broker {older}", "it is too old to tell", "brokers from 3.0 on do (KIP-664)"))
    for node, answers in exchange(session.brokers, spoken, session.probe).items() if spoken else ():
        if isinstance(answers, SourceError):
            gaps.append(unread(_FACT, f"{what} by broker {node}", answers))
            continue
        for answer in answers:
            if getattr(answer, "error_code", 0):
                gaps.append(refused(_FACT, f"{what} by broker {node}", answer.error_code, session))
            yield from ((node, entry) for entry in getattr(answer, entries))


def _speaks(session: Session, node: int, requests: Sequence[Message]) -> bool:
    try:
        for request in requests:
            session.brokers[node].versions.api_version(request)
    except KafkaError:
        return False
    return True


def _undescribed(transactional_id: str, error_code: int) -> Gap:
    name = for_code(error_code).__name__.removesuffix("Error")
    denied = error_code == TransactionalIdAuthorizationFailedError.errno
    fix = f"grant Describe on transactional id {transactional_id} to the user diag connects as" if denied else ""
    gap = _gap(f"the transaction of a producer ({transactional_id})", name, fix)
    return gap if not denied else _at_authorisation(gap)


def _unlisted(producer_id: int) -> Gap:
    """Say that nobody knows a producer: ListTransactions leaves out, in silence, what this user may not describe."""
    fix = (
        "grant Describe on its transactional id to the user diag connects as;"
        " if that is there already, the transaction hangs: kafka-transactions.sh find-hanging"
    )
    return _at_authorisation(
        _gap(f"the transactional id of producer {producer_id}", "no coordinator tells this user of it", fix)
    )


def _at_authorisation(gap: Gap) -> Gap:
    return Gap(source=gap.source, fact=gap.fact, what=gap.what, why=gap.why, fix=gap.fix, rung=Rung.AUTHORISE)


def _gap(what: str, why: str, fix: str) -> Gap:
    return Gap(source="kafka", fact=_FACT, what=ServerText(what), why=ServerText(why), fix=ServerText(fix))


def _moment(at_ms: int) -> datetime | None:
    """Return the instant; None for "not known" and for what is no time."""
    try:
        return _EPOCH + timedelta(milliseconds=at_ms) if at_ms >= 0 else None
    except OverflowError:
        return None
