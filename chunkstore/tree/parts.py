"""Files that are written in parts, many of them at a time."""

from __future__ import annotations

import os
import stat
from collections import OrderedDict
from contextlib import suppress

from chunkstore.errors import TargetError
from chunkstore.tree.directories import Directories
from chunkstore.tree.problems import in_the_way, target_error
from chunkstore.tree.writing import open_regular

UPDATE = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class PartFile:
    """A file that is being written; only the `Target` that made it knows what to do with it.

    `relative` is the path it is to have, `path` the one it has meanwhile. `there` is the number of bytes that were in
    it when it was opened: of the old file, or of an interrupted restore; 0 for a new file.
    """

    __slots__ = ("identity", "path", "relative", "size", "there")

    def __init__(self, relative: bytes, path: bytes, size: int, status: os.stat_result) -> None:
        self.relative = relative
        self.path = path
        self.size = size
        self.there = status.st_size
        self.identity = _identity(status)

    @property
    def in_place(self) -> bool:
        """Whether it is an old file that is being changed."""
        return self.path == self.relative

    @property
    def fresh(self) -> bool:
        """Whether nothing was there."""
        return not self.in_place and not self.there


class OpenParts:
    """The open ones among the files being written, at most `limit`; the others are opened again when needed."""

    def __init__(self, directories: Directories, limit: int) -> None:
        self._directories = directories
        self._limit = max(limit, 1)
        self._open: OrderedDict[PartFile, int] = OrderedDict()

    def add(self, part: PartFile, fd: int) -> None:
        """Take over `fd`, the open file."""
        self._open[part] = fd
        if len(self._open) > self._limit:
            oldest, oldest_fd = self._open.popitem(last=False)
            try:
                os.close(oldest_fd)
            except OSError as e:  # NFS reports only now what it could not write
                raise target_error(self._directories.shown(oldest.relative), e) from e

    def __contains__(self, part: PartFile) -> bool:
        return part in self._open

    @property
    def is_full(self) -> bool:
        """Whether one is closed when another is opened."""
        return len(self._open) >= self._limit

    def fd(self, part: PartFile) -> int:
        """The open file, valid until the next call. Raises `TargetError` if it is not there, or another one is."""
        fd = self._open.get(part)
        if fd is not None:
            self._open.move_to_end(part)
            return fd
        fd = self._reopen(part)
        self.add(part, fd)
        return fd

    def is_there(self, part: PartFile) -> bool:
        """Whether the file is still under its name."""
        try:
            directory, name = self._directories.place(part.path)
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

    def _reopen(self, part: PartFile) -> int:
        directory, name = self._directories.place(part.path)
        shown = self._directories.shown(part.relative)
        try:
            opened = open_regular(name, directory, UPDATE)
        except OSError as e:
            raise target_error(shown, e) from e
        if opened is not None:
            if _identity(opened[1]) == part.identity:
                return opened[0]
            os.close(opened[0])
        raise in_the_way(shown, "what somebody else put there")


def _identity(status: os.stat_result) -> tuple[int, int, int]:
    """The owner too: a number of an inode is given again once a file is deleted, our name is not."""
    return status.st_dev, status.st_ino, status.st_uid
