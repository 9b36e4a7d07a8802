"""The directories of a target, reached without ever leaving it."""

from __future__ import annotations

import errno
import os
from collections import OrderedDict

from chunkstore.errors import TargetError
from chunkstore.tree.display import display_path
from chunkstore.tree.problems import target_error

_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
NO_DIRECTORY = frozenset({errno.ENOTDIR, errno.ELOOP, errno.EMLINK})
"""What systems say when O_DIRECTORY and O_NOFOLLOW meet a file or a link."""
_NO_NAMES = (b"", b".", b"..")


def open_child(name: bytes, parent: int) -> int:
    """Open the directory `name` in `parent`; a link to one raises `OSError`."""
    return os.open(name, _OPEN, dir_fd=parent)


class Directories:
    """Open directories below the open directory `root`, at most `limit` of them, the least recently used closed.

    Every name on the way is opened inside the directory before it and never through a link, so whatever the paths
    are, and whoever plants links meanwhile, what is reached lies in a directory that is or was below the root. `root`
    is the caller's to close; `shown` is its path, for messages.
    """

    def __init__(self, root: int, shown: bytes, limit: int = 64) -> None:
        self._root = root
        self._shown = shown
        self._limit = max(limit, 1)
        self._open: OrderedDict[bytes, int] = OrderedDict()
        self._last = b""
        self._last_fd = root

    def place(self, relative: bytes) -> tuple[int, bytes]:
        """The directory that `relative` is in, valid until the next call, and its name in it.

        Raises `TargetError` for a path that is not plain and relative, and where its parent is not a directory.
        """
        parent, slash, name = relative.rpartition(b"/")
        if name in _NO_NAMES or b"\0" in name or (slash and not parent):
            raise TargetError(f"{display_path(relative)}: not a path inside the target")
        return (self._last_fd if parent == self._last else self.open(parent)), name

    def open(self, relative: bytes) -> int:
        """The directory at `relative` (empty: the root), valid until the next call. Raises as `place` does."""
        self._last, self._last_fd = b"", self._root  # should the search fail, what it closed must not be used again
        fd = self._find(relative) if relative else self._root
        self._last = relative
        self._last_fd = fd
        return fd

    def open_existing(self, relative: bytes) -> int | None:
        """What `relative` names, opened for the caller to close, if it is a directory and no link to one."""
        directory, name = self.place(relative)
        try:
            return open_child(name, directory)
        except OSError as e:
            if e.errno in NO_DIRECTORY:
                return None
            raise

    def forget(self, relative: bytes) -> None:
        """Close what is open at `relative` and below: it may become something else."""
        self._last, self._last_fd = b"", self._root
        for path in [path for path in self._open if path == relative or path.startswith(relative + b"/")]:
            os.close(self._open.pop(path))

    def shown(self, relative: bytes) -> bytes:
        """The path outside of which `relative` stands for, for messages."""
        return os.path.join(self._shown, relative) if relative else self._shown

    def close(self) -> None:
        for fd in self._open.values():
            os.close(fd)
        self._open.clear()
        self._last, self._last_fd = b"", self._root

    def _find(self, relative: bytes) -> int:
        """The open directory; what is missing on the way to it is opened."""
        fd = self._open.get(relative)
        if fd is not None:
            self._open.move_to_end(relative)
            return fd
        names = relative.split(b"/")
        if any(name in _NO_NAMES or b"\0" in name for name in names):
            raise TargetError(f"{display_path(relative)}: not a path inside the target")
        fd, path, missing = self._nearest(relative)
        for name in missing:
            path = path + b"/" + name if path else name
            try:
                fd = open_child(name, fd)
            except OSError as e:
                raise target_error(self.shown(path), e) from e
            self._keep(path, fd)
        return fd

    def _nearest(self, relative: bytes) -> tuple[int, bytes, list[bytes]]:
        """The longest part of `relative` that is open, and the names from there."""
        missing: list[bytes] = []
        path = relative
        while path:
            if path in self._open:
                self._open.move_to_end(path)
                return self._open[path], path, missing[::-1]
            path, _, name = path.rpartition(b"/")
            missing.append(name)
        return self._root, b"", missing[::-1]

    def _keep(self, path: bytes, fd: int) -> None:
        """What is pushed out is never `fd`, so a walk down can use it as the next parent."""
        self._open[path] = fd
        if len(self._open) > self._limit:
            _, oldest = self._open.popitem(last=False)
            os.close(oldest)
