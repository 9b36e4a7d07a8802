"""Holes into files that are there already."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable
from functools import cache

from chunkstore.tree.writing import read_fully_at, write_fully_at

_KEEP_SIZE_PUNCH_HOLE = 1 | 2
_BLOCK = 1 << 20
_ZEROS = bytes(_BLOCK)


def make_hole(fd: int, offset: int, length: int) -> None:
    """Make this range of an open file read as zeros, taking no space where the system can do that."""
    length = min(length, os.fstat(fd).st_size - offset)
    if length <= 0:
        return
    punch = _punch()
    if punch is not None and punch(fd, _KEEP_SIZE_PUNCH_HOLE, offset, length) == 0:
        return
    if punch is not None and ctypes.get_errno() not in (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    while length > 0:
        size = min(length, _BLOCK)
        if read_fully_at(fd, offset, size) != _ZEROS[:size]:
            write_fully_at(fd, _ZEROS[:size], offset)
        offset, length = offset + size, length - size


@cache
def _punch() -> Callable[[int, int, int, int], int] | None:
    """fallocate(2), of which Python knows the POSIX part alone."""
    library = ctypes.CDLL(None, use_errno=True)
    call = getattr(library, "fallocate64", None) or getattr(library, "fallocate", None)
    if call is None:
        return None
    call.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    call.restype = ctypes.c_int
    function: Callable[[int, int, int, int], int] = call
    return function
