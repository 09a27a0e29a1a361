"""Entry point. `--version` and the root help are answered here, before anything heavy is imported."""

import sys

from diag import __version__


def main() -> None:
    """Run the command line; `--version` alone and the root help take the short way out."""
    words = sys.argv[1:]
    if words == ["--version"]:
        sys.stdout.write(f"diag {__version__}\n")
        return
    if words in ([], ["--help"], ["-h"], ["help"]):
        from diag.cli.front import front_page

        sys.stdout.write(front_page())
        return
    from diag.cli.run import run

    run()


if __name__ == "__main__":
    main()
