"""The names in a directory, in order, however many there are and however long its path is."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from chunkstore.tree.reading import list_directory
from chunkstore.tree.spill import Runs


def sorted_names(path: bytes, *, spill_after: int = 100_000, scratch: str | None = None) -> Iterator[bytes]:
    """The names in the directory at an absolute path, ascending; an `OSError` comes with the first of them.

    Not more than `spill_after` of them are held in memory, the others wait in a file in `scratch`.
    """
    names = list_directory(path)
    first = sorted(islice(names, spill_after))
    more = sorted(islice(names, spill_after))
    if not more:
        yield from first
        return
    with Runs(scratch) as runs:
        runs.add(first)
        first.clear()
        while more:
            runs.add(more)
            more = sorted(islice(names, spill_after))
        yield from runs.merged()
