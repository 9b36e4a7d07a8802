"""The data of a source file: what it has between its holes, from any place on."""

from __future__ import annotations

import errno
import os
import stat
from bisect import bisect_right
from types import TracebackType

from chunkstore.tree.holes import data_extents
from chunkstore.tree.reading import open_source


class Data:
    """An open regular file without its holes. `OSError` when it can not be opened or is something else by now.

    Offsets count data. `size` is that of the data when it was opened; what it grows later is not read.
    """

    def __init__(self, path: bytes) -> None:
        self._descriptor = open_source(path)
        try:
            status = os.fstat(self._descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.ESTALE, "became something else than a file", path)
            size = status.st_size
            sparse = data_extents(self._descriptor, size) if size > status.st_blocks * 512 else None
        except BaseException:
            os.close(self._descriptor)
            raise
        self._extents = [[0, size]] if sparse is None else sparse
        self._starts: list[int] = []
        self.size = 0
        for _, length in self._extents:
            self._starts.append(self.size)
            self.size += length

    def read(self, offset: int, view: memoryview) -> int:
        """Fill `view` with the data from `offset` on; how many bytes: fewer at the end, or where the file was cut."""
        done = 0
        index = max(bisect_right(self._starts, offset) - 1, 0)
        while done < len(view) and index < len(self._extents):
            start, length = self._extents[index]
            inside = offset + done - self._starts[index]
            if inside >= length:
                index += 1
                continue
            count = os.preadv(self._descriptor, [view[done : done + length - inside]], start + inside)
            if not count:
                break
            done += count
        return done

    def close(self) -> None:
        os.close(self._descriptor)

    def __enter__(self) -> Data:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
