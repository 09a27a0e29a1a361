"""Entry point. `--version` is answered here, before anything heavy is imported."""

import sys

from diag import __version__


def main() -> None:
    """Run the command line; `--version` alone takes the short way out."""
    if sys.argv[1:] == ["--version"]:
        sys.stdout.write(f"diag {__version__}\n")
        return
    from diag.cli import run  # noqa: PLC0415  start-up: typer loads only past the fast path

    run()


if __name__ == "__main__":
    main()
