"""`diag lab up|break|heal|down|status`: real local servers and real faults, for practice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from diag.lab.state import LabState

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Run real local servers, break them on purpose, and practise. Touches only servers it started.",
    no_args_is_help=True,
)


@app.command()
def up(
    kinds: Annotated[
        list[str] | None,
        typer.Argument(
            help="postgres, redis, kafka (the three when none is named), kafka_cluster (three nodes),"
            " postgres_standby (with its primary), prometheus",
            metavar="[KIND]...",
        ),
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="return once the servers answer")] = False,
) -> int:
    """Start servers on loopback, on free ports, with data in a temporary folder."""
    from diag.lab import supervisor
    from diag.lab.servers import STARTED_UNASKED

    wanted = tuple(kinds or STARTED_UNASKED)
    if detach:
        _show(supervisor.up(wanted, detached=True))
        return 0
    supervisor.up(wanted, detached=False, ready=_show)
    return 0


@app.command("break")
def break_(slug: Annotated[str, typer.Argument(help="for instance pg-locks/lock-queue", metavar="SLUG")]) -> int:
    """Put a fault into effect; it stays until `heal`."""
    return _request("break", slug)


@app.command()
def heal(slug: Annotated[str, typer.Argument(help="one fault; all when none is named", metavar="[SLUG]")] = "") -> int:
    """Undo a fault, or all of them."""
    return _request("heal", slug)


@app.command()
def status() -> int:
    """Say what runs, where, and what is broken."""
    return _request("status", "")


@app.command()
def down() -> int:
    """Stop the lab and remove its data."""
    from diag.lab import supervisor

    supervisor.request("down")
    typer.echo("the lab is down; its data is removed")
    return 0


def _request(command: Literal["break", "heal", "status"], slug: str) -> int:
    from diag.lab import supervisor

    _show(supervisor.request(command, slug))
    return 0


def _show(state: LabState) -> None:
    servers = state.servers
    if state.note:
        typer.echo(state.note)
    if servers.postgres:
        typer.echo(f"postgres {servers.postgres.version}: diag pg-locks --dsn '{servers.postgres.dsn}'")
    if servers.postgres_standby:
        standby = servers.postgres_standby
        typer.echo(f"postgres_standby {standby.version}: diag pg-locks --dsn '{standby.dsn}'")
    if servers.redis:
        typer.echo(f"redis {servers.redis.version}: diag cache-stampede --redis-url {servers.redis.url}")
    if servers.kafka:
        brokers = servers.kafka.bootstrap_servers
        typer.echo(f"kafka {servers.kafka.version}: diag kafka-lag --bootstrap-servers {brokers}")
    if servers.kafka_cluster:
        cluster = servers.kafka_cluster
        brokers = cluster.bootstrap_servers
        typer.echo(
            f"kafka_cluster {cluster.version}, {len(cluster.nodes)} nodes: diag kafka-lag --bootstrap-servers {brokers}"
        )
    if servers.prometheus:
        told = servers.prometheus
        typer.echo(f"prometheus {told.version}: diag cache-stampede --prometheus-url {told.url}")
    for fault in state.broken:
        typer.echo(f"broken: {fault.slug}")
    if not state.broken:
        typer.echo("nothing is broken; diag lab break SLUG, of a check (diag checks list)")
