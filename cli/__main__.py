"""`chunkstore` and `python -m chunkstore_cli`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and exit with its code."""
    if sys.argv[1:] == ["--version"]:  # the most asked question needs no parser
        from chunkstore import __version__

        sys.stdout.write(f"chunkstore {__version__}\n")
        sys.exit(0)
    from .app import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
