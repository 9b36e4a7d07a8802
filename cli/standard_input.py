"""Files that options name, of which `-` is standard input; it can be read once."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import click

STANDARD_INPUT = b"-"
_TAKEN = f"{__name__}.taken"


def take() -> None:
    """Whoever reads standard input says so first: a usage error for the second one."""
    said = click.get_current_context().meta
    if said.get(_TAKEN):
        raise click.UsageError("Standard input can be read for one purpose only.")
    said[_TAKEN] = True


@contextlib.contextmanager
def opened(path: bytes) -> Iterator[BinaryIO]:
    """The file, or standard input."""
    if path == STANDARD_INPUT:
        take()
        yield sys.stdin.buffer
        return
    with Path(os.fsdecode(path)).open("rb") as file:
        yield file


def read_all(path: bytes) -> bytes:
    """All that is in the file, or in standard input."""
    with opened(path) as file:
        return file.read()
