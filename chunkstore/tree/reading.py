"""Reading the files of a source, and what their `stat` says as manifest entries."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from chunkstore.errors import SourceError
from chunkstore.format.entries import (
    BLOCK_DEVICE,
    CHARACTER_DEVICE,
    DIRECTORY,
    FIFO,
    FILE,
    SOCKET,
    SYMLINK,
    Entry,
)

_T = TypeVar("_T")
_NOATIME = getattr(os, "O_NOATIME", 0)
_SOURCE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC
# A directory is passed through with the right to search it alone, where the system knows how (macOS does not).
_THROUGH = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC
_DESCRIPTORS = b"/proc/self/fd"
_PIECE = 1000
"""Bytes: below every PATH_MAX (1024 with the NUL on macOS, 4096 on Linux), above every NAME_MAX."""

_KINDS = {
    stat.S_IFREG: FILE,
    stat.S_IFDIR: DIRECTORY,
    stat.S_IFLNK: SYMLINK,
    stat.S_IFIFO: FIFO,
    stat.S_IFSOCK: SOCKET,
    stat.S_IFCHR: CHARACTER_DEVICE,
    stat.S_IFBLK: BLOCK_DEVICE,
}

_SIZED = (FILE, SYMLINK)


def kind_of(mode: int) -> int:
    """The kind of entry that `st_mode` stands for.

    Raises `SourceError` for what no manifest records (doors, whiteouts and the like of other systems).
    """
    try:
        return _KINDS[mode & 0o170000]
    except KeyError:
        raise SourceError(f"a file of an unknown type, {mode:#o}") from None


def entry_of(name: bytes, status: os.stat_result, chunks: int, extra: dict[str, Any] | None) -> Entry:
    """What a manifest says about `name`, from its `lstat`.

    `size` is `st_size` of files and links, else 0: that of a directory says nothing that another file system keeps.
    """
    mode = status.st_mode
    kind = _KINDS.get(mode & 0o170000) or kind_of(mode)
    return Entry(
        name,
        kind,
        mode & 0o7777,
        status.st_uid,
        status.st_gid,
        status.st_mtime_ns,
        status.st_ctime_ns,
        status.st_ino,
        status.st_size if kind in _SIZED else 0,
        chunks,
        extra,
    )


def is_same(one: os.stat_result, other: os.stat_result) -> bool:
    """Whether both are of one inode: it is for `fstat` after `open_source` against the walk's `lstat`."""
    return (
        one.st_ino == other.st_ino
        and one.st_dev == other.st_dev
        and stat.S_IFMT(one.st_mode) == stat.S_IFMT(other.st_mode)
    )


def is_unchanged(before: os.stat_result, after: os.stat_result) -> bool:
    """Whether one file had the same content at both times, as far as its size and times tell."""
    return (
        is_same(before, after)
        and before.st_size == after.st_size
        and before.st_mtime_ns == after.st_mtime_ns
        and before.st_ctime_ns == after.st_ctime_ns
    )


def open_source(path: bytes) -> int:
    """Open the file at an absolute path of any length for reading; the caller closes it.

    It may have become anything since it was walked: a link raises `OSError` (ELOOP), a FIFO opens without waiting,
    whatever else opens is for the caller to find with `fstat` before reading. The access time is left alone where
    the system lets us.
    """
    try:
        return os.open(path, _SOURCE | _NOATIME)  # all but some of the others' files
    except OSError:
        return _of_any_length(path, lambda name, parent: _open(name, _SOURCE, parent))


def open_inside(name: bytes, parent: int) -> int:
    """As `open_source`, for the file `name` in the open directory `parent`."""
    return _open(name, _SOURCE, parent)


def lstat_source(path: bytes) -> os.stat_result:
    """The `lstat` of an absolute path of any length."""
    return _of_any_length(path, lambda name, parent: os.stat(name, dir_fd=parent, follow_symlinks=False))


def open_directory(name: bytes, parent: int | None = None) -> int:
    """Open a directory, but no link to one, relative to the open directory `parent`; the caller closes it."""
    return _open(name, _DIRECTORY, parent)


def open_directory_at(path: bytes) -> int:
    """Open a directory, but no link to one, at an absolute path of any length; the caller closes it."""
    return _of_any_length(path, open_directory)


@contextmanager
def reachable(path: bytes) -> Iterator[bytes]:
    """A way to name the file at an absolute path of any length in calls that take nothing but paths."""
    if len(path) < _PIECE or not os.path.isdir(_DESCRIPTORS):
        yield path
        return
    parent, name = _open_parent(path)
    try:
        yield b"%b/%d/%b" % (_DESCRIPTORS, parent, name)
    finally:
        os.close(parent)


def list_directory(path: bytes) -> Iterator[bytes]:
    """The names in the directory, which is no link to one, at an absolute path of any length; in no order."""
    fd = _of_any_length(path, open_directory)
    try:
        with os.scandir(fd) as entries:
            for entry in entries:
                yield os.fsencode(entry.name)
    finally:
        os.close(fd)


def read_link(path: bytes) -> bytes:
    """Where the symbolic link at an absolute path of any length points."""
    return _of_any_length(path, lambda name, parent: os.readlink(name, dir_fd=parent))


def _of_any_length(path: bytes, call: Callable[[bytes, int | None], _T]) -> _T:
    """`call(path, None)`, or for a path that the system does not take, `call` of the name in its opened directory."""
    try:
        return call(path, None)
    except OSError as e:
        if e.errno != errno.ENAMETOOLONG:
            raise
    parent, name = _open_parent(path)
    try:
        return call(name, parent)
    finally:
        os.close(parent)


def _open(name: bytes, flags: int, parent: int | None) -> int:
    """Open without touching the access time: that is allowed to the owner and root, others do without."""
    try:
        return os.open(name, flags | _NOATIME, dir_fd=parent)
    except PermissionError as e:
        if e.errno != errno.EPERM or not _NOATIME:
            raise
    return os.open(name, flags, dir_fd=parent)


def _open_parent(path: bytes) -> tuple[int, bytes]:
    """The directory that `path` is in, opened in pieces shorter than PATH_MAX, and the name in it."""
    directory, _, name = path.rpartition(b"/")
    parent = os.open(b"/", _THROUGH)
    try:
        while directory := directory.lstrip(b"/"):
            cut = len(directory) if len(directory) <= _PIECE else directory.rfind(b"/", 0, _PIECE + 1)
            if cut < 0:
                raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), path)
            below = os.open(directory[:cut], _THROUGH, dir_fd=parent)
            os.close(parent)
            parent = below
            directory = directory[cut:]
    except BaseException:
        os.close(parent)
        raise
    return parent, name
