"""Files that are being restored."""

from __future__ import annotations

from typing import TypeAlias

from chunkstore.format.extents import Layout
from chunkstore.operations.fetching import Want
from chunkstore.operations.selection import Placed
from chunkstore.tree.parts import PartFile
from chunkstore.tree.target import Target


class File:
    """A file on its way. `number` is its place among the entries of the restore.

    `whole`: it is one chunk, or empty. `waiting`: chunks that are wanted; it is finished when there are none and all
    are `planned`. `dropped`: it is given up, or was kept. A plain class, because it is made for each file.
    """

    __slots__ = ("_layout", "dropped", "fetched", "number", "part", "placed", "planned", "waiting", "whole", "written")

    def __init__(self, placed: Placed, number: int) -> None:
        entry = placed.found.entry
        self.placed = placed
        self.number = number
        self.whole = entry.chunks <= 1 and (entry.extra is None or entry.extents is None)
        self.part: PartFile | None = None
        self.waiting = self.written = self.fetched = 0
        self.planned = self.dropped = False
        self._layout: Layout | None = None

    @property
    def layout(self) -> Layout:
        """Where its content stands in it."""
        if self._layout is None:
            self._layout = Layout(self.placed.found.entry)
        return self._layout


FileWant: TypeAlias = Want[tuple[File, int]]
"""A chunk of a file, and its position in the content."""


class Left:
    """What an interrupted restore left of a file."""

    def __init__(self, target: Target, part: PartFile) -> None:
        self._target = target
        self._part = part

    def read_at(self, offset: int, length: int) -> bytes:
        return self._target.read_at(self._part, offset, length)
