"""Five hundred random piles of waiting sessions, over the major versions: predicted to go free is what goes free."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
from conftest import PostgresOf, every_major
from piles import trial
from proof.progress import Progress

pytestmark = [pytest.mark.proof, pytest.mark.timeout(3600)]

PILES = 500
LEAST_RIGHT = 0.99
_MAJORS = every_major()


@pytest.fixture(scope="module")
def progress() -> Iterator[Progress]:
    """What was tried; the figures are written when this module ends, also when it is interrupted."""
    progress = Progress("piles")
    yield progress
    progress.publish(_words(progress))


def test_the_count_that_is_promised_is_the_count_that_goes_free(postgres_of: PostgresOf, progress: Progress) -> None:
    for seed in range(1_000, 1_000 + PILES):
        if str(seed) not in progress.trials:
            major = _MAJORS[seed % len(_MAJORS)]
            predicted, real = trial(postgres_of(major).dsn, seed)
            progress.add(str(seed), major=major, predicted=len(predicted), right=predicted == real)
    tried = list(progress.trials.values())
    assert len(tried) >= PILES
    assert sum(one["right"] for one in tried) >= LEAST_RIGHT * len(tried)


def _words(progress: Progress) -> str:
    tried = list(progress.trials.values())
    by_major = Counter(one["major"] for one in tried)
    right = sum(one["right"] for one in tried)
    freed = sum(one["predicted"] for one in tried)
    each = ", ".join(f"{count} on {major}" for major, count in sorted(by_major.items()))
    return (
        "## Piles: what is predicted to go free\n\n"
        f"{len(tried)} random piles of locks ({each}), one actor of each ended: {right} predicted exactly"
        f" (target {LEAST_RIGHT:.0%}); {freed} sessions were set free.\n"
    )
