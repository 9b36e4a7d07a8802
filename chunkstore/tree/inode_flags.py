"""Inode flags of Linux, what `chattr` sets, of open files."""

from __future__ import annotations

import os
import stat
import struct
import sys
from collections.abc import Iterator
from contextlib import suppress
from fcntl import ioctl

from chunkstore.tree.metadata import SETTABLE_FLAGS

_SIZE = struct.calcsize("l") << 16
_GET = 0x8000_6601 | _SIZE
_SET = 0x4000_6602 | _SIZE
"""FS_IOC_GETFLAGS and FS_IOC_SETFLAGS: _IOR('f', 1, long) and _IOW('f', 2, long), though 32 bits are what is moved."""

SEALING = 0x30
"""FS_IMMUTABLE_FL and FS_APPEND_FL: files that have them can not be renamed or linked any more, nor their times set."""


def read_flags(fd: int) -> int:
    """The flags of an open file; `OSError` where the file system has none."""
    return int.from_bytes(ioctl(fd, _GET, b"\0" * 8)[:4], sys.byteorder)


def add_flags(fd: int, flags: int) -> bool:
    """Set `flags` beside those the file has; False if not all of them could be set."""
    wanted = flags & SETTABLE_FLAGS
    try:
        has = read_flags(fd)
        if wanted & ~has:
            _write(fd, has | wanted)
        return has_flags(fd, wanted)
    except OSError:
        pass
    for flag in _each(wanted):  # one that the file system does not know must not cost the others
        with suppress(OSError):
            _write(fd, read_flags(fd) | flag)
    return has_flags(fd, wanted)


def has_flags(fd: int, flags: int) -> bool:
    """Whether an open file has all of `flags` that can be set."""
    wanted = flags & SETTABLE_FLAGS
    try:
        return not wanted or read_flags(fd) & wanted == wanted
    except OSError:
        return False


def is_sealed(name: bytes, directory: int) -> bool:
    """Whether `name` in the open directory can not be replaced because of its flags or the directory's.

    As far as can be seen: only regular files and directories that may be read are asked.
    """
    with suppress(OSError):
        if read_flags(directory) & SEALING:
            return True
        if stat.S_IFMT(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode) in (stat.S_IFREG, stat.S_IFDIR):
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
            try:
                return bool(read_flags(fd) & SEALING)
            finally:
                os.close(fd)
    return False


def _write(fd: int, flags: int) -> None:
    ioctl(fd, _SET, flags.to_bytes(4, sys.byteorder) + b"\0" * 4)


def _each(flags: int) -> Iterator[int]:
    return (1 << bit for bit in range(flags.bit_length()) if flags >> bit & 1)
