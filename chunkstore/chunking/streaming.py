"""A stream of any length -> its chunks, in one buffer."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from chunkstore.chunking.protocol import Chunker
from chunkstore.errors import InvalidArgument


def read_chunks(readinto: Callable[[memoryview], int], chunker: Chunker, buffer: bytearray) -> Iterator[memoryview]:
    """The chunks of all that `readinto` gives, each one read-only and valid until the next step.

    `readinto` writes into the view it gets and returns how many bytes, 0 at the end; what it raises passes
    through. `buffer` holds at least twice the chunker's `max_size` (else InvalidArgument) and is all the memory
    used. It is filled to its end before it is cut, so that for each filling less than `max_size` bytes are moved
    to its front: under 1/7 of all bytes with 8 MiB for chunks of at most 1 MiB.
    """
    if len(buffer) < 2 * chunker.max_size:
        raise InvalidArgument(f"a buffer of {len(buffer)} bytes is less than twice {chunker.max_size}")
    return _chunks(readinto, chunker, memoryview(buffer))


def _chunks(readinto: Callable[[memoryview], int], chunker: Chunker, buffer: memoryview) -> Iterator[memoryview]:
    readable = buffer.toreadonly()
    filled = 0
    final = False
    while not final:
        while not final and filled < len(buffer):
            count = readinto(buffer[filled:])
            filled += count
            final = count == 0
        start = 0
        for end in chunker.cut(readable[:filled], final):
            yield readable[start:end]
            start = end
        buffer[: filled - start] = buffer[start:filled]
        filled -= start
