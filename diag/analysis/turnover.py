"""How often the membership of a group changed, and whether that is more than members being replaced.

A rolling deployment changes the membership often, too, but every member goes or comes once, and
then it is over. In a loop members come and go again: an id appears and is gone, or is gone and back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta
from itertools import pairwise

from msgspec import Struct

from diag.analysis.progress import GroupCourse
from diag.snapshots.base import Window
from diag.snapshots.kafka import KafkaHistory, KafkaLag
from diag.text import ServerText

_LIVE_CHANGES, _PAST_CHANGES = 1, 2  # in the last third: one a period live, two of the default poll interval


class Turnover(Struct, frozen=True, kw_only=True):
    """The changes of membership in the last `span_s` seconds, oldest first.

    `returns` counts comings and goings beyond the first of each member; None when member ids are not known.
    """

    changes: tuple[datetime, ...]
    span_s: float
    returns: int | None

    @property
    def per_minute(self) -> float:
        """Changes a minute."""
        return 60.0 * len(self.changes) / self.span_s

    @property
    def period_s(self) -> float:
        """Seconds from one change to the next, on average; there must be two."""
        return (self.changes[-1] - self.changes[0]).total_seconds() / (len(self.changes) - 1)


def loop(
    group: GroupCourse,
    window: Window[KafkaLag],
    history: KafkaHistory | None,
    *,
    changes: int,
    recent_s: float,
) -> Turnover | None:
    """Return the changes of a membership that does not come to rest; None when it does, or nobody can tell.

    The window counts for itself: `changes` in it, still going on in its last third, with members that come
    and go. In the history it takes twice as many within `recent_s`, as fast as one default max.poll.interval.ms
    after the other in the last third, and where ids are not known, as fast from the beginning.
    """
    now = window.last.observed_at
    seen = _turnover(group, now, window.span_s, _live_returns(group, window))
    if len(seen.changes) >= changes and _in_third(seen, now, 3) >= _LIVE_CHANGES and seen.returns:
        return seen
    if history is None or history.span_s <= 0:
        return None
    past = _turnover(group, now, min(recent_s, history.span_s), _past_returns(group, now, recent_s, history))
    if len(past.changes) < 2 * changes or _in_third(past, now, 3) < _PAST_CHANGES:
        return None
    spread = all(_in_third(past, now, third) >= _PAST_CHANGES for third in (1, 2))
    return past if (spread if past.returns is None else past.returns) else None


def _turnover(group: GroupCourse, now: datetime, span_s: float, returns: int | None) -> Turnover:
    since = now - timedelta(seconds=span_s)
    changes = tuple(sorted(at for at in group.changed_at if since <= at <= now))
    return Turnover(changes=changes, span_s=span_s, returns=returns)


def _in_third(seen: Turnover, now: datetime, third: int) -> int:
    """Count the changes in the first, second or last third of the span."""
    since = now - timedelta(seconds=seen.span_s * (4 - third) / 3)
    return sum(since < at <= since + timedelta(seconds=seen.span_s / 3) for at in seen.changes)


def _live_returns(group: GroupCourse, window: Window[KafkaLag]) -> int:
    """Count returns between frames, and the epochs (KIP-848) beyond what their members show."""
    epochs = [
        one.epoch
        for frame in window.frames
        for one in frame.groups
        if one.group == group.group.group and one.epoch is not None
    ]
    turns = _turns(group.member_ids)
    hidden = epochs[-1] - epochs[0] - sum(turns.values()) if epochs else 0
    return _returns(turns) + max(0, hidden)


def _past_returns(group: GroupCourse, now: datetime, recent_s: float, history: KafkaHistory) -> int | None:
    since = now - timedelta(seconds=recent_s)
    generations = [one.members for one in history.rebalances if one.group == group.group.group and one.at >= since]
    known = [frozenset(members) for members in generations if members is not None]
    return _returns(_turns(known)) if known and len(known) == len(generations) else None


def _turns(sets: Sequence[AbstractSet[ServerText]]) -> Counter[ServerText]:
    """Count how often each member came or went."""
    return Counter(member for before, after in pairwise(sets) for member in before ^ after)


def _returns(turns: Counter[ServerText]) -> int:
    return sum(count - 1 for count in turns.values())
