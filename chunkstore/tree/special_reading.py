"""Devices and pipes read as if they were files."""

from __future__ import annotations

import os
import select
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_OPEN = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_WAIT = 200
"""Milliseconds between two looks at who wants the run to stop."""


def wait_readable(descriptor: int, check: Callable[[], None]) -> None:
    """Wait until there is something to read, or an end; `check` is called now and then, and ends it by raising."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    while not poll.poll(_WAIT):
        check()


class SpecialFile:
    """An open block device or pipe. `status` is its `fstat`."""

    def __init__(self, descriptor: int, status: os.stat_result, check: Callable[[], None]) -> None:
        self.status = status
        self._descriptor = descriptor
        self._waits = stat.S_ISFIFO(status.st_mode)
        self._check = check

    @classmethod
    @contextmanager
    def open(cls, path: bytes, check: Callable[[], None]) -> Iterator[SpecialFile | None]:
        """Open what is at, or what a link at `path` leads to; None if it is neither a block device nor a pipe."""
        kind = os.stat(path).st_mode
        if not (stat.S_ISBLK(kind) or stat.S_ISFIFO(kind)):
            yield None
            return
        descriptor = os.open(path, _OPEN)
        try:
            yield cls(descriptor, os.fstat(descriptor), check)
        finally:
            os.close(descriptor)

    def readinto(self, view: memoryview) -> int:
        """The next bytes, 0 at the end: of a pipe, when all who wrote have closed it. Waits for the first of them."""
        while self._waits:
            wait_readable(self._descriptor, self._check)
            try:
                return os.readv(self._descriptor, [view])
            except BlockingIOError:  # somebody else read it
                continue
        return os.readv(self._descriptor, [view])
