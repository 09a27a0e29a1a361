"""What is said to go free really goes free: random piles, one of them really ended (500 of them in `make proof`)."""

from __future__ import annotations

import pytest
from conftest import every_major
from piles import trial

MAJORS = every_major()


@pytest.mark.parametrize("seed", range(24))
def test_what_is_predicted_to_go_free_goes_free(seed, postgres_of):
    predicted, real = trial(postgres_of(MAJORS[seed % len(MAJORS)]).dsn, seed)
    assert real == predicted
