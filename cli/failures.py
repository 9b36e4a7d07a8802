"""From what went wrong to a message on stderr and an exit code. The only place that knows the codes."""

from __future__ import annotations

import os
import sys
import traceback as traces

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
)


def exit_code(error: BaseException) -> int:
    """The exit code for an error that ended a command."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), FAILED)


def explain(error: BaseException, *, traceback: bool) -> None:
    """Say on stderr what happened."""
    if traceback:
        traces.print_exception(error)
    sys.stderr.write(f"chunkstore: {_message(error)}\n")


def _message(error: BaseException) -> str:
    if isinstance(error, errors.ChunkstoreError):
        return str(error)
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if isinstance(error.filename, str) else error.strerror
    return (
        f"internal error, {type(error).__name__}. This is a mistake in chunkstore; nothing that was stored is harmed. "
        "Please report it with what CHUNKSTORE_TRACEBACK=1 shows"
    )


def forget_output() -> None:
    """Nobody reads standard output any more: keep the interpreter from complaining about it at its end."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
