"""Take `RedisLoad`: what the servers count, and the keys they name by themselves while we look.

One INFO is tens of microseconds of a server's time. The primaries of a cluster and the connected replicas are
asked as well, since each counts only its own. The dialled server names missed keys where its
keyspace events carry `m`, and keys changed under the prefix of --match through broadcast tracking;
both come over a second connection, so that no setting of the server is touched.
Source: redis.io, "INFO", "Redis keyspace notifications" (keymiss), "CLIENT TRACKING" (BCAST).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

import msgspec
from redis.exceptions import ResponseError

from diag.errors import Rung, SourceError, Unreadable
from diag.snapshots.base import Gap, Scope
from diag.snapshots.redis import KeyEvents, NodeReads, RedisLoad, WatchedKey
from diag.sources.redis.connection import Session, ask, refused, shaped
from diag.sources.redis.listening import listen
from diag.sources.redis.named import frequencies, is_name, watched
from diag.sources.redis.nodes import Around, Node, around, is_cluster
from diag.sources.redis.replies import (
    fields,
    gap,
    has_expire_time,
    keyspace,
    loading,
    moment,
    number,
    parsed,
    ratio,
    version_of,
)
from diag.text import KeyText, ServerText

_SECTIONS = ("INFO", "all")  # commandstats and errorstats are not in the default ones


def redis_load(session: Session, scope: Scope) -> RedisLoad:
    """Read the counters once. Raises a `SourceError` when INFO cannot be read: without it there is nothing."""
    started = time.monotonic()
    ears = listen(session, scope)
    own = session.own.copy()
    replies = ask(session, [_SECTIONS, ("TIME",)])
    if isinstance(replies[0], ResponseError):
        raise refused(session, replies[0], "+info")
    told = parsed(shaped(replies[0], bytes))
    if "keyspace_hits" not in told:
        message = "the server's INFO has no counters"  # zeros would look like health
        raise Unreadable(message, rung=Rung.DECODE, fix="look at redis-cli INFO all: is something in between?")
    ours = isinstance(replies[1], ResponseError)
    observed_at = datetime.now(UTC) if ours else moment(shaped(replies[1], tuple[bytes, bytes]))
    dialled = Node(session=session, told=told, own=own)
    beside = around(session, told, replicas=True)
    dialled.replica = told.get("role") == "slave" and bool(beside.primaries)
    gaps = [*ears.gaps, *beside.cluster_gaps, *beside.replica_gaps, *_refreshed(beside)]
    nodes = [dialled, *beside.primaries, *beside.replicas]
    reads = tuple(_reads(node) for node in nodes)  # before our further look-ups are counted
    watch = _watched(nodes, scope, observed_at.timestamp(), gaps)
    missed, written = (ears.listener.taken(changed=changed) if ears.listener else None for changed in (False, True))
    gaps += _gaps(told, clustered=is_cluster(session, told), listening=missed is not None)
    holders = [node.told for node in nodes if not node.replica]
    return RedisLoad(
        target=msgspec.structs.replace(session.target, version=version_of(told)),
        observed_at=observed_at,
        took_s=time.monotonic() - started,
        gaps=tuple(gaps),
        run_id=told.get("run_id", ""),
        role=told.get("role", ""),
        uptime_s=float(number(told, "uptime_in_seconds")),
        keyspace_hits=sum(one.keyspace_hits for one in reads),
        keyspace_misses=sum(one.keyspace_misses for one in reads),
        expired_keys=_sum(holders, "expired_keys"),
        expired_stale_ratio=_stale(holders),
        evicted_keys=_sum(holders, "evicted_keys"),
        keys=sum(keyspace(one, "keys") for one in holders),
        volatile_keys=sum(keyspace(one, "expires") for one in holders),
        used_memory_bytes=_sum(holders, "used_memory"),
        maxmemory_bytes=_sum(holders, "maxmemory"),
        maxmemory_policy=told.get("maxmemory_policy", ""),
        changes=_sum(holders, "rdb_changes_since_last_save"),
        calls=_calls([node for node in nodes if not node.replica]),
        errors=_counted([node.told for node in nodes], "errorstat_", "count"),
        missed=missed,
        written=written,
        frequencies=frequencies(session, _named(watch, missed, written)) if _counts_use(told) else (),
        keyspace_events=ears.configured,
        watched=watch,
        nodes=reads,
        replicas=tuple(ServerText(address) for address in beside.unreached),
    )


def _refreshed(beside: Around) -> Iterator[Gap]:
    """Ask the other servers again; one that is lost is not asked any more, keeps the figures it had, and is a gap."""
    for node in (*beside.primaries, *beside.replicas):
        if not node.lost:
            node.lost = _refresh(node)
        if node.lost:
            yield node.lost


def _refresh(node: Node) -> Gap | None:
    own = node.session.own.copy()
    try:
        (reply,) = ask(node.session, [_SECTIONS])
        if not isinstance(reply, ResponseError):
            node.hear(parsed(shaped(reply, bytes)), own)
            return None
        error = refused(node.session, reply, "+info")
    except SourceError as broken:
        error = broken
    what = f"what {node.address} counted since it was asked last"
    return gap("replicas" if node.replica else "nodes", what, error.message, error.fix)


def _reads(node: Node) -> NodeReads:
    """Return what one server counts, without our own look-ups there."""
    return NodeReads(
        address=ServerText(node.address),
        role=node.told.get("role", ""),
        run_id=node.told.get("run_id", ""),
        keyspace_hits=max(0, number(node.told, "keyspace_hits") - node.own.hits),
        keyspace_misses=max(0, number(node.told, "keyspace_misses") - node.own.misses),
        keys=keyspace(node.told, "keys"),
    )


def _watched(nodes: Sequence[Node], scope: Scope, now: float, gaps: list[Gap]) -> WatchedKey | None:
    """Look up the asked key, when a whole name was asked for, where keys are held."""
    if not is_name(scope.match):
        return None
    holders = [node.session for node in nodes if not node.replica]
    try:
        found = watched(holders, scope.match, now, modern=has_expire_time(nodes[0].told))
    except SourceError as error:
        found = error
    if isinstance(found, SourceError):
        gaps.append(gap("watched", "the asked key", found.message, found.fix))
        return None
    return found


def _counts_use(told: Mapping[str, str]) -> bool:
    """Tell whether the server counts how often each key is used."""
    return "lfu" in told.get("maxmemory_policy", "")


def _named(watch: WatchedKey | None, *events: KeyEvents | None) -> Iterator[KeyText]:
    """Yield the keys that were named in this frame, the asked one first."""
    if watch:
        yield watch.key
    for one in events:
        yield from (key.key for key in (one.top if one else ()))


def _sum(holders: Sequence[Mapping[str, str]], name: str) -> int:
    return sum(number(told, name) for told in holders)


def _stale(holders: Sequence[Mapping[str, str]]) -> float:
    """Return the share of expired keys still held, over the servers by how many keys could expire there."""
    weights = [keyspace(told, "expires") for told in holders]
    shares = [ratio(told, "expired_stale_perc") for told in holders]
    if not any(weights):
        return max(shares, default=0.0)
    return sum(share * weight for share, weight in zip(shares, weights, strict=True)) / sum(weights)


def _calls(holders: Sequence[Node]) -> dict[str, int]:
    """Return the calls of each command without our own; before Redis 7.0 those of `CLIENT …` are one command's."""
    counts: Counter[str] = Counter()
    for node in holders:
        told = _counted([node.told], "cmdstat_", "calls")
        for name, own in node.own.calls.items():
            counted = name if name in told else name.partition("|")[0]
            told[counted] = told.get(counted, 0) - own
        counts.update(told)
    return {name: count for name, count in counts.items() if count > 0}


def _counted(holders: Sequence[Mapping[str, str]], prefix: str, field: str) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for told in holders:
        for name, value in told.items():
            if name.startswith(prefix):
                counts[name.removeprefix(prefix)] += number(fields(value), field)
    return dict(counts)


def _gaps(told: Mapping[str, str], *, clustered: bool, listening: bool) -> Iterator[Gap]:
    if told.get("loading") == "1":
        why = loading(told)
        yield gap("keys", "keys, and reads of them", why.message, why.fix)
    if clustered and listening:
        what, fix = "missed keys that other nodes name", "diag with --redis-url of that node"
        yield gap("missed", what, "only the dialled node was listened to", fix)
    if "cmdstat_info" not in told:
        yield gap("calls", "calls by command", "the server's INFO has no commandstats", "")
