"""A file's content -> chunk ids: read, cut, hash, decide; all in the thread that decides."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from chunkstore.chunking import Chunker, read_chunks
from chunkstore.errors import StorageFull
from chunkstore.ids import ChunkId
from chunkstore.keys.derivation import ChunkKind
from chunkstore.repository.chunk_writer import ChunkWriter
from chunkstore.tree.reading import open_source

_BUFFER = 8 << 20
_IDS_IN_MEMORY = 1 << 20
"""Bytes: a file of more than 32,768 chunks keeps its ids in a temporary file until it is read to its end."""
_PIECE = 128 << 10


class Content(NamedTuple):
    """What was read of a file: its `fstat` from before, bytes read, number of chunks, joined ids in pieces.

    A tuple, because one is made for every file.
    """

    status: os.stat_result
    size: int
    chunks: int
    ids: Iterable[bytes]


class FileContent:
    """Reads files one at a time, with one buffer."""

    def __init__(self, writer: ChunkWriter, chunker: Chunker, scratch: str, tick: Callable[[int], None]) -> None:
        """`tick(bytes)` is called after each piece of a large file; what it raises ends the reading."""
        self._writer = writer
        self._chunker = chunker
        self._scratch = scratch
        self._tick = tick
        self._buffer: bytearray | None = None

    def store(self, path: bytes) -> Content:
        """Read the file at `path`. `OSError` when it can not be, or is no regular file any more."""
        descriptor = open_source(path)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.ESTALE, "became something else than a file", path)
            if status.st_size < self._chunker.max_size and status.st_size <= self._chunker.min_size:
                return self._store_small(descriptor, status)
            return self._store_large(descriptor, status, b"")
        finally:
            os.close(descriptor)

    def _store_small(self, descriptor: int, status: os.stat_result) -> Content:
        """One chunk at most, read where it will be compressed. One byte more is asked for, to see the end."""
        size = status.st_size
        if not size:
            first = os.read(descriptor, 1)
            return self._store_large(descriptor, status, first) if first else Content(status, 0, 0, ())
        count = os.readv(descriptor, [space := self._writer.space(size + 1)])
        if count > size:
            return self._store_large(descriptor, status, bytes(space[:count]))
        self._tick(count)
        if not count:
            return Content(status, 0, 0, ())
        return Content(status, count, 1, (self._writer.take(count),))

    def _store_large(self, descriptor: int, status: os.stat_result, begun: bytes) -> Content:
        """Streaming; `begun` has been read already."""
        if self._buffer is None:
            self._buffer = bytearray(max(_BUFFER, 2 * self._chunker.max_size))

        def readinto(view: memoryview) -> int:
            nonlocal begun
            if begun:
                part, begun = begun[: len(view)], begun[len(view) :]
                view[: len(part)] = part
                return len(part)
            return os.readv(descriptor, [view])

        ids = tempfile.SpooledTemporaryFile(_IDS_IN_MEMORY, dir=self._scratch)  # noqa: SIM115  closed by who reads it
        try:
            size = chunks = 0
            for chunk in read_chunks(readinto, self._chunker, self._buffer):
                chunk_id = self._writer.add(ChunkKind.CONTENT, chunk)
                self._keep(ids, chunk_id)
                size += len(chunk)
                chunks += 1
                self._tick(len(chunk))
        except BaseException:
            ids.close()
            raise
        return Content(status, size, chunks, _pieces(ids))

    def _keep(self, ids: tempfile.SpooledTemporaryFile[bytes], chunk_id: ChunkId) -> None:
        try:
            ids.write(chunk_id)
        except OSError as e:  # must not pass for an error of the file that is read
            raise StorageFull(f"{self._scratch}: can not keep a list of chunks: {e.strerror}") from e


def _pieces(ids: tempfile.SpooledTemporaryFile[bytes]) -> Iterator[bytes]:
    with ids:
        ids.seek(0)
        while piece := ids.read(_PIECE):
            yield piece


def known(writer: ChunkWriter, ids: Iterator[bytes]) -> bool:
    """Whether every one of these chunks is stored where it may be relied on."""
    return all(writer.knows(ChunkId(piece[at : at + 32])) for piece in ids for at in range(0, len(piece), 32))
