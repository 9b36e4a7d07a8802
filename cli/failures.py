"""From what went wrong to a message on stderr and an exit code. The only place that knows the codes."""

from __future__ import annotations

import os
import sys
from typing import TextIO

import click

from chunkstore import errors

DONE, FAILED, USAGE, INCOMPLETE, DIFFERENT = 0, 1, 2, 3, 4
NO_REPOSITORY, UNREACHABLE, NO_KEY, INTERRUPTED = 10, 11, 12, 130

_CODES: tuple[tuple[type[BaseException], int], ...] = (
    (errors.InvalidArgument, USAGE),
    (errors.NoRepository, NO_REPOSITORY),
    (errors.NotAClient, NO_KEY),
    (errors.NoUsableKey, NO_KEY),
    (errors.StorageUnreachable, UNREACHABLE),
    (errors.Interrupted, INTERRUPTED),
    (KeyboardInterrupt, INTERRUPTED),
    (click.Abort, INTERRUPTED),
)


def exit_code(error: BaseException) -> int:
    """The exit code for an error that ended a command."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), FAILED)


def explain(error: BaseException) -> None:
    """Say on stderr what happened; with CHUNKSTORE_TRACEBACK in the environment also where."""
    if "CHUNKSTORE_TRACEBACK" in os.environ:
        import traceback  # slow to import, as what is imported below

        traceback.print_exception(error)
    say(_message(error))


def say(message: str) -> None:
    """Write a line for people to stderr. Where nothing can be written any more, the run goes on all the same."""
    try:
        sys.stderr.write(f"chunkstore: {message}\n")
        sys.stderr.flush()
    except OSError:
        _forget(sys.stderr)


def end_output() -> bool:
    """Write out what waits for standard output; False where it can not be written: it is dropped then."""
    try:
        sys.stdout.flush()
    except OSError:
        _forget(sys.stdout)
        return False
    return True


def _message(error: BaseException) -> str:
    if isinstance(error, errors.ChunkstoreError):
        return str(error)
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return "interrupted"
    if isinstance(error, OSError) and error.strerror:
        return f"{_where(error)}{error.strerror}"
    return (
        f"internal error, {type(error).__name__}. This is a mistake in chunkstore; nothing that was stored is harmed. "
        "Please report it with what CHUNKSTORE_TRACEBACK=1 shows"
    )


def _where(error: OSError) -> str:
    if isinstance(error.filename, str | bytes):
        from chunkstore.tree.display import display_path

        return f"{display_path(os.fsencode(error.filename))}: "
    return "" if end_output() else "standard output: "


def _forget(stream: TextIO) -> None:
    """Let the null device have what a stream still holds: the interpreter would complain about it at its end."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)
