"""Committed offsets that went back, told apart from commits that only came late.

Asynchronous commits may overtake one another: an older one lands last, and the next puts it right.
A rewind stays behind: two later commits do not reach the old offset again, or so much time has
passed, or it is further back than what a few polls read. Source: KafkaConsumer, commitAsync.
"""

from __future__ import annotations

from itertools import pairwise

from msgspec import Struct

from diag.analysis.progress import Course, Points


class Rewind(Struct, frozen=True, kw_only=True):
    """The newest rewind of one partition; `at_s` counts back from now, `times` counts all that are known."""

    course: Course
    at_s: float
    from_offset: int
    to_offset: int
    times: int

    @property
    def records(self) -> int:
        """By how many records it went back."""
        return self.from_offset - self.to_offset


def rewind(course: Course, *, settled_s: float, late_records: int) -> Rewind | None:
    """Return the rewind of a partition that still reads what it had read, or that was rewound again and again.

    A single one that has been caught up with is past, and no reason of what lags now.
    """
    found = [
        (later[0], earlier[1], later[1])
        for earlier, later, following in _falls(course.committed)
        if max(following, default=later[1]) < earlier[1]
        and (len(following) > 1 or later[0] <= -settled_s or earlier[1] - later[1] >= late_records)
    ]
    if not found or (len(found) == 1 and course.row.committed_offset >= found[0][1]):
        return None
    at_s, from_offset, to_offset = found[-1]
    return Rewind(course=course, at_s=at_s, from_offset=from_offset, to_offset=to_offset, times=len(found))


def _falls(committed: Points) -> list[tuple[tuple[float, int], tuple[float, int], tuple[int, ...]]]:
    """Return each fall as the commit before, the commit after, and the offsets of the two commits that follow."""
    commits = [committed[0], *(later for earlier, later in pairwise(committed) if later[1] != earlier[1])]
    return [
        (earlier, later, tuple(offset for _, offset in commits[index + 2 : index + 4]))
        for index, (earlier, later) in enumerate(pairwise(commits))
        if later[1] < earlier[1]
    ]
