"""Files and directories of the local file system, as objects are read from them."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

# macOS refuses to read 2 GiB at once, Linux cuts it short.
_READ_LIMIT: Final = 1 << 30


@contextmanager
def opened(path: str) -> Iterator[int]:
    """A descriptor to read a file or a directory."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def file_status(file: str | int) -> os.stat_result:
    """What the system says of a regular file, by path or descriptor; IsADirectoryError for all that is no object."""
    status = os.stat(file)
    if not stat.S_ISREG(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    return status


def read(descriptor: int, offset: int, length: int) -> bytes:
    """At most `length` bytes from `offset` on; fewer only where the file ends."""
    pieces = []
    while length > 0:
        piece = os.pread(descriptor, min(length, _READ_LIMIT), offset)
        if not piece:
            break
        pieces.append(piece)
        offset += len(piece)
        length -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
