"""What a report says that a look cost is what crossed the wire, by the proxy's independent count."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from faults.command import CLEAR
from faults.contract import is_whole

if TYPE_CHECKING:
    from faults.fixtures import Look, Proxied

_WITHIN = 0.02


def test_the_footprint_is_what_the_proxy_counted(look: Look, proxied: Proxied, kind: str) -> None:
    with proxied(kind) as proxy:
        ran = look(kind, f"127.0.0.1:{proxy.port}", 8.0)
    is_whole(ran)
    assert ran.code == CLEAR
    (footprint,) = ran.report["footprint"].values()
    assert proxy.connections == 1
    assert footprint["bytes_in"] == pytest.approx(len(proxy.answers), rel=_WITHIN)
    assert footprint["bytes_out"] == pytest.approx(proxy.to_server_bytes, rel=_WITHIN)
