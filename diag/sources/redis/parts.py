"""What each server contributes to a sample of keys: how it is drawn there, and for how many keys it stands."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence

import msgspec
from msgspec import Struct
from redis.exceptions import ResponseError

from diag.errors import SourceError
from diag.snapshots.base import Gap, Scope
from diag.sources.redis.connection import Session, ask
from diag.sources.redis.named import GONE, is_name, look_up
from diag.sources.redis.nodes import Node, around, is_cluster
from diag.sources.redis.pace import AHEAD, Pace, bare_trip_s
from diag.sources.redis.replies import gap, has_expire_time, keyspace, ratio
from diag.sources.redis.sampling import Sample, Server, blocks, draws, every, walk
from diag.text import visible

SAMPLE_KEYS = 5_000
"""Finds a cluster of 2 % of a family with power 0.99; costs 10 to 40 ms of server time, by how cold its memory is."""
FEWEST_KEYS = 400
"""Finds a cluster of 5-10 % of a family; fewer are no look."""
GRANT = "+scan +randomkey +pexpiretime +pttl %R~*"
_MATCHING_PER_S = 50_000  # looking through names costs a third of looking up times
_MOST_MATCHING = 200_000  # keys looked through for a pattern: 4 s
_MOST_KEPT = 50_000  # of a full pass: finds a cluster of 0.5 % of a family, and fits an evidence file
_NAMED = "the named key"
_TOO_FEW = 0.5  # of what was wanted: the cursor means something else here, and blocks are not to be had


class Part(Struct, kw_only=True):
    """The sample of one server, and the `living` keys it stands for: DBSIZE without keys that are due."""

    session: Session
    sample: Sample
    living: int
    modern: bool
    method: str
    pace: Pace | None = None


def sampled(  # noqa: PLR0913  what is known of the server, and what is asked
    session: Session,
    told: dict[str, str],
    size: int | None,
    scope: Scope,
    gaps: list[Gap],
    *,
    names_only: bool = False,
) -> list[Part]:
    """Sample every server that holds keys; `told` and `size` are INFO and DBSIZE of the dialled one.

    What cannot be seen is added to `gaps`. Raises a `SourceError` when the dialled one is lost.
    """
    nodes = [Node(session=session, told=told)]
    if is_cluster(session, told):
        found = around(session, told)
        gaps += [msgspec.structs.replace(one, fact="families") for one in found.cluster_gaps]
        nodes = [node for node in (*nodes, *found.primaries) if node.told.get("role") != "slave"]
    if is_name(scope.match) and nodes:
        return _named(nodes, scope.match, gaps)
    if scope.full and len(nodes) == 1 and not (scope.match or names_only):
        part = _full_part(nodes[0], size or 0, allowed=scope.full == "primary")
        gaps += [part] if isinstance(part, Gap) else []
        return [] if isinstance(part, Gap) else [part]
    here = size if nodes and nodes[0].session is session else None
    parts, lost = _parts_of(nodes, here, scope.match, names_only=names_only)
    gaps += lost
    return parts


def _named(nodes: Sequence[Node], name: str, gaps: list[Gap]) -> list[Part]:
    """Look a key up, on each server until one has it."""
    modern, refusal = has_expire_time(nodes[0].told), None
    for node in nodes:
        told_ms = look_up([node.session], name, modern=modern)
        if isinstance(told_ms, SourceError):
            refusal = told_ms
        elif told_ms != GONE:
            found = Sample(expiries=[(name.encode("utf-8", "surrogateescape"), told_ms)], whole=True)
            return [Part(session=node.session, sample=found, living=1, modern=modern, method=_NAMED)]
    if refusal is not None:
        gaps.append(gap("families", "when the asked key expires", refusal.message, refusal.fix))
        return []
    return [Part(session=nodes[0].session, sample=Sample(whole=True), living=0, modern=modern, method=_NAMED)]


def _full_part(node: Node, size: int, *, allowed: bool) -> Part | Gap:
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


def _parts_of(
    nodes: Sequence[Node], dialled_size: int | None, match: str, *, names_only: bool
) -> tuple[list[Part], list[Gap]]:
    """Sample each server, the dialled one first and of several each by its share of the keys; a lost one is a gap.

    Raises a `SourceError` when the dialled one itself is lost.
    """
    parts: list[Part] = []
    gaps: list[Gap] = []
    sized: list[tuple[int, Node, int]] = []
    for number, node in enumerate(nodes):
        try:
            sized.append((number, node, _size(node) if number or dialled_size is None else dialled_size))
        except SourceError as error:
            if not number or node.session.probe.deadline.passed:
                raise
            gaps.append(gap("families", f"the keys of {visible(node.address)}", error.message, error.fix))
    total = sum(size for _, _, size in sized)
    for number, node, size in sized:
        wanted = -(-SAMPLE_KEYS * size // total) if total else 0
        whole = total <= SAMPLE_KEYS
        try:
            parts.append(_part(node, size, match, wanted=wanted, whole=whole, names_only=names_only))
        except SourceError as error:
            if not number or node.session.probe.deadline.passed:
                raise
            gaps.append(gap("families", f"the keys of {visible(node.address)}", error.message, error.fix))
    return parts, gaps


def _size(node: Node) -> int:
    (reply,) = ask(node.session, [("DBSIZE",)])
    return keyspace(node.told, "keys", node.session.database) if isinstance(reply, ResponseError) else int(reply)


def _part(node: Node, size: int, match: str, *, wanted: int, whole: bool, names_only: bool) -> Part:  # noqa: PLR0913
    modern, clustered = has_expire_time(node.told), node.told.get("cluster_enabled") == "1"
    pace = Pace(node.session.probe, bare_trip_s(node.session), _MATCHING_PER_S if match else 0)
    server = Server(session=node.session, pace=pace, modern=modern, match=match, names_only=names_only)
    most = _MOST_MATCHING if match else wanted
    if whole or (match and clustered):
        sample, where = walk(server, size, _MOST_MATCHING), "from the beginning"
    elif clustered:
        sample, where = draws(server, wanted), ""
    else:
        sample, where = blocks(server, wanted, most), "in blocks at spread places"
    few = sample.undrawn is not None or len(sample.expiries) < _TOO_FEW * min(wanted, size)
    if where and few and not (match or sample.whole or sample.refusal or pace.stopped):
        sample, where = draws(server, max(1, wanted)), ""  # one, to learn whether it is permitted
        sample.whole = not size and sample.undrawn is None
    method = f"{'SCAN MATCH' if match else 'SCAN'} {where}" if where else "RANDOMKEY, with replacement"
    due = round(ratio(node.told, "expired_stale_perc") * keyspace(node.told, "expires", node.session.database))
    living = max(0, size - due)
    if sample.whole:
        living, method = len(sample.expiries), f"{'SCAN MATCH' if match else 'SCAN'}, every key"
    elif match:
        living = round(len(sample.expiries) / sample.seen_ratio) if sample.seen_ratio else 0
    return Part(session=node.session, sample=sample, living=living, modern=modern, method=method, pace=pace)


def method_of(parts: Sequence[Part]) -> str:
    """Say how the keys were drawn, and what the pace made of it."""
    if not parts:
        return "nothing was sampled"
    where = f" on {len(parts)} servers" if len(parts) > 1 else ""
    slowed = max((part.pace.halved for part in parts if part.pace), default=0)
    stops = dict.fromkeys(part.pace.why for part in parts if part.pace and part.pace.why and not part.sample.whole)
    words = [parts[0].method + where]
    words += [f"slowed to 1/{2**slowed} as our own round trips grew"] if slowed else []
    words += [f"stopped: {why}" for why in stops]
    return "; ".join(words)
