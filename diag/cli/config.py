"""`diag config show|sample`: where each setting comes from."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Show where each setting comes from.",
    no_args_is_help=True,
)


@app.command()
def show(
    context: Annotated[str, typer.Option(help="context of the configuration file", metavar="NAME")] = "",
    config: Annotated[str, typer.Option(help="configuration file", metavar="FILE")] = "",
) -> int:
    """Print each value with its source; passwords are masked."""
    import os
    from pathlib import Path

    from diag.config import settle

    settings = settle({}, os.environ, file=Path(config) if config else None, context=context)
    names = max(len(setting.name) for setting in settings.shown)
    values = max(len(setting.value) for setting in settings.shown)
    for setting in settings.shown:
        typer.echo(f"{setting.name:<{names}}  {setting.value:<{values}}  {setting.source}")
    return 0


@app.command()
def sample() -> int:
    """Print a commented configuration file to start from."""
    from diag import places

    typer.echo((places.templates() / "config.sample.toml").read_text("utf-8"), nl=False)
    return 0
