"""What each server contributes to a sample of keys: how it is drawn there, and for how many keys it stands."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence

from msgspec import Struct
from redis.exceptions import ResponseError

from diag.errors import SourceError
from diag.snapshots.base import Gap
from diag.sources.redis.connection import Session, ask
from diag.sources.redis.nodes import Node
from diag.sources.redis.pace import AHEAD, Pace, bare_trip_s
from diag.sources.redis.replies import gap, has_expire_time, keyspace, ratio
from diag.sources.redis.sampling import Sample, Server, blocks, draws, every, walk
from diag.text import visible

SAMPLE_KEYS = 5_000
"""Finds a cluster of 2 % of a family with power 0.99, and costs about 10 ms of server time."""
FEWEST_KEYS = 400
"""Finds a cluster of 5-10 % of a family; fewer are no look."""
GRANT = "+scan +randomkey +pexpiretime +pttl %R~*"
_MATCHING_PER_S = 50_000  # looking through names costs a third of looking up times
_MOST_MATCHING = 200_000  # keys looked through for a pattern: 4 s
_MOST_KEPT = 50_000  # of a full pass: finds a cluster of 0.5 % of a family, and fits an evidence file
_TOO_FEW = 0.5  # of what was wanted: the cursor means something else here, and blocks are not to be had


class Part(Struct, kw_only=True):
    """The sample of one server, and the `living` keys it stands for: DBSIZE without keys that are due."""

    session: Session
    sample: Sample
    living: int
    modern: bool
    method: str
    pace: Pace | None = None


def full_part(node: Node, size: int, *, allowed: bool) -> Part | Gap:
    """Walk every key of one server: as fast as it goes on a replica, gently on a primary where that was `allowed`."""
    replica = node.told.get("role") == "slave"
    if not replica and not allowed:
        why = "this is a primary: a long walk holds up its own deletion of keys that are due"
        return gap("families", "every key", why, "--full primary, or the --redis-url of a replica")
    modern, session = has_expire_time(node.told), node.session
    rates = (math.inf, math.inf) if replica else (_MATCHING_PER_S, _MATCHING_PER_S)
    server = Server(session=session, pace=Pace(session.probe, bare_trip_s(session), *rates), modern=modern)
    chains = 1 if node.told.get("cluster_enabled") == "1" else AHEAD
    sample = every(server, _MOST_KEPT, chains) if replica else walk(server, size, sys.maxsize)
    method = "SCAN, every key" if sample.whole else "SCAN from the beginning"
    method += f", one in {sample.stride} kept" if sample.stride > 1 else ""
    living = round(sample.met / sample.seen_ratio) if sample.seen_ratio else 0
    return Part(session=session, sample=sample, living=living, modern=modern, method=method, pace=server.pace)


def parts_of(nodes: Sequence[Node], dialled_size: int | None, match: str) -> tuple[list[Part], list[Gap]]:
    """Sample each server, the dialled one first and of several each by its share of the keys; a lost one is a gap.

    Raises a `SourceError` when the dialled one itself is lost.
    """
    parts: list[Part] = []
    gaps: list[Gap] = []
    sizes = [_size(node) if number or dialled_size is None else dialled_size for number, node in enumerate(nodes)]
    total = sum(sizes)
    for number, (node, size) in enumerate(zip(nodes, sizes, strict=True)):
        wanted = -(-SAMPLE_KEYS * size // total) if total else 0
        try:
            parts.append(_part(node, size, match, wanted=wanted, whole=total <= SAMPLE_KEYS))
        except SourceError as error:
            if not number or node.session.probe.deadline.passed:
                raise
            gaps.append(gap("families", f"the keys of {visible(node.address)}", error.message, error.fix))
    return parts, gaps


def _size(node: Node) -> int:
    (reply,) = ask(node.session, [("DBSIZE",)])
    return keyspace(node.told, "keys", node.session.database) if isinstance(reply, ResponseError) else int(reply)


def _part(node: Node, size: int, match: str, *, wanted: int, whole: bool) -> Part:
    modern, clustered = has_expire_time(node.told), node.told.get("cluster_enabled") == "1"
    pace = Pace(node.session.probe, bare_trip_s(node.session), _MATCHING_PER_S if match else 0)
    server = Server(session=node.session, pace=pace, modern=modern, match=match)
    most = _MOST_MATCHING if match else wanted
    if whole or (match and clustered):
        sample, where = walk(server, size, _MOST_MATCHING), "from the beginning"
    elif clustered:
        sample, where = draws(server, wanted), ""
    else:
        sample, where = blocks(server, wanted, most), "in blocks at spread places"
    few = sample.undrawn is not None or len(sample.expiries) < _TOO_FEW * min(wanted, size)
    if where and few and not (match or sample.whole or sample.refusal or pace.stopped):
        sample, where = draws(server, wanted), ""
    method = f"{'SCAN MATCH' if match else 'SCAN'} {where}" if where else "RANDOMKEY, with replacement"
    due = round(ratio(node.told, "expired_stale_perc") * keyspace(node.told, "expires", node.session.database))
    living = max(0, size - due)
    if sample.whole:
        living, method = len(sample.expiries), f"{'SCAN MATCH' if match else 'SCAN'}, every key"
    elif match:
        living = round(len(sample.expiries) / sample.seen_ratio) if sample.seen_ratio else 0
    return Part(session=node.session, sample=sample, living=living, modern=modern, method=method, pace=pace)
