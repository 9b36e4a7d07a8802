"""Directories that wait until what is in them comes, so that each is followed by its contents and nothing else."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass

_IN_MEMORY = 1 << 20
_LENGTH = 8


@dataclass(slots=True)
class _Level:
    """The sub-directories of `parent` that wait, in order: from `next` on in the file, to the next level."""

    parent: bytes
    start: int
    next: int


class PostponedDirectories:
    """Takes directories in the order of a manifest, where all children of a directory come before their contents.

    Relative paths come with the bytes that stand for them. What waits is in an unnamed file in the directory
    `scratch`; an `OSError` of it is raised as it is.
    """

    def __init__(self, scratch: str | None) -> None:
        self._file = tempfile.SpooledTemporaryFile(_IN_MEMORY, dir=scratch)  # noqa: SIM115  closed in close
        self._end = 0
        self._levels = [_Level(b"", 0, 0)]

    def add(self, relative: bytes, data: bytes) -> None:
        """Have a directory wait, whose parent was entered last."""
        self._file.seek(self._end)
        for part in (relative, data):
            self._file.write(len(part).to_bytes(_LENGTH, "big") + part)
            self._end += _LENGTH + len(part)

    def enter(self, parent: bytes) -> Iterator[bytes]:
        """What comes before the next child of the directory `parent`: it, and what was to come before it."""
        while (level := self._levels[-1]).parent != parent:
            if not _holds(level.parent, parent):
                yield from self._leave()
                continue
            inside = parent  # unless a directory on the way there waits
            while level.next < self._end:
                relative, data = self._take(level)
                yield data
                if relative == parent or _holds(relative, parent):
                    inside = relative
                    break
            self._levels.append(_Level(inside, self._end, self._end))

    def rest(self) -> Iterator[bytes]:
        """What still waits."""
        while self._levels:
            yield from self._leave()

    def close(self) -> None:
        """Forget everything."""
        self._file.close()

    def _leave(self) -> Iterator[bytes]:
        level = self._levels[-1]
        while level.next < self._end:
            yield self._take(level)[1]
        self._levels.pop()
        self._file.seek(level.start)
        self._file.truncate()
        self._end = level.start

    def _take(self, level: _Level) -> tuple[bytes, bytes]:
        self._file.seek(level.next)
        relative, data = (self._file.read(int.from_bytes(self._file.read(_LENGTH), "big")) for _ in range(2))
        level.next = self._file.tell()
        return relative, data


def _holds(directory: bytes, path: bytes) -> bool:
    return not directory or path.startswith(directory + b"/")
