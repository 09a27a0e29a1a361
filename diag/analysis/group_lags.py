"""The ranked table: every group on every topic where something is left to read, most behind first."""

from __future__ import annotations

import math
from enum import StrEnum
from functools import lru_cache

from diag.analysis.capacity import capacity, loss_in_s
from diag.analysis.consumer_lag import TopicLag, topic_lags
from diag.analysis.progress import Course, group_courses
from diag.snapshots.base import Row, Window
from diag.snapshots.kafka import KafkaLag, TopicSettings
from diag.text import ServerText


class Trend(StrEnum):
    """Where the lag of a group goes, over the window."""

    GROWING = "growing"
    DRAINING = "draining"
    STEADY = "steady"
    UNKNOWN = "unknown"


class GroupRow(Row, frozen=True, kw_only=True):
    """One row of `facts.groups[]`: one group on one topic. None is "not known".

    `member_per_s` is what one member reads under backlog; it shows only there. `drain_s` pools all
    members, `drain_assigned_s` lets each read what it owns; both only while the lag shrinks.
    `loss_in_s` is when the oldest unread record may be deleted at the earliest.
    """

    group: ServerText
    topic: ServerText
    state: str
    members: int | None
    partitions: int
    lag_records: int
    lag_s: float | None
    trend: Trend
    produce_per_s: float | None
    consume_per_s: float | None
    member_per_s: float | None
    drain_s: float | None
    drain_assigned_s: float | None
    loss_in_s: float | None


@lru_cache(maxsize=4)
def group_rows(window: Window[KafkaLag]) -> tuple[GroupRow, ...]:
    """Return the rows, the latest first; where seconds are unknown, by records."""
    settings = {one.topic: one for one in window.last.topics}
    courses: dict[tuple[ServerText, ServerText], list[Course]] = {}
    if window.span_s > 0:
        for of_group in group_courses(window):
            for course in of_group.courses:
                courses.setdefault((course.row.group, course.row.topic), []).append(course)
    rows = [
        _row(window.last.target.name, lag, courses.get((lag.group.group, lag.topic), []), settings.get(lag.topic))
        for lag in topic_lags(window)
    ]
    return tuple(sorted(rows, key=lambda row: (-(row.lag_s or 0.0), -row.lag_records)))


def _row(target: str, lag: TopicLag, courses: list[Course], settings: TopicSettings | None) -> GroupRow:
    known = capacity(courses) if courses else None
    members = lag.group.members
    return GroupRow(
        target=target,
        group=lag.group.group,
        topic=lag.topic,
        state=lag.group.state,
        members=None if members is None else len(members),
        partitions=len(lag.rows),
        lag_records=lag.lag_records,
        lag_s=lag.lag_s,
        trend=_trend(courses),
        produce_per_s=known.produce_per_s if known else None,
        consume_per_s=known.consume_per_s if known else None,
        member_per_s=known.member_per_s if known else None,
        drain_s=_finite(known.drain_s) if known else None,
        drain_assigned_s=_finite(known.drain_assigned_s) if known else None,
        loss_in_s=loss_in_s(settings.retention_s if settings else None, lag.lag_s),
    )


def _trend(courses: list[Course]) -> Trend:
    """Compare first and last: a change within one commit of each partition is a step of the sawtooth."""
    if not courses or any(len(course.lags) < 2 for course in courses):  # noqa: PLR2004  a trend has two ends
        return Trend.UNKNOWN
    change = sum(course.lags[-1][1] - course.lags[0][1] for course in courses)
    step = sum(course.largest_step_records for course in courses)
    if change > step:
        return Trend.GROWING
    if change < 0 and (change < -step or all(course.backlogged for course in courses)):
        return Trend.DRAINING
    return Trend.STEADY


def _finite(span_s: float | None) -> float | None:
    return None if span_s is None or math.isinf(span_s) else span_s
