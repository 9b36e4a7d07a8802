"""Files that are not opened, links and devices for instance, held on to while their attributes are set."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

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
