"""Files that are written in parts, many of them at a time."""

from __future__ import annotations

import os
import stat
from collections import OrderedDict
from contextlib import suppress

from chunkstore.errors import TargetError
from chunkstore.tree.directories import Directories
from chunkstore.tree.problems import in_the_way, target_error

_AGAIN = os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class PartFile:
    """A file that is being written; only the `Target` that made it knows what to do with it."""

    __slots__ = ("identity", "relative", "size")

    def __init__(self, relative: bytes, size: int, identity: tuple[int, int, int]) -> None:
        self.relative = relative
        self.size = size
        self.identity = identity


class OpenParts:
    """The open ones among the files being written, at most `limit`; the others are opened again when needed."""

    def __init__(self, directories: Directories, limit: int) -> None:
        self._directories = directories
        self._limit = max(limit, 1)
        self._open: OrderedDict[PartFile, int] = OrderedDict()

    def add(self, relative: bytes, size: int, fd: int) -> PartFile:
        """Take over `fd`, a file just created."""
        part = PartFile(relative, size, _identity(os.fstat(fd)))
        self._keep(part, fd)
        return part

    def fd(self, part: PartFile) -> int:
        """The open file, valid until the next call. Raises `TargetError` if it is not there, or another one is."""
        fd = self._open.get(part)
        if fd is not None:
            self._open.move_to_end(part)
            return fd
        fd = self._reopen(part)
        self._keep(part, fd)
        return fd

    def is_in_place(self, part: PartFile) -> bool:
        """Whether the file is still under its name."""
        try:
            directory, name = self._directories.place(part.relative)
            there = os.stat(name, dir_fd=directory, follow_symlinks=False)
            fd = self._open.get(part)
            if fd is not None:  # it may have another owner by now, but nobody else can have its number
                return os.path.samestat(there, os.fstat(fd))
        except (OSError, TargetError):
            return False
        return stat.S_ISREG(there.st_mode) and _identity(there) == part.identity

    def close(self, part: PartFile) -> None:
        """Close one file, if it is open; a late `OSError` of the system is raised as it is."""
        fd = self._open.pop(part, None)
        if fd is not None:
            os.close(fd)

    def close_all(self) -> None:
        """Close what is open; none of it is finished, so late errors do not matter."""
        while self._open:
            with suppress(OSError):
                os.close(self._open.popitem()[1])

    def _keep(self, part: PartFile, fd: int) -> None:
        self._open[part] = fd
        if len(self._open) > self._limit:
            oldest, oldest_fd = self._open.popitem(last=False)
            try:
                os.close(oldest_fd)
            except OSError as e:  # NFS reports only now what it could not write
                raise target_error(self._directories.shown(oldest.relative), e) from e

    def _reopen(self, part: PartFile) -> int:
        directory, name = self._directories.place(part.relative)
        shown = self._directories.shown(part.relative)
        try:
            fd = os.open(name, _AGAIN, dir_fd=directory)
        except OSError as e:
            raise target_error(shown, e) from e
        if _identity(os.fstat(fd)) != part.identity:
            os.close(fd)
            raise in_the_way(shown, "a file that somebody else put there")
        return fd


def _identity(status: os.stat_result) -> tuple[int, int, int]:
    """The owner too: a number of an inode is given again once a file is deleted, our name is not."""
    return status.st_dev, status.st_ino, status.st_uid
