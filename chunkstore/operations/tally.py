"""What a snapshot has seen so far: counted, reported to people, and kept for its result."""

from __future__ import annotations

import errno
from collections.abc import Sequence

from chunkstore.format.entries import DIRECTORY, SYMLINK
from chunkstore.operations.statistics import Statistics
from chunkstore.progress import Progress
from chunkstore.tree.display import display_path


class Tally:
    """`statistics`, and `problems`: the sources that could not be read, as lines for people."""

    def __init__(self, roots: Sequence[bytes], progress: Progress) -> None:
        self.statistics = Statistics()
        self.problems: list[str] = []
        self._roots = frozenset(roots)
        self._progress = progress

    def problem(self, path: bytes, error: Exception) -> None:
        """A source that can not be read. What has gone since its directory was listed is none."""
        if isinstance(error, OSError) and error.errno == errno.ENOENT and path not in self._roots:
            self.statistics.vanished += 1
            self._progress.warn(f"vanished while the snapshot ran: {display_path(path)}")
            return
        self.error(path, error)

    def error(self, path: bytes, error: Exception) -> None:
        """A source that can not be read, or not all of it."""
        shown = display_path(path)
        self.statistics.errors += 1
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        self.problems.append(f"{shown}: {reason}")
        self._progress.warn(f"can not read {shown}: {reason}")

    def torn(self, path: bytes) -> None:
        """A file that did not hold still."""
        self.statistics.changed_while_read += 1
        self._progress.warn(f"changed while it was read, stored as it was found: {display_path(path)}")

    def unreadable_attributes(self, count: int) -> None:
        """Extended attributes that only somebody else may read; said once."""
        if count:
            self._progress.warn(f"extended attributes that could not be read: {count}")

    def file(self, size: int, which: str) -> None:
        """A regular file of `size` bytes; `which` is the name of what it counts as besides."""
        counted = self.statistics
        counted.files += 1
        counted.bytes += size
        setattr(counted, which, getattr(counted, which) + 1)

    def new(self, files: int, size: int) -> None:
        """So many files of `size` bytes in all that the last manifest did not have, and that were read."""
        counted = self.statistics
        counted.files += files
        counted.files_new += files
        counted.bytes += size
        counted.bytes_read += size

    def unchanged(self, files: int, size: int, directories: int, links: int) -> None:
        """So many files of `size` bytes in all, directories and links that are as they were."""
        counted = self.statistics
        counted.files += files
        counted.bytes += size
        counted.files_unchanged += files
        counted.directories += directories
        counted.links += links

    def other(self, kind: int) -> None:
        """A directory, a link, or something special."""
        counted = self.statistics
        if kind == SYMLINK:
            counted.links += 1
        elif kind == DIRECTORY:
            counted.directories += 1
        else:
            counted.specials += 1
