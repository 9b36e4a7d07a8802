"""The life of a file that is written in parts: begun or found, written, moved to its name."""

from __future__ import annotations

import os
from contextlib import suppress

from chunkstore.errors import InvalidArgument, TargetError
from chunkstore.format.entries import Entry
from chunkstore.tree.attributes import Attributes
from chunkstore.tree.directories import Directories
from chunkstore.tree.existing import open_existing_for_update
from chunkstore.tree.overwriting import Places
from chunkstore.tree.parts import UPDATE, OpenParts, PartFile
from chunkstore.tree.problems import in_the_way
from chunkstore.tree.punching import make_hole
from chunkstore.tree.write_behind import WriteBehind
from chunkstore.tree.writing import new_file, open_regular, read_fully_at, write_fully_at

_OPEN = 64


class PartFiles:
    """New files are written under a temporary name that nobody else may open, in the directory they belong in."""

    def __init__(
        self, directories: Directories, places: Places, attributes: Attributes, write_behind: bool = False
    ) -> None:
        self._directories = directories
        self._places = places
        self._attributes = attributes
        self._open = OpenParts(directories, _OPEN)
        self._behind = WriteBehind() if write_behind else None

    def create(self, relative: bytes, size: int, mtime_ns: int | None) -> PartFile | None:
        """Begin a file, or go on with one that an interrupted restore began; None if what is there is to be kept."""
        if not self._places.admits(relative, mtime_ns):
            return None
        path = self._places.claims.temporary(relative)
        directory, name = self._directories.place(path)
        try:
            fd = _open_own(name, directory)
            status = os.fstat(fd)
        except OSError as e:
            raise self._places.error(relative, e) from e
        part = PartFile(relative, path, size, status)
        self._places.claims.use(path)
        self._make_room()
        self._open.add(part, fd)
        return part

    def open_existing(self, relative: bytes, entry: Entry) -> PartFile | None:
        """Begin to change a file in place; None where that is not safe, or what is there is to be kept."""
        if not self._places.admits(relative, entry.mtime_ns):
            return None
        directory, name = self._directories.place(relative)
        try:
            opened = open_existing_for_update(name, directory, entry, self._attributes)
        except OSError as e:
            raise self._places.error(relative, e) from e
        if opened is None:
            return None
        part = PartFile(relative, relative, entry.size, opened[1])
        self._make_room()
        self._open.add(part, opened[0])
        return part

    def write_at(self, part: PartFile, offset: int, data: bytes | bytearray | memoryview) -> None:
        if offset < 0 or offset + len(data) > part.size:
            raise InvalidArgument("a part that is not inside its file")
        fd = self._fd(part)
        try:
            if self._behind is None:
                write_fully_at(fd, data, offset)
            else:
                self._behind.add(part, fd, offset, data)
        except OSError as e:
            raise self._places.error(part.relative, e) from e

    def _fd(self, part: PartFile) -> int:
        if part not in self._open:
            self._make_room()
        return self._open.fd(part)

    def _make_room(self) -> None:
        """Before another file is opened, for which one may be closed."""
        if self._behind is not None and self._open.is_full:
            self._behind.settle_all()

    def _settle(self, part: PartFile) -> None:
        """Before a file is read, changed otherwise, or closed. Raises what could not be written of it."""
        if self._behind is not None:
            self._behind.settle(part)

    def read_at(self, part: PartFile, offset: int, length: int) -> bytes:
        try:
            self._settle(part)
            fd = self._fd(part)
            return read_fully_at(fd, offset, length)
        except OSError as e:
            raise self._places.error(part.relative, e) from e

    def make_hole(self, part: PartFile, offset: int, length: int) -> None:
        if not part.there:
            return
        try:
            self._settle(part)
            fd = self._fd(part)
            make_hole(fd, offset, length)
        except OSError as e:
            raise self._places.error(part.relative, e) from e

    def finish(self, part: PartFile, entry: Entry) -> bool:
        """False if something has come to be in its place that is to be kept."""
        settled = True
        try:
            self._settle(part)
            fd = self._fd(part)
            os.ftruncate(fd, part.size)
            self._attributes.set(fd, entry, fresh=part.fresh)
            if not part.in_place:
                if not self._open.is_there(part):
                    raise in_the_way(self._directories.shown(part.path), "a file that somebody else put there")
                settled = self._places.settle(part.relative, part.path.rpartition(b"/")[2])
            if settled:
                self._open.close(part)
        except OSError as e:
            raise self._places.error(part.relative, e) from e
        if not settled:
            self.discard(part)
        self._places.claims.free(part.path)
        return settled

    def discard(self, part: PartFile) -> None:
        """Remove a file that can not be finished, if it is a new one and still there."""
        with suppress(OSError):
            self._settle(part)
        is_there = not part.in_place and self._open.is_there(part)
        with suppress(OSError):
            self._open.close(part)
        if is_there:
            with suppress(OSError, TargetError):
                directory, name = self._directories.place(part.path)
                os.unlink(name, dir_fd=directory)
        self._places.claims.free(part.path)

    def close(self) -> None:
        """Leave everything that is not finished as it is."""
        if self._behind is not None:
            self._behind.close()
        self._open.close_all()


def _open_own(name: bytes, directory: int) -> int:
    """A file of ours alone of this name: the one that is there, or a new one in the place of any other."""
    with suppress(PermissionError):
        opened = open_regular(name, directory, UPDATE)
        if opened is not None:
            fd, status = opened
            if status.st_nlink == 1 and status.st_uid == os.geteuid() and not status.st_mode & 0o7077:
                return fd
            os.close(fd)
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=directory)
    return new_file(name, directory)
