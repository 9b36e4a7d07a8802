"""A file's content -> chunk ids: read, cut, hash, decide; all in the thread that decides."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from chunkstore.chunking import Chunker, read_chunks
from chunkstore.errors import StorageFull
from chunkstore.ids import ChunkId
from chunkstore.keys.derivation import ChunkKind
from chunkstore.repository.chunk_writer import ChunkWriter
from chunkstore.tree.holes import data_extents
from chunkstore.tree.page_cache import LARGE, forget, is_cold, read_ahead
from chunkstore.tree.reading import is_unchanged, open_source

_BUFFER = 8 << 20
_IDS_IN_MEMORY = 1 << 20
"""Bytes: a file of more than 32,768 chunks keeps its ids in a temporary file until it is read to its end."""
_PIECE = 128 << 10
_ATTEMPTS = 3
_READ_AGAIN = 1 << 30
"""Bytes: of a file that changes while it is read not more than this, and one reading, are read."""

ReadInto = Callable[[memoryview], int]
Extras = Callable[[int, bytes, os.stat_result], dict[str, Any] | None]


class Content(NamedTuple):
    """What was read of a file: its `lstat` or `fstat` from before, its size, bytes read, number of chunks, joined ids in pieces,
    and extras of its entry: metadata, `extents` of a sparse file, `changed` of one that did not hold still.

    A tuple, because one is made for every file.
    """

    status: os.stat_result
    size: int
    read: int
    chunks: int
    ids: Iterable[bytes]
    extra: dict[str, Any] | None


class FileContent:
    """Reads files one at a time, with one buffer."""

    def __init__(
        self, writer: ChunkWriter, chunker: Chunker, scratch: str, tick: Callable[[int], None], extras: Extras
    ) -> None:
        """`tick(bytes)` is called after each piece of a large file; what it raises ends the reading. `extras` reads the
        metadata of an open file.
        """
        self._writer = writer
        self._chunker = chunker
        self._scratch = scratch
        self._tick = tick
        self._extras = extras
        self.small = min(chunker.min_size, chunker.max_size - 1)
        """A file of so many bytes is one chunk."""
        self._buffer: bytearray | None = None

    def store(self, path: bytes, walked: os.stat_result) -> Content:
        """Read the file at `path`, whose `lstat` was `walked`. `OSError` when it can not be, or is no regular file any more."""
        descriptor = open_source(path)
        try:
            if walked.st_size <= self.small and not _is_sparse(descriptor, walked):
                content = self.store_small(descriptor, path, walked)
                if content is not None:
                    return content
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError(errno.ESTALE, "became something else than a file", path)
            return self._store_still(descriptor, path)
        finally:
            os.close(descriptor)

    def store_small(self, descriptor: int, path: bytes, walked: os.stat_result) -> Content | None:
        """Read an open file of up to `small` bytes without holes as one chunk, where it will be compressed. None when this
        is not what was walked, or it did not hold still.

        One byte more is asked for, to see the end. One `fstat` tells both: it is as the `lstat` was.
        """
        size = walked.st_size
        try:
            if os.preadv(descriptor, [self._writer.space(size + 1)], 0) != size:
                return None
        except OSError:  # a pipe by now; what it is, and what is wrong with it, is found the slow way
            return None
        extra = self._extras(descriptor, path, walked)
        if not is_unchanged(walked, os.fstat(descriptor)):
            return None
        self._tick(size)
        if not size:
            return Content(walked, 0, 0, 0, (), extra)
        return Content(walked, size, size, 1, (self._writer.take(size),), extra)

    def _store_still(self, descriptor: int, path: bytes) -> Content:
        """Read until the file was the same before and after; what keeps changing is marked as such."""
        read = attempts = 0
        while True:
            before = os.fstat(descriptor)
            content = self._store_large(descriptor, path, before)
            if is_unchanged(before, os.fstat(descriptor)):
                return content
            read += content.read
            attempts += 1
            if attempts == _ATTEMPTS or read > _READ_AGAIN:
                return content._replace(extra={**(content.extra or {}), "changed": True})
            for _ in content.ids:  # forgets them
                pass

    def _store_large(self, descriptor: int, path: bytes, status: os.stat_result) -> Content:
        """Streaming, from the start to the end that the file has when it is reached."""
        extra = self._extras(descriptor, path, status)
        size = status.st_size
        extents = data_extents(descriptor, size) if size > status.st_blocks * 512 else None
        if extents is None:
            chunks, read, ids = self.cut(_WholeReader(descriptor, size))
            return Content(status, read, read, chunks, ids, extra)
        reader = _ExtentReader(descriptor, extents)
        chunks, read, ids = self.cut(reader)
        if read < sum(length for _, length in extents):  # it was cut short meanwhile
            size = reader.end
            extents = reader.up_to_end()
        return Content(status, size, read, chunks, ids, {**(extra or {}), "extents": extents})

    def cut(self, readinto: ReadInto) -> tuple[int, int, Iterator[bytes]]:
        """Store all that `readinto` gives: (number of chunks, bytes, joined ids in pieces). Take all of the pieces."""
        if self._buffer is None:
            self._buffer = bytearray(max(_BUFFER, 2 * self._chunker.max_size))
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
        return chunks, size, _pieces(ids)

    def _keep(self, ids: tempfile.SpooledTemporaryFile[bytes], chunk_id: ChunkId) -> None:
        try:
            ids.write(chunk_id)
        except OSError as e:  # must not pass for an error of the file that is read
            raise StorageFull(f"{self._scratch}: can not keep a list of chunks: {e.strerror}") from e


def _is_sparse(descriptor: int, status: os.stat_result) -> bool:
    """Whether the file has a hole. Only fewer blocks than its size needs make it worth asking."""
    size = status.st_size
    return size > status.st_blocks * 512 and data_extents(descriptor, size) is not None


class _WholeReader:
    """Reads a file to its end; of one that grows meanwhile, what it had: a log is whole up to some line then."""

    def __init__(self, descriptor: int, size: int) -> None:
        self._descriptor = descriptor
        self._size = self._left = size
        self._cold = False
        if size >= LARGE:
            self._cold = is_cold(descriptor, size)
            read_ahead(descriptor)
        os.lseek(descriptor, 0, os.SEEK_SET)

    def __call__(self, view: memoryview) -> int:
        if self._left:
            count = os.readv(self._descriptor, [view[: self._left]])
            self._left -= count
            if self._cold:
                forget(self._descriptor, self._size - self._left if self._left else 0)
            return count
        if os.fstat(self._descriptor).st_size > self._size:
            return 0
        return os.readv(self._descriptor, [view])  # some files, in /proc for one, hold more than they say


class _ExtentReader:
    """Reads the data of a sparse file, one extent after the other."""

    def __init__(self, descriptor: int, extents: list[list[int]]) -> None:
        self._descriptor = descriptor
        self._extents = extents
        self._index = self._inside = 0
        self.end = 0

    def __call__(self, view: memoryview) -> int:
        while self._index < len(self._extents):
            start, length = self._extents[self._index]
            if self._inside < length:
                part = view[: length - self._inside]
                count = os.preadv(self._descriptor, [part], start + self._inside)
                self._inside += count
                self.end = start + self._inside
                return count
            self._index += 1
            self._inside = 0
        return 0

    def up_to_end(self) -> list[list[int]]:
        """The extents that were read, the last one as far as it was."""
        whole = self._extents[: self._index]
        return [*whole, [self._extents[self._index][0], self._inside]] if self._inside else whole


def _pieces(ids: tempfile.SpooledTemporaryFile[bytes]) -> Iterator[bytes]:
    with ids:
        ids.seek(0)
        while piece := ids.read(_PIECE):
            yield piece


def known(writer: ChunkWriter, ids: Iterator[bytes]) -> bool:
    """Whether every one of these chunks is stored where it may be relied on."""
    return all(writer.knows(ChunkId(piece[at : at + 32])) for piece in ids for at in range(0, len(piece), 32))
