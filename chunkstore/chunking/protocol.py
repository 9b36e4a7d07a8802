"""What cuts a stream of bytes into chunks looks like."""

from __future__ import annotations

from typing import Protocol


class Chunker(Protocol):
    """Decides where chunks end. Keeps nothing between calls, and may be called by many threads at once.

    Where the chunk that begins at some byte ends depends on the `max_size` bytes from there and on nothing
    else: neither on what came before, nor on how the stream was split into reads.
    """

    @property
    def min_size(self) -> int:
        """The fewest bytes in a chunk; the last chunk of a stream may be shorter."""

    @property
    def max_size(self) -> int:
        """The most bytes in a chunk."""

    @property
    def seeded(self) -> bool:
        """Whether the seed moves the ends. Where it does not, chunk lengths tell which known file this is."""

    def cut(self, data: memoryview, final: bool) -> list[int]:
        """The end offsets of the chunks that are certain in `data`: contiguous bytes from the start of a chunk.

        `final` says that the stream ends with `data`: the ends cover all of it, and no data has no ends.
        Otherwise they stop as soon as fewer than `max_size` bytes are left over; what is left has to be put in
        front of what comes next.
        """
