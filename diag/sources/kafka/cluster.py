"""The whole cluster through its bootstrap servers: who the brokers are, and a connection to each."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from kafka.protocol.metadata import MetadataRequest
from msgspec import Struct, field

from diag import config
from diag.errors import Denied, Rung, SourceError, Unreachable
from diag.snapshots.base import Gap, Target
from diag.sources.kafka.broker import Broker, exchange
from diag.sources.kafka.security import Security, security
from diag.text import ServerText, visible
from diag.wire.dial import is_loopback
from diag.wire.probe import Probe

_PORT = 9092
_PORTS = range(1, 65536)
_ADDRESS = re.compile(r"(?P<host>\[[:.%\w-]+\]|[^\s/:\[\]]+)(:(?P<port>[0-9]{1,5}))?", re.ASCII)
_SHOWN = 100  # characters of what is no address
_MOST_PATIENCE_S = 3.0  # a listener that says nothing for so long is another protocol, or gone
_MORE_TO_COME = 4  # the work itself still needs most of the time when a broker does not answer
_DESCRIBE = 8  # AclOperation.DESCRIBE
_OPERATIONS_SINCE, _OPERATIONS_UNTIL = 8, 10  # Metadata versions that tell what this user may do to the cluster


class Session(Struct, frozen=True, kw_only=True):
    """Connections by broker id. `gaps` says which brokers could not be reached.

    `sees_every_group` is False when ListGroups leaves out, in silence, what this user may not describe.
    """

    brokers: dict[int, Broker]
    probe: Probe
    target: Target
    gaps: list[Gap] = field(default_factory=list)
    cluster_id: str = ""
    sees_every_group: bool = True


@contextlib.contextmanager
def connect(target: config.AnyTarget, probe: Probe) -> Iterator[Session]:
    """Reach the cluster. Raises a `SourceError` naming the rung when no bootstrap server answers."""
    assert isinstance(target, config.KafkaTarget)
    bootstrap_servers, how = security(target)
    probe.secrets.update(how.secrets)
    first = _first_answering(_parsed(bootstrap_servers), probe, how)
    brokers: dict[int, Broker] = {}
    try:
        local = is_loopback(first.socket)
        who = MetadataRequest(
            topics=[],
            allow_auto_topic_creation=False,
            include_cluster_authorized_operations=True,
            max_version=_OPERATIONS_UNTIL,
        )
        answered = exchange({0: first}, {0: [who]}, probe)[0]
        if isinstance(answered, SourceError):
            raise answered
        tells = (who.API_VERSION or 0) >= _OPERATIONS_SINCE
        gaps: list[Gap] = []
        for node in answered[0].brokers:
            brokers.update(_reach(node.node_id, node.host, node.port, first, probe, how, gaps))
        if not brokers:
            first_gap = gaps[0]
            raise Unreachable(first_gap.why.raw, rung=Rung.CONNECT, fix=first_gap.fix.raw)
        yield Session(
            brokers=brokers,
            probe=probe,
            gaps=gaps,
            cluster_id=answered[0].cluster_id or "",
            sees_every_group=not tells or _DESCRIBE in answered[0].authorized_operations,
            target=Target(
                kind="kafka",
                name=target.name,
                address=visible(bootstrap_servers),
                version=ServerText(f"{first.versions.broker_version_str} or later"),
                encrypted=how.tls is not None,
                verified=how.tls is not None and how.tls.verify,
                local=local,
            ),
        )
    finally:
        for broker in {first, *brokers.values()}:
            broker.close()


def _parsed(bootstrap_servers: str) -> list[tuple[str, int]]:
    """Split "host:port,[::1]:port"; empty parts are left out. Raises `Unreachable` for what is no address."""
    found = []
    for written in [part for part in map(str.strip, bootstrap_servers.split(",")) if part] or [bootstrap_servers]:
        address = _ADDRESS.fullmatch(written)
        port = int(address["port"] or _PORT) if address else 0
        if not address or port not in _PORTS:
            message = f"{visible(written[:_SHOWN])!r} is not host:port"
            raise Unreachable(message, rung=Rung.RESOLVE, fix="write --bootstrap-servers host:9092,host2:9092")
        found.append((address["host"].strip("[]"), port))
    return found


def _first_answering(addresses: list[tuple[str, int]], probe: Probe, how: Security) -> Broker:
    refusal: SourceError | None = None
    for left, (host, port) in zip(range(len(addresses), 0, -1), addresses, strict=True):
        try:
            return Broker(host, port, probe, how, patience_s=_patience_s(probe, left))
        except Denied:
            raise  # a wrong password is wrong on every broker, and repeating it can lock the user out
        except SourceError as error:
            refusal = error
            if probe.deadline.passed:
                break
    assert refusal is not None
    raise refusal


def _patience_s(probe: Probe, left: int) -> float:
    """Return the share of the time that one address of `left` may have."""
    return min(_MOST_PATIENCE_S, probe.deadline.remaining_s / left)


def _reach(  # noqa: PLR0913  an address is three things
    node: int, host: str, port: int, first: Broker, probe: Probe, how: Security, gaps: list[Gap]
) -> dict[int, Broker]:
    if first.where == visible(f"{host}:{port}"):
        return {node: first}
    try:
        return {node: Broker(host, port, probe, how, patience_s=_patience_s(probe, _MORE_TO_COME))}
    except SourceError as error:
        if probe.deadline.passed:
            raise
        gaps.append(
            Gap(
                source="kafka",
                fact="log_ends",
                what=ServerText(f"everything that broker {node} leads or coordinates"),
                why=ServerText(error.message),
                fix=ServerText(f"check that {visible(host)}:{port} (advertised.listeners) is reachable from here"),
                rung=error.rung,
            )
        )
        return {}
