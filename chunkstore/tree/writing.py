"""The system calls of a restore, each whole."""

from __future__ import annotations

import errno
import os
import stat

from chunkstore.errors import TargetError
from chunkstore.tree.display import display_path

_NEW_FILE = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_RDWR | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

Data = bytes | bytearray | memoryview

NO_LINK = frozenset(
    {errno.EPERM, errno.EXDEV, errno.EMLINK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOENT, errno.EACCES}
)
"""What systems say where a file can not have another name, or is not there to get one."""


def new_file(name: bytes, directory: int) -> int:
    """Create and open a file, for its owner alone until its attributes are set."""
    return os.open(name, _NEW_FILE, 0o600, dir_fd=directory)


def write_fully(fd: int, data: Data) -> None:
    """Write all bytes of `data` (a `memoryview` must be one of bytes)."""
    written = os.write(fd, data)
    if written < len(data):  # rare: a file of more than 2 GiB, a quota about to be reached
        view = memoryview(data)
        while written < len(view):
            written += os.write(fd, view[written:])


def write_fully_at(fd: int, data: Data, offset: int) -> None:
    """Write all bytes of `data` at `offset`, as `write_fully` does."""
    written = os.pwrite(fd, data, offset)
    if written < len(data):
        view = memoryview(data)
        while written < len(view):
            written += os.pwrite(fd, view[written:], offset + written)


def read_fully_at(fd: int, offset: int, length: int) -> bytes:
    """The bytes from `offset` on, fewer than `length` only where the file ends."""
    data = os.pread(fd, length, offset)
    while 0 < len(data) < length and (more := os.pread(fd, length - len(data), offset + len(data))):
        data += more
    return data


def lstat(name: bytes, directory: int) -> os.stat_result | None:
    """The `lstat` of `name` in the open directory; None where there is none."""
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None


def open_regular(name: bytes, directory: int, flags: int = _READ) -> tuple[int, os.stat_result] | None:
    """A regular file opened, and its `fstat`; None where there is none. Nothing else is opened: that may have effects."""
    if (status := lstat(name, directory)) is None or not stat.S_ISREG(status.st_mode):
        return None
    fd = os.open(name, flags, dir_fd=directory)
    status = os.fstat(fd)
    if stat.S_ISREG(status.st_mode):
        return fd, status
    os.close(fd)
    return None


def move_if_free(old: bytes, new: bytes, directory: int) -> None:
    """Rename within the open directory; `FileExistsError` if there is something of the name `new`."""
    try:
        os.link(old, new, src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=False)
    except OSError as e:
        if e.errno not in NO_LINK:
            raise
    else:
        os.unlink(old, dir_fd=directory)
        return
    if lstat(new, directory) is not None:  # no system-wide way to ask and rename at once
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
    os.rename(old, new, src_dir_fd=directory, dst_dir_fd=directory)


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
                f"{display_path(path)} is not empty: name an empty or a new directory, or say with `--overwrite` what is"
                " to happen to the files in it; `--overwrite if-changed` goes on with a restore that was interrupted"
            )
