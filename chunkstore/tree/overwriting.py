"""What stands in the target already, and what may be put in its place."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from typing import TypeVar

from chunkstore.errors import TargetError
from chunkstore.tree.directories import Directories
from chunkstore.tree.inode_flags import is_sealed
from chunkstore.tree.pinned import unlock_directory
from chunkstore.tree.problems import in_the_way, target_error
from chunkstore.tree.removal import Removed, remove_tree
from chunkstore.tree.temporary_names import Claims
from chunkstore.tree.writing import lstat, move_if_free

_T = TypeVar("_T")


class Overwrite(Enum):
    """What happens to what is in the target already. Directories are shared, but for `REFUSE`."""

    REFUSE = "refuse"
    """A target that is not empty is refused."""
    ALWAYS = "always"
    """What is in the place of an entry is replaced, unless it is a directory."""
    IF_CHANGED = "if-changed"
    """As `ALWAYS`; whoever restores leaves alone what is as it was."""
    IF_NEWER = "if-newer"
    """As `ALWAYS`, for entries that are newer than what is in their place."""
    NEVER = "never"
    """What is there stays."""


class Places:
    """Puts entries under their names; every method but `remove` treats what is there as `Overwrite` says.

    With `delete` a directory in the way of something else is removed with all that is in it. Errors of the system are
    raised as `TargetError`.
    """

    def __init__(self, directories: Directories, overwrite: Overwrite, delete: bool) -> None:
        self._directories = directories
        self._overwrite = overwrite
        self._delete = delete
        self.claims = Claims()

    def make(self, relative: bytes, make: Callable[[bytes, int], _T], mtime_ns: int | None = None) -> _T | None:
        """`make(name, directory)`, which must leave nothing if it fails; None if what is there was kept.

        What replaces something is made under a temporary name and moved, so that the name always has one of the two.
        """
        directory, name = self._directories.place(relative)
        self.claims.claim(relative)
        try:
            try:
                return make(name, directory)
            except FileExistsError:
                if self._overwrite is Overwrite.REFUSE:
                    raise
            if not self._may_replace(relative, lstat(name, directory), mtime_ns):
                return None
            temporary = self.claims.temporary(relative).rpartition(b"/")[2]
            with suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=directory)
            made = make(temporary, directory)
            try:
                self._replace(relative, temporary)
            except BaseException:
                with suppress(OSError):
                    os.unlink(temporary, dir_fd=self._directories.place(relative)[0])
                raise
            return made
        except OSError as e:
            raise self.error(relative, e) from e

    def admits(self, relative: bytes, mtime_ns: int | None) -> bool:
        """Whether an entry of this modification time may be put at `relative`; raises where that is an error."""
        directory, name = self._directories.place(relative)
        self.claims.claim(relative)
        try:
            status = lstat(name, directory)
        except OSError as e:
            raise self.error(relative, e) from e
        return self._may_replace(relative, status, mtime_ns)

    def settle(self, relative: bytes, temporary: bytes) -> bool:
        """Move the file of the name `temporary`, beside `relative`, there; False if something is there and stays."""
        directory, name = self._directories.place(relative)
        try:
            if self._overwrite not in (Overwrite.REFUSE, Overwrite.NEVER):
                self._replace(relative, temporary)
                return True
            try:
                move_if_free(temporary, name, directory)
            except FileExistsError:
                if self._overwrite is Overwrite.REFUSE:
                    raise
                return False
        except OSError as e:
            raise self.error(relative, e) from e
        return True

    def make_directory(self, relative: bytes, mode: int) -> int | None:
        """Make a directory; one that is there already is opened instead, for the caller to close."""
        directory, name = self._directories.place(relative)
        self.claims.claim(relative)
        try:
            try:
                os.mkdir(name, mode, dir_fd=directory)
                return None
            except FileExistsError:
                unlock_directory(name, directory)
                fd = self._directories.open_existing(relative)
            if fd is None:
                if self._overwrite not in (Overwrite.ALWAYS, Overwrite.IF_CHANGED) and not self._may_delete:
                    raise in_the_way(self._directories.shown(relative), "something that is no directory")
                with suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=directory)
                os.mkdir(name, mode, dir_fd=directory)
            return fd
        except OSError as e:
            raise self.error(relative, e) from e

    def remove(self, relative: bytes, removed: Removed | None = None) -> None:
        """Remove what is at `relative`, a directory with all that is in it; `removed` is told every path."""
        directory, name = self._directories.place(relative)
        self._directories.forget(relative)
        directory, name = self._directories.place(relative)
        remove_tree(name, directory, relative, self._directories.shown, removed)

    def error(self, relative: bytes, error: OSError) -> TargetError:
        """`error`, about `relative`, as one of ours."""
        shown = self._directories.shown(relative)
        with suppress(OSError, TargetError):
            directory, name = self._directories.place(relative)
            if error.errno == errno.EPERM and is_sealed(name, directory):
                return self._sealed(relative)
        return target_error(shown, error)

    def _sealed(self, relative: bytes) -> TargetError:
        return in_the_way(self._directories.shown(relative), "what is immutable or append-only (see chattr)")

    @property
    def _may_delete(self) -> bool:
        return self._delete and self._overwrite not in (Overwrite.REFUSE, Overwrite.NEVER)

    def _may_replace(self, relative: bytes, status: os.stat_result | None, mtime_ns: int | None) -> bool:
        if status is None:
            return True
        if self._overwrite is Overwrite.REFUSE:
            raise in_the_way(self._directories.shown(relative), "something that exists already")
        if self._overwrite is Overwrite.NEVER:
            return False
        if stat.S_ISDIR(status.st_mode):
            if not self._may_delete:
                raise in_the_way(self._directories.shown(relative), "a directory")
        elif self._overwrite is Overwrite.IF_NEWER and mtime_ns is not None and status.st_mtime_ns >= mtime_ns:
            return False
        directory, name = self._directories.place(relative)
        if is_sealed(name, directory):  # said now, not when the new file has been written and can not be moved
            raise self._sealed(relative)
        return True

    def _replace(self, relative: bytes, temporary: bytes) -> None:
        """Move the file of the name `temporary` to where something is, or was."""
        directory, name = self._directories.place(relative)
        status = lstat(name, directory)
        if status is not None and stat.S_ISDIR(status.st_mode):
            if not self._may_delete:
                raise in_the_way(self._directories.shown(relative), "a directory")
            self.remove(relative)
            directory, name = self._directories.place(relative)
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
