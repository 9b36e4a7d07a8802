"""Removing whole trees from a target, without leaving it or its file system."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from itertools import count, islice

from chunkstore.errors import TargetError
from chunkstore.tree.directories import open_child
from chunkstore.tree.display import display_path
from chunkstore.tree.inode_flags import is_sealed
from chunkstore.tree.pinned import pinned
from chunkstore.tree.problems import in_the_way, target_error
from chunkstore.tree.reading import open_directory_at
from chunkstore.tree.writing import make_writable

_DEPTH = 40
_BATCH = 1000
_TAKEN = frozenset({errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR})

Removed = Callable[[bytes], None]
"""Is told the path of each thing that was removed, those in a directory before it."""


def remove_tree(
    name: bytes, directory: int, relative: bytes, shown: Callable[[bytes], bytes], removed: Removed | None = None
) -> None:
    """Remove `name` in the open directory, with all that is in it if it is a directory; what is gone already is fine.

    Links are removed, never followed. A directory that another file system is mounted on ends it with `TargetError`,
    as does whatever can not be removed; `shown(relative)` is its path in messages.
    """
    _Removal(shown, removed).remove(name, directory, relative)


class _Removal:
    """No more than `_DEPTH` directories are open: what is deeper is moved up first."""

    def __init__(self, shown: Callable[[bytes], bytes], removed: Removed | None) -> None:
        self._shown = shown
        self._removed = removed
        self._deeper = count()
        self._moved: dict[bytes, bytes] = {}

    def remove(self, name: bytes, directory: int, relative: bytes, open_above: tuple[int, ...] = ()) -> None:
        try:
            if stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
                if len(open_above) > _DEPTH:
                    self._move_up(name, directory, relative, open_above[0])
                    return
                self._empty(name, directory, relative, open_above)
                os.rmdir(name, dir_fd=directory)
            else:
                os.unlink(name, dir_fd=directory)
        except FileNotFoundError:
            return
        except OSError as e:
            if e.errno == errno.EPERM and is_sealed(name, directory):
                raise in_the_way(self._shown(relative), "what is immutable or append-only (see chattr)") from e
            raise target_error(self._shown(relative), e) from e
        if self._removed is not None:
            self._removed(relative)

    def _empty(self, name: bytes, directory: int, relative: bytes, open_above: tuple[int, ...]) -> None:
        fd = _open_writable(name, directory)
        try:
            if _mount(fd) != _mount(directory):
                raise TargetError(
                    f"{display_path(self._shown(relative))}: another file system is mounted there, which is not removed"
                )
            while names := _some_names(fd):
                for each in names:
                    path = relative + b"/" + each if open_above else self._moved.pop(each, relative + b"/" + each)
                    self.remove(each, fd, path, (*open_above, fd))
        finally:
            os.close(fd)

    def _move_up(self, name: bytes, directory: int, relative: bytes, top: int) -> None:
        """Move a directory to the topmost one that is being emptied: that one is read again until nothing is in it."""
        with pinned(name, directory) as (path, status):
            if stat.S_ISDIR(status.st_mode):
                os.chmod(path, 0o700)  # a directory that changes its parent is written to
        for number in self._deeper:
            moved = b".chunkstore-removed-%d" % number
            try:
                os.rename(name, moved, src_dir_fd=directory, dst_dir_fd=top)
            except OSError as e:
                if e.errno not in _TAKEN:
                    raise
            else:
                self._moved[moved] = relative
                return


def is_mount(name: bytes, directory: int) -> bool:
    """Whether `name` in the open directory is a directory that something is mounted on. Raises `OSError`."""
    fd = open_child(name, directory)
    try:
        return _mount(fd) != _mount(directory)
    finally:
        os.close(fd)


def is_same_mount(one: bytes, other: bytes) -> bool:
    """Whether the directories at two absolute paths belong to one mounted file system. Raises `OSError`."""
    first = open_directory_at(one)
    try:
        second = open_directory_at(other)
        try:
            return _mount(first) == _mount(second)
        finally:
            os.close(second)
    finally:
        os.close(first)


def _open_writable(name: bytes, directory: int) -> int:
    try:
        fd = open_child(name, directory)
    except PermissionError:
        with pinned(name, directory) as (path, status):
            if not stat.S_ISDIR(status.st_mode):
                raise
            os.chmod(path, 0o700)
        fd = open_child(name, directory)
    make_writable(fd, 0o700)
    return fd


def _some_names(fd: int) -> list[bytes]:
    def names() -> Iterator[bytes]:
        with os.scandir(fd) as entries:
            for entry in entries:
                yield os.fsencode(entry.name)

    return list(islice(names(), _BATCH))


def _mount(fd: int) -> tuple[int, bytes]:
    """What is the same for all of one mount: a directory of the same file system may be mounted on another one."""
    device = os.fstat(fd).st_dev
    try:
        with open(f"/proc/self/fdinfo/{fd}", "rb") as lines:
            return device, next((line for line in lines if line.startswith(b"mnt_id:")), b"")
    except OSError:
        return device, b""
