"""The other servers that hold keys or serve reads with the one that was dialled.

A cluster's primaries by whichever of CLUSTER SHARDS, NODES and SLOTS is permitted, and the replicas that each
primary's INFO lists. Each gets one plain connection, as the same user and with the same TLS, at the
address that the servers announce. Asked for once in a look; whoever cannot be reached is a gap that names it.
Source: redis.io, "CLUSTER SHARDS", "CLUSTER NODES", "CLUSTER SLOTS", "INFO" (replication).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Struct, field
from redis.exceptions import ResponseError

from diag.errors import SourceError
from diag.snapshots.base import Gap
from diag.sources.redis.connection import LookUps, Reply, Session, ask, reach, refused, shaped
from diag.sources.redis.replies import acl_line, fields, gap, parsed
from diag.text import ServerText, visible

_MOST_NODES = 100
_PATIENCE_S = 1.0  # a dead node must not cost the whole look
_SHARE = 0.25  # of what is left of the deadline, for one node
_DISCOVERIES = (("CLUSTER", "SHARDS"), ("CLUSTER", "NODES"), ("CLUSTER", "SLOTS"))
_PERMISSION = "+cluster|shards"


class Node(Struct, kw_only=True):
    """One server that is asked in this look; `told` is its latest INFO, `own` our look-ups there that are in it.

    Once `lost` it is not asked any more.
    """

    session: Session
    told: dict[str, str]
    own: LookUps = field(default_factory=LookUps)
    replica: bool = False
    lost: Gap | None = None

    def hear(self, told: dict[str, str], own: LookUps) -> None:
        """Take a new INFO, and what was ours before it."""
        self.told, self.own = told, own

    @property
    def address(self) -> str:
        """Where it was dialled."""
        return f"{self.session.dialled.host}:{self.session.dialled.port}"


class Around(Struct):
    """The servers beside the dialled one, as found at the first question of a look."""

    primaries: list[Node] = field(default_factory=list)
    replicas: list[Node] = field(default_factory=list)
    unreached: list[str] = field(default_factory=list)
    cluster_gaps: list[Gap] = field(default_factory=list)
    replica_gaps: list[Gap] = field(default_factory=list)
    sought: set[str] = field(default_factory=set)


def is_cluster(session: Session, told: Mapping[str, str]) -> bool:
    """Tell whether keys are spread over several servers, by INFO or by the configuration."""
    return told.get("cluster_enabled") == "1" or session.cluster


def around(session: Session, told: Mapping[str, str], *, replicas: bool = False) -> Around:
    """Return the servers beside the dialled one, whose INFO is `told`; opened at the first call that needs them."""
    if not session.around:
        session.around.append(Around())
    found: Around = session.around[0]
    if is_cluster(session, told) and "primaries" not in found.sought:
        found.sought.add("primaries")
        _find_primaries(session, told, found)
    if replicas and "replicas" not in found.sought:
        found.sought.add("replicas")
        for node in (Node(session=session, told=dict(told)), *found.primaries):
            _find_replicas(
                node, found, {told.get("run_id", ""), *(one.told.get("run_id", "") for one in found.replicas)}
            )
    return found


def _find_primaries(session: Session, told: Mapping[str, str], found: Around) -> None:
    addresses, refusal = _announced(session)
    if refusal is not None:
        explained = refused(session, refusal, _PERMISSION)
        found.cluster_gaps.append(gap("nodes", "the other nodes of the cluster", explained.message, explained.fix))
    if len(addresses) > _MOST_NODES:
        what = f"{len(addresses) - _MOST_NODES} of the cluster's {len(addresses)} primaries"
        found.cluster_gaps.append(gap("nodes", what, f"no more than {_MOST_NODES} are asked", ""))
    met = {told.get("run_id", "")}
    here = (session.dialled.host, session.dialled.port)
    for host, port in [one for one in addresses if one != here][:_MOST_NODES]:
        try:
            node = _opened(session, host, port)
        except SourceError as error:
            what = f"the cluster's node {visible(host)}:{port}"
            found.cluster_gaps.append(gap("nodes", what, error.message, error.fix))
            continue
        if node.told.get("run_id", "") not in met:
            met.add(node.told.get("run_id", ""))
            found.primaries.append(node)


def _find_replicas(primary: Node, found: Around, met: set[str]) -> None:
    for host, port in replica_addresses(primary.told):
        address = f"{host}:{port}"
        try:
            node = _opened(primary.session, host, port)
        except SourceError as error:
            found.unreached.append(address)
            what = f"reads served by the replica {visible(address)}"
            found.replica_gaps.append(
                gap("replicas", what, error.message, f"diag with --redis-url redis://{visible(address)}/0")
            )
            continue
        if node.told.get("run_id", "") not in met:
            node.replica = True
            met.add(node.told.get("run_id", ""))
            found.replicas.append(node)


def replica_addresses(told: Mapping[str, str]) -> Iterator[tuple[str, int]]:
    """Yield the addresses of a primary's connected replicas, from its INFO."""
    for name, value in told.items():
        if name.startswith("slave") and name[5:].isdecimal():
            one = fields(value)
            port = one.get("port", "")
            if one.get("ip") and port.isascii() and port.isdecimal():
                yield one["ip"], int(port)


