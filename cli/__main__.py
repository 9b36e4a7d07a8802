"""`chunkstore` and `python -m chunkstore_cli`."""

from __future__ import annotations

import gc
import io
import os
import sys


def main() -> None:
    """Run the command line and exit with its code."""
    _prepare_streams()
    if sys.argv[1:] == ["--version"]:  # the most asked question needs no parser
        from chunkstore import __version__

        try:
            sys.stdout.write(f"chunkstore {__version__}\n")
            sys.stdout.flush()
            sys.exit(0)
        except OSError:
            pass  # it fails again below, where errors are explained
    from .app import run

    # What was imported stays; and a run makes a tuple or two for each file, none of them in a cycle: looking for cycles among them
    # was 6 % of a first snapshot.
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    sys.exit(run(sys.argv[1:]))


def _prepare_streams() -> None:
    """Open a standard stream that is closed, before another file gets its number; escape what no encoding has."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            lowest = os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, open(lowest, mode, encoding="utf-8"))  # noqa: SIM115  for as long as we live
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    main()
