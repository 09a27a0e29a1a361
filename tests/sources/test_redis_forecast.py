"""The forecast of keys that expire together, on a real server: a tenth of what `make proof` tries."""

from __future__ import annotations

import pytest
from forecasts import CLIFF_SHARE, fill, forecast

from diag.sources.redis import pace

KEYS, LOOKS, LEAST_COVERED = 60_000, 20, 17  # of 20 intervals of 95 %, fewer than 17 is a chance of 1 in 400


@pytest.fixture(autouse=True)
def busy_machine(monkeypatch):
    """Where many tests share a processor, a late answer is not the server's suffering."""
    monkeypatch.setattr(pace, "_SUFFERING_S", 1.0)


def test_the_moment_and_the_number_of_keys_are_right(private_redis):
    url = private_redis().url
    begins_at = fill(url, KEYS, CLIFF_SHARE)
    looks = [forecast(url) for _ in range(LOOKS)]
    assert all(one.alarm and abs(one.begins_at - begins_at) <= 1.0 for one in looks)
    covered = sum(one.at_least <= CLIFF_SHARE * KEYS <= one.at_most for one in looks)
    assert covered >= LEAST_COVERED


def test_times_to_live_that_are_well_spread_are_no_alarm(private_redis):
    url = private_redis().url
    fill(url, KEYS, 0.0)
    assert not any(forecast(url).alarm for _ in range(LOOKS))
