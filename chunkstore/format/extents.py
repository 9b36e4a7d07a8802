"""Where the content of a file stands in it: all through, or between its holes."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate
from typing import NamedTuple

from chunkstore.format.entries import Entry


class Piece(NamedTuple):
    """A part of some content: where it begins in that content, where it belongs in the file, and its length."""

    start: int
    offset: int
    length: int


class Layout:
    """Positions in the content of an entry, which its chunks hold, as positions in the file."""

    __slots__ = ("_extents", "_size", "_starts")

    def __init__(self, entry: Entry) -> None:
        extents = entry.extents
        self._size = entry.size
        self._extents = extents
        self._starts = list(accumulate((length for _, length in extents), initial=0)) if extents is not None else []

    def pieces(self, position: int, length: int) -> Iterator[Piece]:
        """Where `length` bytes of content from `position` on belong; nothing for what is beyond the end."""
        if self._extents is None:
            if length := min(length, self._size - position):
                yield Piece(0, position, length)
            return
        index = bisect_right(self._starts, position) - 1
        start = 0
        while length > 0 and index < len(self._extents):
            offset, size = self._extents[index]
            inside = position + start - self._starts[index]
            part = min(size - inside, length)
            yield Piece(start, offset + inside, part)
            start, length, index = start + part, length - part, index + 1

    def holes(self) -> Iterator[tuple[int, int]]:
        """(offset, length) of each hole, ascending."""
        if self._extents is None:
            return
        end = 0
        for offset, length in self._extents:
            if offset > end:
                yield end, offset - end
            end = offset + length
        if self._size > end:
            yield end, self._size - end
