"""Content on disk, to be compared with what is stored."""

from __future__ import annotations

import errno
import os
from collections import OrderedDict

from chunkstore.tree.reading import open_source
from chunkstore.tree.writing import read_fully_at

_OPEN_FILES = 64
_BLOCK = 1 << 20
_ZEROS = bytes(_BLOCK)


class FilesOnDisk:
    """Reads parts of files, the last few of which stay open. An `OSError` of them is raised as it is."""

    def __init__(self) -> None:
        self._open: OrderedDict[bytes, int] = OrderedDict()

    def read(self, path: bytes, offset: int, length: int) -> bytes:
        """The bytes at `offset`; fewer only where the file ends."""
        return read_fully_at(self._descriptor(path), offset, length)

    def is_same(self, path: bytes, offset: int, data: memoryview) -> bool:
        """Whether the file has these bytes at `offset`."""
        return os.pread(self._descriptor(path), len(data), offset) == data

    def has_zeros(self, path: bytes, offset: int, length: int) -> bool:
        """Whether so many bytes from `offset` on read as zeros; holes are passed over."""
        return has_zeros(self._descriptor(path), offset, length)

    def close(self) -> None:
        """Close what is open."""
        while self._open:
            os.close(self._open.popitem()[1])

    def _descriptor(self, path: bytes) -> int:
        descriptor = self._open.get(path)
        if descriptor is not None:
            self._open.move_to_end(path)
            return descriptor
        descriptor = self._open[path] = open_source(path)
        if len(self._open) > _OPEN_FILES:
            os.close(self._open.popitem(last=False)[1])
        return descriptor


def has_zeros(descriptor: int, offset: int, length: int) -> bool:
    """Whether so many bytes of an open file from `offset` on read as zeros; holes are passed over."""
    end = offset + length
    while (offset := _next_data(descriptor, offset, end)) < end:
        size = min(_BLOCK, end - offset)
        if os.pread(descriptor, size, offset) != _ZEROS[:size]:
            return False
        offset += size
    return True


def _next_data(descriptor: int, offset: int, end: int) -> int:
    """The first byte from `offset` on that may not be in a hole, at most `end`."""
    if offset >= end or not hasattr(os, "SEEK_DATA"):
        return offset
    try:
        return min(os.lseek(descriptor, offset, os.SEEK_DATA), end)
    except OSError as e:
        return end if e.errno == errno.ENXIO else offset
