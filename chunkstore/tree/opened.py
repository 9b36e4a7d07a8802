"""A path of open directories, as deep as it gets, with a bounded number of them really open."""

from __future__ import annotations

import os

from chunkstore.tree.reading import open_directory

_KEEP = 32
"""Directories kept open at the end of the path: with this many few trees ever have one opened twice."""


class OpenPath:
    """Directories, each opened inside the one before it and never through a link.

    So a link that somebody puts in place of a directory leads a walk nowhere, no path is too long for the system, and
    the system resolves one name per call instead of a whole path. What is closed for the bound is opened again, name
    by name, when the path gets back to it.
    """

    def __init__(self) -> None:
        self._names: list[bytes] = []
        self._fds: list[int] = []

    def enter(self, name: bytes) -> int:
        """Open the directory `name` in the last one (the first: an absolute path), and make it the last."""
        fd = open_directory(name, self._last() if self._fds else None)
        self._names.append(name)
        self._fds.append(fd)
        self._close_at(len(self._fds) - 1 - _KEEP)
        return fd

    def leave(self) -> None:
        """Close the last directory."""
        self._names.pop()
        fd = self._fds.pop()
        if fd >= 0:
            os.close(fd)

    def close(self) -> None:
        while self._fds:
            self.leave()

    def _last(self) -> int:
        fd = self._fds[-1]
        return fd if fd >= 0 else self._reopen()

    def _reopen(self) -> int:
        """Open the last directory again, from the first one on, and those before it that are worth keeping."""
        last = len(self._fds) - 1
        parent = self._fds[0]
        for index in range(1, last + 1):
            self._fds[index] = parent = open_directory(self._names[index], parent)
            self._close_at(index - _KEEP)
        return parent

    def _close_at(self, index: int) -> None:
        """The first one stays open: without it there would be no way back that avoids links."""
        if index > 0 and self._fds[index] >= 0:
            os.close(self._fds[index])
            self._fds[index] = -1
