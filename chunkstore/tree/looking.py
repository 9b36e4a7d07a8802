"""A target that is looked at and not touched, for a restore that only says what it would do."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from types import TracebackType

from chunkstore.errors import TargetError
from chunkstore.tree.attributes import Ownership
from chunkstore.tree.directories import Directories
from chunkstore.tree.display import display_path
from chunkstore.tree.existing import ExistingFile
from chunkstore.tree.overwriting import Overwrite
from chunkstore.tree.problems import target_error
from chunkstore.tree.writing import lstat, open_regular, require_empty

_ROOT = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NOATIME = getattr(os, "O_NOATIME", 0)
_NOT_THERE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EMLINK})


class LookedAt:
    """What is below one directory, by relative paths as `Target` has them; access times stay where the system lets us.

    What is below something that is no directory is not there, as it will not be when a restore has replaced that.
    """

    def __init__(self, root: int | None, path: bytes, overwrite: Overwrite, ownership: Ownership) -> None:
        """Takes over `root`, the open directory at `path`, or None where there is none; see `open`."""
        self.path, self.overwrite, self.ownership = path, overwrite, ownership
        self._root = root
        self._directories = Directories(root, path) if root is not None else None

    @classmethod
    def open(cls, path: bytes, *, overwrite: Overwrite, ownership: Ownership | None = None) -> LookedAt:
        """Look at the directory `path`, which need not exist. Raises `TargetError` as `Target.prepare` does."""
        if ownership is None:
            ownership = Ownership.NAMES if os.geteuid() == 0 else Ownership.NONE
        try:
            root = os.open(path, _ROOT)
        except FileNotFoundError:
            return cls(None, path, overwrite, ownership)
        except NotADirectoryError as e:
            raise TargetError(f"{display_path(path)} is not a directory") from e
        except OSError as e:
            raise target_error(path, e) from e
        try:
            if overwrite is Overwrite.REFUSE:
                require_empty(root, path)
        except BaseException:
            os.close(root)
            raise
        return cls(root, path, overwrite, ownership)

    def status(self, relative: bytes) -> os.stat_result | None:
        """The `lstat` of what is there; None where nothing is."""
        if self._directories is None or self._root is None:
            return None
        if not relative:
            return os.fstat(self._root)
        try:
            directory, name = self._directories.place(relative)
            return lstat(name, directory)
        except TargetError as e:
            if isinstance(e.__cause__, OSError) and e.__cause__.errno in _NOT_THERE:
                return None
            raise
        except OSError as e:
            raise target_error(self._directories.shown(relative), e) from e

    def link_target(self, relative: bytes) -> bytes | None:
        """Where the symbolic link that is there points; None where there is none."""
        with suppress(OSError, TargetError):
            if self._directories is not None:
                directory, name = self._directories.place(relative)
                return os.readlink(name, dir_fd=directory)
        return None

    def read_existing(self, relative: bytes) -> ExistingFile | None:
        """The regular file that is there, for the caller to close; None where there is none that can be read."""
        if self._directories is None:
            return None
        with suppress(OSError, TargetError):
            directory, name = self._directories.place(relative)
            try:
                opened = open_regular(name, directory, _READ | _NOATIME)
            except PermissionError:  # for the owner and root alone
                opened = open_regular(name, directory, _READ)
            return ExistingFile(opened[0], opened[1].st_size) if opened else None
        return None

    def close(self) -> None:
        """Close everything."""
        if self._directories is not None:
            self._directories.close()
        if self._root is not None:
            os.close(self._root)
            self._root = None

    def __enter__(self) -> LookedAt:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
