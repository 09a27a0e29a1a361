"""Pasts whose truth is known: a partition lived second by second, and the history that a look at it would give."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from kafka_worlds import KAFKA, place
from worlds import NOW

from diag.lab.kafka_lag._past import Moment, lived
from diag.snapshots.kafka import CommitCurve, KafkaHistory, Mark, Offset, ProduceCurve, Rebalance
from diag.text import ServerText

SPAN_S = 3_600
BEGIN_S = NOW.timestamp() - SPAN_S


def bursts(period_s: int, lasts_s: int, high: float, low: float, *, since_s: int = 0):
    """Written each second: high for a while at the beginning of each period, from some second on."""
    return lambda second: high if second >= since_s and (second - since_s) % period_s < lasts_s else low


def pauses(period_s: int, lasts_s: int, rate: float, *, since_s: int = 0):
    """Read each second: nothing for a while at the beginning of each period, from some second on."""
    return lambda second: 0.0 if second >= since_s and (second - since_s) % period_s < lasts_s else rate


def steadily(rate: float):
    return lambda _: rate


def past(written_per_s, read_per_s, *, commit_s: int = 5, span_s: int = SPAN_S) -> list[Moment]:
    return lived(NOW.timestamp() - span_s, span_s, written_per_s, read_per_s, commit_s=commit_s)


def written_at(moments: Sequence[Moment]) -> list[float]:
    """The time of every record, as the lab writes them."""
    times = []
    for before, after in pairwise(moments):
        count = after.written - before.written
        times += [before.at + (after.at - before.at) * one / count for one in range(count)]
    return times


class Truth:
    """Records and seconds of lag at an instant, counted record by record."""

    def __init__(self, moments: Sequence[Moment]) -> None:
        self.times_ms = [int(1000 * at) for at in written_at(moments)]  # as they stand in the log
        self.commits = [(moment.at, moment.committed) for moment in moments if moment.committed is not None]
        self.instants = [at for at, _ in self.commits]

    def end(self, at: float) -> int:
        return bisect_left(self.times_ms, round(1000 * at, 3))

    def committed(self, at: float) -> int:
        return self.commits[bisect_right(self.instants, at) - 1][1]

    def lag(self, at: float) -> tuple[int, float]:
        end, committed = self.end(at), self.committed(at)
        return max(0, end - committed), at - self.times_ms[committed] / 1000 if committed < end else 0.0


def remembered(
    *pasts: Sequence[Moment],
    group: str = "antifraud",
    topic: str = "events",
    step_s: float = 10.0,
    rebalanced_s: Sequence[float] = (),
    since_s: float | None = None,
) -> KafkaHistory:
    """What `kafka_history` would say of these partitions."""
    begin = pasts[0][0].at if since_s is None else NOW.timestamp() - since_s
    span_s = NOW.timestamp() - begin
    count = round(span_s / step_s)
    step_s = span_s / count
    instants = [begin + number * step_s for number in range(count + 1)]
    since = _moment(begin)
    produced, committed = [], []
    for number, moments in enumerate(pasts):
        times = written_at(moments)
        marks = [(at, bisect_left(times, at)) for at in instants]
        produced.append(ProduceCurve(on=place(number, topic), marks=_marks(marks)))
        commits = [(one.at, one.committed) for one in moments if one.committed is not None]
        committed.append(CommitCurve(group=ServerText(group), on=place(number, topic), marks=_marks(commits)))
    return KafkaHistory(
        target=KAFKA,
        observed_at=NOW,
        since=since,
        step_s=step_s,
        produced=tuple(produced),
        committed=tuple(committed),
        rebalances=tuple(
            Rebalance(group=ServerText(group), at=since + timedelta(seconds=at_s), generation=number)
            for number, at_s in enumerate(rebalanced_s)
        ),
    )


def _marks(points: Sequence[tuple[float, int]]) -> tuple[Mark, ...]:
    return tuple(Mark(at=_moment(at), offset=Offset(offset)) for at, offset in points)


def _moment(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)
