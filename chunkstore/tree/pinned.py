"""Files that are not opened, links and devices for instance, held on to while their attributes are set."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_PINNED = getattr(os, "O_PATH", 0) | os.O_NOFOLLOW | os.O_CLOEXEC
CAN_PIN = hasattr(os, "O_PATH") and os.path.isdir("/proc/self/fd")


@contextmanager
def pinned(name: bytes, directory: int) -> Iterator[tuple[bytes, os.stat_result]]:
    """A path that leads to what `name` in the open directory is now, a link itself, and its `lstat`.

    Whatever takes its place meanwhile, the path leads to the same. Calls must follow it; `chmod` of a link is refused
    by the system. Raises `OSError`, ENOSYS where a system has no such thing.
    """
    if not CAN_PIN:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    fd = os.open(name, _PINNED, dir_fd=directory)
    try:
        yield b"/proc/self/fd/%d" % fd, os.fstat(fd)
    finally:
        os.close(fd)


def unlock_directory(name: bytes, directory: int) -> None:
    """Give ourselves all rights in a directory of ours that took them from us, as far as the system lets us."""
    with suppress(OSError):
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        if not stat.S_ISDIR(status.st_mode) or status.st_mode & 0o700 == 0o700 or status.st_uid != os.geteuid():
            return
        with pinned(name, directory) as (path, now):
            if stat.S_ISDIR(now.st_mode):
                os.chmod(path, stat.S_IMODE(now.st_mode) | 0o700)