def _opened(session: Session, host: str, port: int) -> Node:
    """Open a connection to a neighbour and read its INFO. Raises a `SourceError`."""
    probe = session.probe
    rung = probe.rung
    lost = len(session.around[0].unreached) + len(session.around[0].cluster_gaps) if session.around else 0
    way = msgspec.structs.replace(
        session.dialled,
        host=host,
        port=port,
        patience_s=min(_PATIENCE_S / (1 + lost), _SHARE * probe.deadline.remaining_s),
    )
    try:
        other = session.closing.enter_context(reach(way, probe))
        (reply,) = ask(other, [("INFO", "all")])
        if isinstance(reply, ResponseError):
            raise refused(other, reply, "+info")
        return Node(session=other, told=parsed(shaped(reply, bytes)))
    finally:
        probe.rung = rung


def _announced(session: Session) -> tuple[list[tuple[str, int]], ResponseError | None]:
    """Return the addresses of the primaries that have slots, and the last refusal when nobody may say."""
    refusal = None
    for command in _DISCOVERIES:
        (reply,) = ask(session, [command])
        if isinstance(reply, ResponseError):
            refusal = refusal or reply
            continue
        told = {"SHARDS": _from_shards, "NODES": _from_nodes, "SLOTS": _from_slots}[command[1]]
        return list(dict.fromkeys(told(reply, session))), None
    return [], refusal


def _from_shards(reply: Reply, session: Session) -> Iterator[tuple[str, int]]:
    for shard in map(_pairs, shaped(reply, list[list[Any]])):
        nodes = [_pairs(one) for one in shard.get("nodes") or ()] if shard.get("slots") else []
        for node in nodes:
            port = (node.get("tls-port") if session.dialled.tls else None) or node.get("port")
            if node.get("role") == b"master" and isinstance(port, int):
                yield _host(session, node.get("endpoint"), node.get("ip")), port


def _from_nodes(reply: Reply, session: Session) -> Iterator[tuple[str, int]]:
    for line in ServerText.of_bytes(shaped(reply, bytes)).raw.splitlines():
        _id, address, flags, *rest = line.split(" ")
        host, _, port = address.partition("@")[0].rpartition(":")
        if "master" in flags.split(",") and len(rest) > 5 and port.isdecimal():  # noqa: PLR2004  then come slots
            yield _host(session, host.encode()), int(port)


def _from_slots(reply: Reply, session: Session) -> Iterator[tuple[str, int]]:
    for entry in shaped(reply, list[list[Any]]):
        host, port, *_ = entry[2]
        if isinstance(port, int):
            yield _host(session, host), port


def _pairs(flat: Iterable[Any]) -> dict[str, Any]:
    """Read a map as RESP2 writes it: name, value, name, value."""
    words = list(flat)
    return {
        name.decode("ascii", "replace"): value
        for name, value in zip(words[::2], words[1::2], strict=False)
        if isinstance(name, bytes)
    }


def _host(session: Session, *announced: object) -> str:
    """Return the first announced host that is one; a node that does not know its own is where we dialled."""
    for one in announced:
        if isinstance(one, bytes) and one not in (b"", b"?"):
            return ServerText.of_bytes(one).raw
    return session.dialled.host


def nodes_fix(session: Session) -> str:
    """Return the line that lets us find the other nodes."""
    return acl_line(session, _PERMISSION)
