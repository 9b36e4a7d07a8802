"""Files that are in a target already: reading them, and whether they may be changed in place."""

from __future__ import annotations

import errno
import os

from chunkstore.format.entries import Entry
from chunkstore.tree.attributes import Attributes
from chunkstore.tree.compared import has_zeros
from chunkstore.tree.parts import UPDATE
from chunkstore.tree.writing import open_regular, read_fully_at
from chunkstore.tree.xattrs_writing import ACCESS_ACL, access_acl

_NOT_WRITABLE = frozenset({errno.EACCES, errno.ETXTBSY, errno.ELOOP})


class ExistingFile:
    """An old file to take parts from; `size` is the number of bytes it had when it was opened."""

    __slots__ = ("_fd", "size")

    def __init__(self, fd: int, size: int) -> None:
        self._fd = fd
        self.size = size

    def read_at(self, offset: int, length: int) -> bytes:
        """Fewer bytes than `length` only where the file ends. Raises `OSError`."""
        return read_fully_at(self._fd, offset, length)

    def has_zeros(self, offset: int, length: int) -> bool:
        """Whether so many bytes from `offset` on read as zeros; holes are passed over. Raises `OSError`."""
        return has_zeros(self._fd, offset, length)

    @property
    def is_full(self) -> bool:
        """Whether it takes as much space as its size says, so that it has no hole worth the name."""
        return os.fstat(self._fd).st_blocks * 512 >= self.size

    def drop_cache(self) -> None:
        """Have what is read from now on come from the disk, as far as the system lets us. Raises `OSError`."""
        os.fdatasync(self._fd)
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._fd, 0, 0, os.POSIX_FADV_DONTNEED)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def open_existing_for_update(
    name: bytes, directory: int, entry: Entry, attributes: Attributes
) -> tuple[int, os.stat_result] | None:
    """A regular file that may be changed in place to what `entry` says, opened; None for any other.

    Such a file has this one name, belongs to whom it is going to belong to, or to us, and lets nobody do what `entry`
    will not: so whoever sees it change sees nothing that he may not. It loses its set-id bits until it is whole.
    """
    try:
        opened = open_regular(name, directory, UPDATE)
    except OSError as e:
        if e.errno in _NOT_WRITABLE:
            return None
        raise
    if opened is None:
        return None
    fd, status = opened
    try:
        if is_safe_to_change(fd, status, entry, attributes):
            if status.st_mode & 0o7000:
                os.fchmod(fd, status.st_mode & 0o777)
            return fd, status
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)
    return None


def is_safe_to_change(fd: int, status: os.stat_result, entry: Entry, attributes: Attributes) -> bool:
    """Whether nobody else knows the file under another name, or may do more with it than `entry` lets him."""
    if not may_change(status, entry, attributes) or status.st_mode & 0o777 & ~entry.mode:
        return False
    acl = access_acl(fd)
    return not acl or acl == entry.xattrs.get(ACCESS_ACL)


def may_change(status: os.stat_result, entry: Entry, attributes: Attributes) -> bool:
    """Whether the file is ours alone, under one name, and nobody could be writing it who may not afterwards."""
    writers = status.st_mode & 0o022 & ~entry.mode
    return status.st_nlink == 1 and attributes.is_ours(status, entry) and not writers
