"""Very many ids, apart by their first byte, in one unnamed temporary file: whoever compares two such sets needs 1/256 in memory."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from chunkstore.ids import ID_SIZE

BUCKETS = 256
_HELD_BACK = 1024
"""Records of a bucket that wait in memory: 8 MiB of ids for all of them."""


class IdBuckets:
    """Ids of 32 bytes, some of them more than once, each with `beside` bytes of its own behind it.

    `OSError` of the temporary file in `directory` is raised as it is.
    """

    def __init__(self, directory: Path, beside: int = 0) -> None:
        self._width = ID_SIZE + beside
        self._file = tempfile.TemporaryFile(dir=directory, buffering=0)  # noqa: SIM115 (closed in close)
        self._end = 0
        self._open = [bytearray() for _ in range(BUCKETS)]
        self._blocks: list[list[tuple[int, int]]] = [[] for _ in range(BUCKETS)]

    def add(self, ids: bytes) -> None:
        """Some ids, joined; each with what belongs to it."""
        buckets, width = self._open, self._width
        most = _HELD_BACK * width
        for at in range(0, len(ids), width):
            bucket = buckets[ids[at]]
            bucket += ids[at : at + width]
            if len(bucket) >= most:
                self._write(ids[at])

    def _write(self, number: int) -> None:
        data = self._open[number]
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]
        self._blocks[number].append((self._end, len(data)))
        self._end += len(data)
        self._open[number] = bytearray()

    def bucket(self, number: int) -> set[bytes]:
        """The ids whose first byte is `number`, each once."""
        found: set[bytes] = set()
        for data in self.pieces(number):
            found.update(data[at : at + ID_SIZE] for at in range(0, len(data), self._width))
        return found

    def pieces(self, number: int) -> Iterator[bytes]:
        """What was added of a bucket, in some pieces that hold whole ids and what belongs to them."""
        for start, length in self._blocks[number]:
            data = os.pread(self._file.fileno(), length, start)
            if len(data) != length:
                raise OSError("a temporary file was cut short")
            yield data
        yield bytes(self._open[number])

    def close(self) -> None:
        """Forget everything."""
        self._file.close()

    def __enter__(self) -> IdBuckets:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
