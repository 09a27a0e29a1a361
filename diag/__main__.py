"""Entry point. `--version` and the root help are answered here, before anything heavy is imported."""

import gc
import os
import sys

from diag import __version__

_COLLECT = (500_000, 20, 100)
"""A look makes a hundred thousand facts that all live to its end: to search them for cycles took a sixth of it."""


def main() -> None:
    """Run the command line; `--version` alone and the root help take the short way out."""
    words = sys.argv[1:]
    if words == ["--version"]:
        _say(f"diag {__version__}\n")
        return
    if words in ([], ["--help"], ["-h"], ["help"]):
        from diag.cli.front import front_page

        _say(front_page())
        return
    from diag.cli.run import run

    gc.set_threshold(*_COLLECT)
    run()


def _say(text: str) -> None:
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except (OSError, AttributeError):  # the reader went away, or there never was one
        os._exit(0)


if __name__ == "__main__":
    main()
