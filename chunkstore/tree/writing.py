"""The system calls of a restore, each whole."""

from __future__ import annotations

import errno
import os
import stat

from chunkstore.errors import TargetError
from chunkstore.tree.display import display_path

_NEW_FILE = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_WRONLY | os.O_CLOEXEC

NO_DIRECTORY = frozenset({errno.ENOTDIR, errno.ELOOP, errno.EMLINK})
"""What systems say when O_DIRECTORY and O_NOFOLLOW meet a file or a link."""


def new_file(name: bytes, directory: int) -> int:
    """Create and open a file, for its owner alone until its attributes are set."""
    return os.open(name, _NEW_FILE, 0o600, dir_fd=directory)


def write_fully(fd: int, data: bytes | bytearray | memoryview) -> None:
    """Write all bytes of `data` (a `memoryview` must be one of bytes)."""
    written = os.write(fd, data)
    if written < len(data):  # rare: a file of more than 2 GiB, a quota about to be reached
        view = memoryview(data)
        while written < len(view):
            written += os.write(fd, view[written:])


def write_fully_at(fd: int, data: bytes | bytearray | memoryview, offset: int) -> None:
    """Write all bytes of `data` at `offset`, as `write_fully` does."""
    written = os.pwrite(fd, data, offset)
    if written < len(data):
        view = memoryview(data)
        while written < len(view):
            written += os.pwrite(fd, view[written:], offset + written)


def is_directory(name: bytes, directory: int) -> bool:
    """Whether `name` in the open directory is a directory, and no link to one."""
    try:
        return stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode)
    except OSError:
        return False


def make_writable(fd: int, mode: int) -> None:
    """Add the bits of `mode` to an open directory's, if we may: somebody else's can be writable for us all the same."""
    try:
        status = os.fstat(fd)
        if mode & ~status.st_mode:
            os.fchmod(fd, (status.st_mode | mode) & 0o7777)
    except OSError:
        pass


def require_empty(directory: int, path: bytes) -> None:
    """Raise `TargetError` if there is anything in the open directory at `path`."""
    with os.scandir(directory) as entries:
        if next(entries, None) is not None:
            raise TargetError(
                f"{display_path(path)} is not empty: name an empty or a new directory,"
                " or say with `--overwrite` what is to happen to the files in it"
            )
