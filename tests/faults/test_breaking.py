"""A conversation that breaks in the middle: hang, end, reset, corruption, drip, distance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from faultproxy import Fault
from faults.command import CLEAR, NO_TARGET, UNKNOWN
from faults.contract import gave_up_on_a_hang, is_whole, saw_nothing, told_a_broken_connection
from faults.conversation import rung_after, rungs

if TYPE_CHECKING:
    from faults.fixtures import InTime, Look, Proxied

_SAMPLED_BYTES = (0, 1, 5, 9, 17, 33, 64, 200, 1000)
_DEADLINE_S, _PATIENT_S = 1.0, 8.0


@pytest.mark.parametrize("count", _SAMPLED_BYTES)
def test_a_hang_is_given_up_on_the_rung_it_happened(  # noqa: PLR0913  fixtures
    look: Look, proxied: Proxied, kind: str, count: int, whole: dict[str, bytes], in_time: InTime
) -> None:
    with proxied(kind, Fault("hang", count)) as proxy:
        ran = look(kind, f"127.0.0.1:{proxy.port}", _DEADLINE_S)
    gave_up_on_a_hang(ran, kind, whole[kind], count)
    in_time(ran, kind, _DEADLINE_S)
    connections = (
        {count, 2 * count} if kind == "postgres" else {count}
    )  # a login that hangs is tried in another database
    assert len(proxy.answers) in connections


@pytest.mark.parametrize("what", ["fin", "reset"])
@pytest.mark.parametrize("count", [0, 5, 64, 1000])
def test_a_broken_connection_is_told_at_once(  # noqa: PLR0913  fixtures
    look: Look, proxied: Proxied, kind: str, what: str, count: int, whole: dict[str, bytes], in_time: InTime
) -> None:
    with proxied(kind, Fault(what, count)) as proxy:
        ran = look(kind, f"127.0.0.1:{proxy.port}", _PATIENT_S)
    told_a_broken_connection(ran, kind, whole[kind], count)
    in_time(ran, kind, 0.0)
    assert len(proxy.answers) == count


@pytest.mark.parametrize("what", ["fin", "reset"])
def test_a_connection_that_breaks_between_two_rungs_is_told(
    look: Look, proxied: Proxied, kind: str, what: str, whole: dict[str, bytes]
) -> None:
    for count, _ in rungs(kind, whole[kind]):
        with proxied(kind, Fault(what, count)) as proxy:
            ran = look(kind, f"127.0.0.1:{proxy.port}", _PATIENT_S)
        told_a_broken_connection(ran, kind, whole[kind], count)


@pytest.mark.parametrize("offset", [0, 1, 5, 9, 33, 64, 200, 1000])
def test_a_corrupt_byte_is_no_bug(look: Look, proxied: Proxied, kind: str, offset: int, in_time: InTime) -> None:
    with proxied(kind, Fault("flip", offset)) as proxy:
        ran = look(kind, f"127.0.0.1:{proxy.port}", _DEADLINE_S)
    is_whole(ran)
    in_time(ran, kind, _DEADLINE_S)
    assert ran.code in (CLEAR, UNKNOWN, NO_TARGET, 1, 2)  # a changed letter or number is still a letter or number


def test_a_drip_does_not_outlast_the_deadline(
    look: Look, proxied: Proxied, kind: str, whole: dict[str, bytes], in_time: InTime
) -> None:
    with proxied(kind, Fault("drip", bytes_per_s=50)) as proxy:
        ran = look(kind, f"127.0.0.1:{proxy.port}", _DEADLINE_S)
    in_time(ran, kind, _DEADLINE_S)
    heard = len(proxy.answers)
    assert 0 < heard < 60
    saw_nothing(ran, kind, rung_after(kind, whole[kind], heard - 1), rung_after(kind, whole[kind], heard))


@pytest.mark.parametrize("count", [0, 9])
def test_a_hang_of_the_way_there_is_given_up(
    look: Look, proxied: Proxied, kind: str, count: int, in_time: InTime
) -> None:
    with proxied(kind, Fault("hang", count, toward="server")) as proxy:
        ran = look(kind, f"127.0.0.1:{proxy.port}", _DEADLINE_S)
    saw_nothing(ran, kind, "tls", "auth")
    in_time(ran, kind, _DEADLINE_S)


def test_a_server_200_ms_away_is_read_in_few_round_trips(look: Look, proxied: Proxied, kind: str) -> None:
    with proxied(kind, Fault("delay", delay_s=0.2)) as proxy:
        ran = look(kind, f"127.0.0.1:{proxy.port}", _PATIENT_S)
    is_whole(ran)
    assert ran.code == CLEAR
    (footprint,) = ran.report["footprint"].values()
    assert 0.4 <= footprint["took_s"] <= 10 * 0.2
