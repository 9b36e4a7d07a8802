"""New chunks -> frames, as `snapshot` fills them, and what compression makes of them.

A frame takes new chunks in the order of the walk until the next one would make it larger than the frame size. What is
in a frame is read again from the files: the study itself keeps no data. A sample is every n-th stretch of 2 MiB of all that
was read, new or not: the frames that begin in it are compressed. So every chunker is tried on the same files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from chunkstore.chunking import MAX_CHUNK
from chunkstore.compression import Codec
from chunkstore.format.config import DEFAULT_FRAME_SIZE
from chunkstore.operations.dedup_study.reading import Data
from chunkstore.operations.dedup_study.spill import Bits, Paths, Records
from chunkstore.operations.dedup_study.values import Sampled
from chunkstore.parallel import PerThread, ordered_map

Pieces = list[tuple[int, int, int]]
"""File, offset of its data, length."""


_STRETCH = 2 << 20


class _Frame(NamedTuple):
    """What is in a frame, and how much was read before it."""

    start: int
    pieces: Pieces


Read = list[tuple[bytes, int, int]]
"""The same with paths, for the workers."""


class Compressing:
    """Compresses frames in workers; buffers and codecs are used again for every chunker."""

    def __init__(self, paths: Paths, level: int, workers: int, check: Callable[[], None]) -> None:
        """`check` is called for each frame that is compressed; what it raises ends the study."""
        self._paths = paths
        self._workers = workers
        self._check = check
        size = max(DEFAULT_FRAME_SIZE, MAX_CHUNK)
        self._codecs = PerThread(lambda: Codec(size, level))
        self._buffers = PerThread(lambda: memoryview(bytearray(size)))

    def sample(self, records: Records, new: Bits, unique: int, sample: int) -> Sampled:
        """Compress about `sample` of the `unique` bytes that are new; 0 for all of them.

        A frame whose files can not be read any more is not tried.
        """
        every = max(-(-unique // sample), 1) if sample else 1
        counted = [0]
        chosen = self._chosen(_frames(records, new), every, counted)
        tried = raw = compressed = 0
        for of_raw, of_compressed in ordered_map(self._compress, chosen, self._workers, 2 * self._workers, "zstd"):
            self._check()
            if of_raw:
                tried, raw, compressed = tried + 1, raw + of_raw, compressed + of_compressed
        return Sampled(counted[0], tried, raw, compressed)

    def _chosen(self, frames: Iterable[_Frame], every: int, counted: list[int]) -> Iterator[Read]:
        for frame in frames:
            counted[0] += 1
            if frame.start // _STRETCH % every == every // 2:
                yield [(self._paths[file], offset, length) for file, offset, length in frame.pieces]

    def _compress(self, frame: Read) -> tuple[int, int]:
        """(bytes, of its payload) of a frame; zeros where it can not be read."""
        view = self._buffers.get()
        used = 0
        try:
            for path, offset, length in frame:
                with Data(path) as data:
                    if data.read(offset, view[used : used + length]) < length:
                        return 0, 0
                used += length
        except OSError:
            return 0, 0
        return used, len(self._codecs.get().compress(view[:used]))


def _frames(records: Records, new: Bits) -> Iterator[_Frame]:
    """All frames; neighbouring chunks of a file are one piece."""
    pieces: Pieces = []
    start = position = used = offset = 0
    before = -1
    for place, (_, length, file) in enumerate(records):
        if file != before:
            before, offset = file, 0
        if new[place]:
            if used and used + length > DEFAULT_FRAME_SIZE:
                yield _Frame(start, pieces)
                used, pieces = 0, []
            if not pieces:
                start = position
            if pieces and pieces[-1][0] == file and sum(pieces[-1][1:]) == offset:
                pieces[-1] = (file, pieces[-1][1], pieces[-1][2] + length)
            else:
                pieces.append((file, offset, length))
            used += length
        offset += length
        position += length
    if pieces:
        yield _Frame(start, pieces)
