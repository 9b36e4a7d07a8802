"""Chunks of one size: for disk images and databases, which change in place and never shift."""

from __future__ import annotations


class FixedChunker:
    """Cuts after every `size` bytes. Nothing in it depends on the content, so there is nothing to seed."""

    __slots__ = ("_size",)

    def __init__(self, size: int) -> None:
        self._size = size

    @property
    def min_size(self) -> int:
        return self._size

    @property
    def max_size(self) -> int:
        return self._size

    @property
    def seeded(self) -> bool:
        return False

    def cut(self, data: memoryview, final: bool) -> list[int]:
        """See `Chunker.cut`."""
        length = len(data)
        ends = list(range(self._size, length + 1, self._size))
        if final and length % self._size:
            ends.append(length)
        return ends
