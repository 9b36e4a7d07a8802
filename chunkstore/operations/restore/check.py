"""Reading again what a restore wrote, from the disk, and comparing it with the ids of its chunks: nothing is fetched."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator

from chunkstore.errors import Damaged, TargetError
from chunkstore.format.entries import FILE, SOCKET
from chunkstore.format.extents import Layout
from chunkstore.operations.restore.compare import Contents, is_of_kind
from chunkstore.operations.selection import Placed
from chunkstore.progress import Progress
from chunkstore.tree.display import display_path
from chunkstore.tree.target import Target


class Marks:
    """Which entries of a restore were written, by their number: one byte each in an unnamed file in `scratch`."""

    def __init__(self, scratch: str | None) -> None:
        self._file = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115  closed in close

    def set(self, number: int) -> None:
        """Mark an entry."""
        os.pwrite(self._file.fileno(), b"\1", number)

    def in_order(self) -> Iterator[bool]:
        """For each entry whether it is marked, and so on without end."""
        at = 0
        while block := os.pread(self._file.fileno(), 1 << 16, at):
            yield from map(bool, block)
            at += len(block)
        while True:
            yield False

    def close(self) -> None:
        """Forget everything."""
        self._file.close()


def check(
    contents: Contents,
    target: Target,
    entries: Iterable[Placed],
    marks: Marks,
    progress: Progress,
    verified: Callable[[], None],
) -> Iterator[str]:
    """Compare what was marked, of the same entries as those that were restored: what is wrong, for people.

    `verified` is called for each that is right.
    """
    for placed, marked in zip(entries, marks.in_order(), strict=False):
        if not marked:
            continue
        progress.current(placed.found.path)
        wrong = _wrong(contents, target, placed)
        if wrong is None:
            verified()
        else:
            yield f"{display_path(placed.relative)}: {wrong}"


def _wrong(contents: Contents, target: Target, placed: Placed) -> str | None:
    entry = placed.found.entry
    try:
        if entry.kind != FILE:
            there = target.status(placed.relative)
            return None if entry.kind == SOCKET or (there and is_of_kind(entry.kind, there)) else "is not there"
        file = target.read_existing(placed.relative)
        if file is None:
            return "can not be read again"
        try:
            if file.size != entry.size:
                return f"has {file.size} bytes on disk instead of {entry.size}"
            file.drop_cache()
            layout = Layout(entry)
            same = all(contents.holds(file, layout, chunk) for chunk in contents.chunks(placed.found))
            return None if same else "is not on disk as it was written"
        finally:
            file.close()
    except (TargetError, Damaged) as e:
        return str(e)
    except OSError as e:
        return f"can not be read again: {e.strerror or e}"
