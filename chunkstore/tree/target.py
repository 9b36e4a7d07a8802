"""The directory a restore writes to."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from types import TracebackType
from typing import TypeVar

from chunkstore.errors import InvalidArgument, TargetError
from chunkstore.format.entries import Entry
from chunkstore.tree.attributes import Attributes
from chunkstore.tree.directories import Directories, open_child
from chunkstore.tree.display import display_path
from chunkstore.tree.notes import DirectoryNotes
from chunkstore.tree.parts import OpenParts, PartFile
from chunkstore.tree.problems import in_the_way, target_error
from chunkstore.tree.writing import (
    NO_DIRECTORY,
    is_directory,
    make_writable,
    new_file,
    require_empty,
    write_fully,
    write_fully_at,
)

_OPEN_PARTS = 64

_T = TypeVar("_T")


class Overwrite(Enum):
    """What happens to what is in the target already."""

    REFUSE = "refuse"
    """A target that is not empty is refused."""
    ALWAYS = "always"
    """What is in the place of an entry is removed, unless it is a directory."""
    NEVER = "never"
    """What is there stays; directories are shared."""


class Target:
    """Writes a tree under one directory, and never outside it whatever it is told.

    Entries are named by `relative`, bytes like `a/b/c`; empty is the target itself. Parents must have been made.
    Every method raises `TargetError` about the one entry it is for, except that the subclass `TargetFull` says that
    no further entry can succeed. One thread at a time.
    """

    def __init__(self, root: int, path: bytes, overwrite: Overwrite, owner: bool, scratch: str | None) -> None:
        """Takes over `root`, the open directory at `path`; see `prepare`."""
        self._root = root
        self._overwrite = overwrite
        self._attributes = Attributes(owner)
        self._directories = Directories(root, path)
        self._parts = OpenParts(self._directories, _OPEN_PARTS)
        self._unfinished: set[PartFile] = set()
        self._notes = DirectoryNotes(scratch)

    @classmethod
    def prepare(
        cls,
        path: bytes,
        *,
        overwrite: Overwrite = Overwrite.REFUSE,
        owner: bool | None = None,
        scratch: str | None = None,
    ) -> Target:
        """Open the directory `path`, made with its parents if it is missing.

        `owner` says whether to give files to the users and groups they had; by default root does. Raises
        `TargetError` where there is no directory to be had, or a full one with `Overwrite.REFUSE`.
        """
        try:
            os.makedirs(path, 0o700, exist_ok=True)
            root = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileExistsError as e:
            raise TargetError(f"{display_path(path)} is not a directory") from e
        except OSError as e:
            raise target_error(path, e) from e
        try:
            if overwrite is Overwrite.REFUSE:
                require_empty(root, path)
            return cls(root, path, overwrite, os.geteuid() == 0 if owner is None else owner, scratch)
        except BaseException:
            os.close(root)
            raise

    @property
    def not_set(self) -> Counter[str]:
        """For how many entries "owner", "mode" or "times" could not be set."""
        return self._attributes.not_set

    def make_directory(self, relative: bytes, mode_while_writing: int = 0o700) -> None:
        """Make a directory; one that is there already is made writable for us and is fine."""
        if not relative:
            return
        directory, name = self._directories.place(relative)
        try:
            os.mkdir(name, mode_while_writing, dir_fd=directory)
        except FileExistsError:
            self._share_directory(relative, mode_while_writing)
        except OSError as e:
            raise self._error(relative, e) from e

    def write_whole(self, relative: bytes, data: bytes | bytearray | memoryview, entry: Entry) -> bool:
        """Create a file with this content and the attributes of `entry`; False if one that is there was kept."""
        fd = self._make(relative, new_file)
        if fd is None:
            return False
        try:
            try:
                write_fully(fd, data)
                self._attributes.set(fd, entry)
            finally:
                os.close(fd)  # may say only now that a quota is exceeded
        except BaseException as e:  # an interrupt too must leave nothing that could pass for the file
            self._remove(relative)
            if isinstance(e, OSError):
                raise self._error(relative, e) from e
            raise
        return True

    def create(self, relative: bytes, size: int) -> PartFile | None:
        """Begin a file that comes in parts; None if one that is there was kept. `close` discards what is not finished."""
        fd = self._make(relative, new_file)
        if fd is None:
            return None
        part = self._parts.add(relative, size, fd)
        self._unfinished.add(part)
        return part

    def write_at(self, part: PartFile, offset: int, data: bytes | bytearray | memoryview) -> None:
        """Write a part; parts come in any order, of any number of files in turn."""
        if offset < 0 or offset + len(data) > part.size:
            raise InvalidArgument("a part that is not inside its file")
        fd = self._parts.fd(part)
        try:
            write_fully_at(fd, data, offset)
        except OSError as e:
            raise self._error(part.relative, e) from e

    def finish(self, part: PartFile, entry: Entry) -> None:
        """Give a file its size, with zeros where no part was written, and the attributes of `entry`."""
        fd = self._parts.fd(part)
        try:
            os.ftruncate(fd, part.size)
            self._attributes.set(fd, entry)
            self._parts.close(part)
        except OSError as e:
            raise self._error(part.relative, e) from e
        self._unfinished.discard(part)

    def discard(self, part: PartFile) -> None:
        """Remove a file that can not be finished, unless it is gone or another file has taken its place."""
        self._unfinished.discard(part)
        in_place = self._parts.is_in_place(part)
        with suppress(OSError):
            self._parts.close(part)
        if in_place:
            self._remove(part.relative)

    def make_symlink(self, relative: bytes, entry: Entry) -> bool:
        """Create a symbolic link to `entry.target`, wherever that leads; False if what is there was kept."""

        def symlink(name: bytes, directory: int) -> bool:
            os.symlink(entry.target, name, dir_fd=directory)
            self._attributes.set_named(directory, name, entry)
            return True

        return self._make(relative, symlink) is not None

    def make_link(self, relative: bytes, existing: bytes) -> bool:
        """Create a further name for what was written at `existing`; False if what is there was kept."""
        if relative == existing:
            raise InvalidArgument("a file can not be a link to itself")
        directory, old = self._directories.place(existing)
        source = os.dup(directory)  # `place` may close it when it is asked for the other directory

        def link(name: bytes, directory: int) -> bool:
            os.link(old, name, src_dir_fd=source, dst_dir_fd=directory, follow_symlinks=False)
            return True

        try:
            return self._make(relative, link) is not None
        finally:
            os.close(source)

    def note_directory(self, relative: bytes, entry: Entry) -> None:
        """Remember what `finish_directories` is to make of a directory; parents come before their children."""
        try:
            self._notes.push(relative, entry)
        except OSError as e:
            raise self._error(relative, e) from e

    def finish_directories(self) -> None:
        """Set the noted attributes, the last note first, so that no directory changes after its turn.

        A directory that is not there any more is counted in `not_set`.
        """
        try:
            for relative, entry in self._notes.pop_all():
                try:
                    self._attributes.set(self._directories.open(relative), entry)
                except TargetError:
                    self._attributes.skipped()
        except OSError as e:
            raise self._error(b"", e) from e

    def close(self) -> None:
        """Close everything. Files that were begun and not finished are removed: nothing of them could pass for whole."""
        while self._unfinished:
            self.discard(next(iter(self._unfinished)))
        self._parts.close_all()
        self._directories.close()
        self._notes.close()
        if self._root >= 0:
            os.close(self._root)
            self._root = -1

    def __enter__(self) -> Target:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _make(self, relative: bytes, make: Callable[[bytes, int], _T]) -> _T | None:
        """`make(name, directory)`, with what is in the way treated as `Overwrite` says; None if it was kept."""
        directory, name = self._directories.place(relative)
        try:
            return make(name, directory)
        except FileExistsError as e:
            if self._overwrite is Overwrite.NEVER:
                return None
            if self._overwrite is Overwrite.REFUSE:
                raise self._error(relative, e) from e
        except OSError as e:
            raise self._error(relative, e) from e
        try:
            self._clear(relative)
            return make(name, directory)
        except OSError as e:
            raise self._error(relative, e) from e

    def _share_directory(self, relative: bytes, mode: int) -> None:
        """Use what is in the place of a new directory if it is one, else replace it if we may."""
        directory, name = self._directories.place(relative)
        try:
            fd = open_child(name, directory)
        except OSError as e:
            if e.errno not in NO_DIRECTORY:
                raise self._error(relative, e) from e
            if self._overwrite is not Overwrite.ALWAYS:
                raise in_the_way(self._directories.shown(relative), "something that is no directory") from e
        else:
            make_writable(fd, mode)
            os.close(fd)
            return
        try:
            self._clear(relative)
            os.mkdir(name, mode, dir_fd=directory)
        except OSError as e:
            raise self._error(relative, e) from e

    def _clear(self, relative: bytes) -> None:
        """Remove what is in the way, unless it is a directory."""
        directory, name = self._directories.place(relative)
        try:
            os.unlink(name, dir_fd=directory)
        except FileNotFoundError:
            pass
        except OSError as e:
            if is_directory(name, directory):
                raise in_the_way(self._directories.shown(relative), "a directory") from e
            raise

    def _remove(self, relative: bytes) -> None:
        """Remove a file of ours that is not whole; if that fails too, the first error is the one to report."""
        with suppress(OSError, TargetError):
            directory, name = self._directories.place(relative)
            os.unlink(name, dir_fd=directory)

    def _error(self, relative: bytes, error: OSError) -> TargetError:
        return target_error(self._directories.shown(relative), error)
