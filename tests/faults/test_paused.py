"""A server that was stopped where it stood (SIGSTOP): its kernel still accepts, and nobody answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from faults.command import CLEAR
from faults.contract import is_whole, saw_nothing

from diag.lab import services

if TYPE_CHECKING:
    import pytest
    from faults.fixtures import InTime, Look

_DEADLINE_S, _PATIENT_S = 1.2, 8.0
_PRIVATE = {"postgres": "private_postgres", "redis": "private_redis", "kafka": "private_kafka"}
_FIRST_ANSWER = {"postgres": "tls", "redis": "auth", "kafka": "auth"}


def test_a_paused_server_is_given_up_and_read_again_when_it_goes_on(
    look: Look, kind: str, request: pytest.FixtureRequest, in_time: InTime
) -> None:
    server = request.getfixturevalue(_PRIVATE[kind])()
    address = f"127.0.0.1:{server.port}"
    services.pause(server)
    try:
        ran = look(kind, address, _DEADLINE_S)
    finally:
        services.resume(server)
    saw_nothing(ran, kind, _FIRST_ANSWER[kind])
    in_time(ran, kind, _DEADLINE_S)
    again = look(kind, address, _PATIENT_S)
    is_whole(again)
    assert again.code == CLEAR
    assert [target["kind"] for target in again.report["targets"]] == [kind]
