"""Small worlds of consumer groups over time: a window of frames, and a history, from a few lists of offsets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import msgspec
from worlds import NOW

from diag.snapshots.base import Gap, Target
from diag.snapshots.kafka import (
    CommitCurve,
    CommittedOffset,
    ConsumerGroup,
    KafkaHistory,
    KafkaLag,
    LogEnds,
    Mark,
    Member,
    Offset,
    Partition,
    ProduceCurve,
    Rebalance,
    TopicPartition,
)
from diag.text import ServerText

KAFKA = Target(kind="kafka", address="kafka-1:9092", version=ServerText("4.1 or later"), local=True)


def place(partition: int, topic: str = "events") -> TopicPartition:
    return TopicPartition(ServerText(topic), Partition(partition))


def members(*owned: Sequence[int], topic: str = "events", first: int = 0) -> tuple[Member, ...]:
    """Members worker-0, worker-1, … each on a host of its own, owning these partitions."""
    return tuple(
        Member(
            member_id=ServerText(f"worker-{number}-id"),
            client_id=ServerText(f"worker-{number}"),
            host=ServerText(f"10.0.0.{number + 1}"),
            assigned=tuple(place(one, topic) for one in of_member),
        )
        for number, of_member in enumerate(owned, start=first)
    )


def group(name: str = "antifraud", *owned: Sequence[int], state: str = "Stable", **more: Any) -> ConsumerGroup:
    return ConsumerGroup(group=ServerText(name), state=state, members=members(*owned), **more)


def frame(  # noqa: PLR0913  a frame is these
    of: ConsumerGroup | Sequence[ConsumerGroup],
    committed: Mapping[int, int],
    ends: Mapping[int, int],
    *,
    at_s: float = 0.0,
    ages_s: Mapping[int, float] | None = None,
    starts: Mapping[int, int] | None = None,
    stable: Mapping[int, int] | None = None,
    topic: str = "events",
    gaps: tuple[Gap, ...] = (),
    **more: Any,
) -> KafkaLag:
    """One frame: committed offsets and log ends by partition (ends may name more), age of the next record in s."""
    groups = (of,) if isinstance(of, ConsumerGroup) else tuple(of)
    now = NOW + timedelta(seconds=at_s)
    return KafkaLag(
        target=KAFKA,
        observed_at=now,
        took_s=0.05,
        gaps=gaps,
        groups=groups,
        commits=tuple(
            CommittedOffset(
                group=groups[0].group,
                on=place(number, topic),
                offset=Offset(offset),
                record_at=now - timedelta(seconds=ages_s[number]) if ages_s and number in ages_s else None,
            )
            for number, offset in committed.items()
        ),
        log_ends=tuple(
            LogEnds(
                on=place(number, topic),
                log_start_offset=Offset((starts or {}).get(number, 0)),
                log_end_offset=Offset(end),
                last_stable_offset=Offset((stable or {}).get(number, end)),
            )
            for number, end in ends.items()
        ),
        **more,
    )


def frames(
    of: ConsumerGroup | Sequence[ConsumerGroup],
    committed: Mapping[int, Sequence[int]],
    ends: Mapping[int, Sequence[int]],
    *,
    step_s: float = 5.0,
    **more: Any,
) -> list[KafkaLag]:
    """A window: each partition's committed offsets and log ends, frame by frame, `step_s` apart."""
    count = max(len(series) for series in ends.values())
    return [
        frame(
            of,
            {number: series[turn] for number, series in committed.items()},
            {number: series[turn] for number, series in ends.items()},
            at_s=(turn - count + 1) * step_s,
            **more,
        )
        for turn in range(count)
    ]


def regrouped(window: Sequence[KafkaLag], *groups: ConsumerGroup) -> list[KafkaLag]:
    """The same frames, each with the group as it was then (members and state may change from frame to frame)."""
    return [msgspec.structs.replace(one, groups=(then,)) for one, then in zip(window, groups, strict=True)]


def history(  # noqa: PLR0913  a history is these
    *,
    committed: Mapping[int, Sequence[tuple[float, int]]],
    produced: Mapping[int, Sequence[tuple[float, int]]],
    name: str = "antifraud",
    span_s: float = 3_600.0,
    topic: str = "events",
    rebalances: Sequence[tuple[float, int]] = (),
    poll_interval_s: float | None = None,
) -> KafkaHistory:
    """The past: (seconds ago as a negative number, offset) for each partition; rebalances are (when, generation)."""

    def marks(points: Sequence[tuple[float, int]]) -> tuple[Mark, ...]:
        return tuple(Mark(at=NOW + timedelta(seconds=at_s), offset=Offset(offset)) for at_s, offset in points)

    return KafkaHistory(
        target=KAFKA,
        observed_at=NOW,
        since=NOW - timedelta(seconds=span_s),
        step_s=10.0,
        produced=tuple(ProduceCurve(on=place(one, topic), marks=marks(points)) for one, points in produced.items()),
        committed=tuple(
            CommitCurve(group=ServerText(name), on=place(one, topic), marks=marks(points))
            for one, points in committed.items()
        ),
        rebalances=tuple(
            Rebalance(
                group=ServerText(name),
                at=NOW + timedelta(seconds=at_s),
                generation=generation,
                poll_interval_s=poll_interval_s,
            )
            for at_s, generation in rebalances
        ),
    )
