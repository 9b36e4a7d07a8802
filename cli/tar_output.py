"""Where a tar archive goes: a file of its own, or standard output."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

import click

from chunkstore.tree.display import display_path

STANDARD_OUTPUT = b"-"


@contextmanager
def tar_output(where: bytes) -> Iterator[BinaryIO]:
    """Standard output for `-`, which must not be a terminal; else a new file for its owner alone, or a pipe or device.

    A file that exists is refused; one that is not completed is removed.
    """
    if where == STANDARD_OUTPUT:
        if sys.stdout.isatty():
            raise click.UsageError("An archive is not for a terminal: give a file, or send it on with `|`.")
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    flags = os.O_WRONLY | os.O_CLOEXEC | (0 if _is_open_ended(where) else os.O_CREAT | os.O_EXCL)
    try:
        descriptor = os.open(where, flags, 0o600)
    except FileExistsError as e:
        raise click.UsageError(f"{display_path(where)} exists already.") from e
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
    except BaseException:
        if flags & os.O_EXCL:
            with suppress(OSError):
                os.unlink(where)
        raise


def _is_open_ended(where: bytes) -> bool:
    """Whether this is a pipe, a terminal or a tape, which is there before anything is written to it."""
    with suppress(OSError):
        mode = os.stat(where).st_mode
        return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode) or stat.S_ISBLK(mode)
    return False
