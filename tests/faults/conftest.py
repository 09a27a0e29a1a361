"""Fixtures for every story about faults, and the summary of how late commands ended."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("faults.contract", "faults.fixtures")

from faults.fixtures import (  # noqa: E402  rewritten first, so that a failure says why
    LATE,
    home,
    in_time,
    kafka_with_groups,
    kind,
    look,
    proxied,
    whole,
)

__all__ = ["home", "in_time", "kafka_with_groups", "kind", "look", "proxied", "whole"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how late the latest command of each kind was."""
    if not any(LATE.values()):
        return
    terminalreporter.section("time beyond the deadline (allowed: 500 ms)")
    for server, late in LATE.items():
        if late:
            worst_s, name = max(late)
            terminalreporter.line(f"{server}: worst {1000 * worst_s:+.0f} ms in {name}, of {len(late)} commands")
