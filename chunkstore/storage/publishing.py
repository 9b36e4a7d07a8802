"""Ways to make a file appear in a directory at once: whole, flushed, and only if its name is free.

| way | needs | a crash leaves |
|---|---|---|
| `by_unnamed_file` | Linux, O_TMPFILE, /proc (ext4, xfs, btrfs, tmpfs ...) | nothing |
| `by_link` | hard links (NFS, APFS, SMB ...) | a temporary file |
| `by_rename` | renameat2(RENAME_NOREPLACE) on Linux, renameatx_np(RENAME_EXCL) on macOS (vfat, exFAT ...) | a temporary file |

After a power cut a file whose publication had returned is there, whole, as far as the file system and the drive keep what
fsync promises; one whose publication had not is there whole or not at all on file systems with a journal (ext4, xfs,
btrfs, APFS). Those without one (vfat, exFAT) may lose more, and want their own check after a power cut.

Opening with O_EXCL and writing afterwards is none of them: others would see the file before it is whole, and a
crash would leave half of it under its name for ever.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final, TypeAlias

from chunkstore.storage.protocol import Buffer

_FILE_MODE: Final = 0o600
_DIRECTORY_MODE: Final = 0o700

_RENAME_NOREPLACE: Final = 1  # linux/fs.h
_RENAME_EXCL: Final = 4  # sys/stdio.h of macOS

_TEMPORARY_NAME: Final = re.compile("[0-9a-f]{32}")
_LITTER_AGE_SECONDS: Final = 86400

# What kernels and file systems answer when they do not know a call or a flag.
_NOT_SUPPORTED: Final = frozenset((errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL))


class NotSupported(Exception):
    """The system or the file system can not do it this way."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a file is to appear.

    `directory` is an open descriptor, `name` the file's name in it, `temporary` the path of a directory on the
    same file system for temporary files, made when needed. `durable`: flush to the medium.
    """

    directory: int
    name: str
    temporary: str
    durable: bool


Way: TypeAlias = Callable[[Target, Buffer], bool]


def by_unnamed_file(target: Target, data: Buffer) -> bool:
    """Fill a file that has no name, then link it to its name. False: the name was taken."""
    flag = getattr(os, "O_TMPFILE", 0)
    if not flag:
        raise NotSupported
    try:
        descriptor = os.open(".", flag | os.O_WRONLY, _FILE_MODE, dir_fd=target.directory)
    except OSError as error:
        # EISDIR: a kernel that does not know the flag.
        if error.errno in _NOT_SUPPORTED | {errno.EISDIR}:
            raise NotSupported from error
        raise
    try:
        _fill(descriptor, data, target.durable)
        return _link(f"/proc/self/fd/{descriptor}", target)
    except FileNotFoundError as error:
        raise NotSupported from error  # no /proc
    finally:
        os.close(descriptor)


def by_link(target: Target, data: Buffer) -> bool:
    """Fill a temporary file, then link it to its name. False: the name was taken."""
    with _temporary_file(target, data) as path:
        # NFS: when the answer to a link gets lost, the client asks again and is told that the name is taken, by
        # itself. Only then has the temporary file two names.
        return _link(path, target) or os.stat(path).st_nlink > 1


def by_rename(target: Target, data: Buffer) -> bool:
    """Fill a temporary file, then rename it unless its name is taken. False: the name was taken."""
    with _temporary_file(target, data) as path:
        return _rename_exclusively(path, target)


def replace(target: Target, data: Buffer) -> None:
    """Fill a temporary file, then rename it, over an existing one if there is one. A crash may leave it behind."""
    with _temporary_file(target, data) as path:
        os.replace(path, target.name, dst_dir_fd=target.directory)


def sweep(temporary: str, now: float) -> None:
    """Remove the temporary files of writers that crashed: those that were last written more than a day before `now`.

    `now` is told by the file system itself, as the time of a file that was just written: no clock of ours counts. A writer
    has its file for seconds. One that was held up for a day finds it gone and fails; what has got its name stays.
    """
    # What a link in its place points to is none of ours to remove.
    directory = os.open(temporary, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        for name in filter(_TEMPORARY_NAME.fullmatch, os.listdir(directory)):
            if os.stat(name, dir_fd=directory, follow_symlinks=False).st_mtime < now - _LITTER_AGE_SECONDS:
                os.unlink(name, dir_fd=directory)
    finally:
        os.close(directory)


def flush(descriptor: int) -> None:
    """Flush a file or a directory to its medium."""
    if sys.platform == "darwin":
        # fsync of macOS stops at the drive's cache; file systems without F_FULLFSYNC get the plain one.
        with suppress(OSError):
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
            return
    os.fsync(descriptor)


def make_directory(path: str) -> bool:
    """Make a directory whose parent is there. False: it was there too."""
    try:
        os.mkdir(path, _DIRECTORY_MODE)
    except FileExistsError:
        if not os.path.isdir(path):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path) from None
        return False
    return True


def _link(source: str, target: Target) -> bool:
    """Give a file its name; False if it is taken."""
    try:
        # With a directory descriptor, Python calls linkat(AT_SYMLINK_FOLLOW), which /proc/self/fd/N needs.
        os.link(source, target.name, src_dir_fd=target.directory, dst_dir_fd=target.directory, follow_symlinks=True)
    except FileExistsError:
        return False
    except OSError as error:
        # EPERM is how vfat says that it has no hard links.
        if error.errno in _NOT_SUPPORTED | {errno.EPERM}:
            raise NotSupported from error
        raise
    return True


def _rename_exclusively(source: str, target: Target) -> bool:
    """Give a file its name and take the old one away; False if the new one is taken."""
    import ctypes  # 4 ms, and hardly ever needed

    library = ctypes.CDLL(None, use_errno=True)
    name, flag = ("renameatx_np", _RENAME_EXCL) if sys.platform == "darwin" else ("renameat2", _RENAME_NOREPLACE)
    function = getattr(library, name, None)
    if function is None:
        raise NotSupported
    function.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    function.restype = ctypes.c_int
    # The first descriptor does not matter: `source` is absolute.
    arguments = (target.directory, os.fsencode(source), target.directory, os.fsencode(target.name), flag)
    while function(*arguments) != 0:
        code = ctypes.get_errno()
        if code == errno.EEXIST:
            return False
        if code in _NOT_SUPPORTED:
            raise NotSupported
        if code != errno.EINTR:
            raise OSError(code, os.strerror(code), target.name)
    return True


@contextmanager
def _temporary_file(target: Target, data: Buffer) -> Iterator[str]:
    """The path of a new file with this content, flushed; removed afterwards if it is still there."""
    make_directory(target.temporary)
    path = os.path.join(target.temporary, os.urandom(16).hex())
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _FILE_MODE)
    try:
        try:
            _fill(descriptor, data, target.durable)
        finally:
            os.close(descriptor)
        yield path
    finally:
        with suppress(OSError):
            os.unlink(path)


def _fill(descriptor: int, data: Buffer, durable: bool) -> None:
    """Write all of `data` to a file that no one else sees yet."""
    with memoryview(data).cast("B") as rest:
        written = 0
        while written < len(rest):
            written += os.write(descriptor, rest[written:])
    if durable:
        flush(descriptor)
