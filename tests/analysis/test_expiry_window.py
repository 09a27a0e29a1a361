"""Where a cluster of expiries begins: a stray of the background in its window does not say so."""

from __future__ import annotations

import pytest

from diag.analysis.expiry import densest_window
from diag.snapshots.redis import KeyFamily
from diag.text import KeyText

CLUSTER = [100 + number / 100 for number in range(200)]  # 100.00 … 101.99

WINDOWS = {
    "nothing beside it": ([], 100.0, 1.99),
    "a stray two seconds before": ([98.0], 100.0, 1.99),
    "a stray on either side": ([98.5, 103.0], 100.0, 1.99),
    "just under a tenth of the window apart": ([99.51], 99.51, 2.48),
    "more than one in forty are no strays": ([98.0, 98.1, 98.2, 98.3, 98.4, 98.5], 98.0, 3.99),
}


@pytest.mark.parametrize(("beside", "from_s", "width_s"), WINDOWS.values(), ids=WINDOWS.keys())
def test_strays_do_not_move_the_moment(beside, from_s, width_s):
    cluster = densest_window(KeyFamily(pattern=KeyText("k"), expires_in_s=tuple(sorted([*CLUSTER, *beside]))), 5.0, 1)
    assert (cluster.from_s, round(cluster.width_s, 2)) == (from_s, width_s)
    assert cluster.sampled_keys == len(CLUSTER) + len(beside)


def test_a_small_cluster_is_told_with_every_key():
    cluster = densest_window(KeyFamily(pattern=KeyText("k"), expires_in_s=(97.0, 100.0, 100.1)), 5.0, 1)
    assert (cluster.from_s, round(cluster.width_s, 1)) == (97.0, 3.1)
