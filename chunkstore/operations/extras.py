"""What is on disk and not in a snapshot, found while the snapshot's entries pass by, in constant memory."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from chunkstore.format.entries import DIRECTORY, Components, Entry, components, join
from chunkstore.tree.listing import sorted_names
from chunkstore.tree.spill import Queue

_IN_MEMORY = 10_000
"""Sub-directories of one directory that wait in memory until their turn comes; more wait in a file."""
NOT_STORED = "not in the snapshot"
_NO_DIRECTORY = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EMLINK})


@dataclass(slots=True)
class _Level:
    """The sub-directories of one directory that are still to come, in order."""

    parent: bytes
    queue: Queue
    head: bytes | None = None


class Extras:
    """Compares the names in directories with entries that come in manifest order.

    Only into directories that are entries themselves it looks: not into what is above a root or a chosen file.
    Directories come depth first, so those that are passed over have no entry in them at all.
    `report(path, how)` is told what is `NOT_STORED`, and of directories that can not be listed. What is too much for
    memory waits in files in `scratch`.
    """

    def __init__(self, report: Callable[[bytes, str], None], scratch: str | None = None) -> None:
        self._report = report
        self._scratch = scratch
        self._levels: list[_Level] = []
        self._parent: bytes | None = None
        self._directory = b""
        self._names: Iterator[bytes] = iter(())
        self._next: bytes | None = None

    def follow(self, path: bytes, entry: Entry) -> None:
        """The next entry, and where it is on disk."""
        if entry.ancestor:
            return
        parent, _, name = path.rpartition(b"/")
        parent = parent or (b"/" if name else b"")  # `/` is the empty name in no directory
        if parent != self._parent:
            self._leave(components(parent) if parent else None)
            self._parent = parent
            self._levels.append(_Level(parent, Queue(_IN_MEMORY, self._scratch)))
        self._report_before(name)
        if self._next == name:
            self._advance()
        if entry.kind == DIRECTORY:
            self._levels[-1].queue.extend([name])

    def end(self) -> None:
        """There are no more entries."""
        self._leave(None)

    def close(self) -> None:
        while self._levels:
            self._levels.pop().queue.close()

    def _leave(self, following: Components | None) -> None:
        """The entries of a directory are complete; `following` is the next one that has any, None if none has."""
        self._report_before(None)
        while (directory := self._next_directory(following)) is not None:
            self._directory = directory
            self._names = sorted_names(directory, scratch=self._scratch)
            self._advance()
            if components(directory) == following:
                return
            self._report_before(None)

    def _next_directory(self, following: Components | None) -> bytes | None:
        """The next directory that is not after `following`."""
        while self._levels:
            level = self._levels[-1]
            if level.head is None:
                level.head = next(level.queue, None)
            if level.head is None:
                self._levels.pop().queue.close()
                continue
            directory = join(level.parent, level.head) or b"/"
            if following is not None and components(directory) > following:
                return None
            level.head = None
            return directory
        return None

    def _report_before(self, name: bytes | None) -> None:
        """What is on disk before `name`, or to the end."""
        while self._next is not None and (name is None or self._next < name):
            self._report(join(self._directory, self._next), NOT_STORED)
            self._advance()

    def _advance(self) -> None:
        try:
            self._next = next(self._names, None)
        except OSError as e:
            self._next = None
            if e.errno not in _NO_DIRECTORY:  # those differ as entries already
                self._report(self._directory, f"can not be listed: {e.strerror or e}")
