"""The proofs use what the sampled tests of the same stories use."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("faults.contract", "faults.fixtures")

from faults.fixtures import home, kafka_with_groups, kind, look, proxied, whole  # noqa: E402  rewritten first

__all__ = ["home", "kafka_with_groups", "kind", "look", "proxied", "whole"]
