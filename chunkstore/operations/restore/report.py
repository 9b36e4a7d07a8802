"""What a restore did so far: counted, told, and shown as progress."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from chunkstore.format.entries import FILE, SYMLINK
from chunkstore.operations.restore.check import Marks
from chunkstore.operations.restore.values import Action, Restored, Step
from chunkstore.operations.selection import Placed
from chunkstore.progress import Progress


class Report:
    """Hears what became of each entry; `marks` remembers by their numbers which were written, `told` hears of each path."""

    def __init__(
        self, done: Restored, marks: Marks | None, progress: Progress, told: Callable[[Step], None] | None
    ) -> None:
        self._done = done
        self._marks = marks
        self._progress = progress
        self._told = told

    def progress(self, size: int) -> None:
        """So many bytes of a file have been written."""
        self._progress.advance(0, size)

    def file(self, placed: Placed, number: int, in_place: bool, written: int, fetched: int) -> None:
        """A file is whole; `written` is the part of it that was."""
        self._done.updated += in_place
        self._done.files += not in_place
        self._done.bytes += written
        self._progress.advance(1, placed.found.entry.content_size - written)
        self._is_made(Action.UPDATE if in_place else Action.CREATE, placed, number, fetched)

    def incomplete(self, written: int) -> None:
        """So much of a file that was there has been changed, and the rest can not be."""
        self._done.bytes += written

    def directory(self, placed: Placed, number: int, new: bool) -> None:
        """A directory is there."""
        self._done.directories += 1
        if self._marks is not None:
            self._marks.set(number)
        if new:
            self._tell(Action.CREATE, placed.relative)

    def special(self, placed: Placed, number: int) -> None:
        """A symbolic link, a pipe or a device is made."""
        is_link = placed.found.entry.kind == SYMLINK
        self._done.links += is_link
        self._done.specials += not is_link
        self._is_made(Action.CREATE, placed, number)

    def hard_link(self, placed: Placed, number: int) -> None:
        """A further name is made."""
        self._done.hard_links += 1
        self._count(placed)
        self._is_made(Action.CREATE, placed, number)

    def unchanged(self, placed: Placed, same: bool) -> None:
        """It is there; `same` if its attributes are, too, and none had to be set."""
        self._done.unchanged += 1
        self._count(placed)
        self._tell(Action.UNCHANGED if same else Action.ATTRIBUTES, placed.relative)

    def kept(self, placed: Placed) -> None:
        """Something else is there and stays."""
        self._done.kept += 1
        self._count(placed)
        self._tell(Action.KEEP, placed.relative)

    def skipped(self, placed: Placed) -> None:
        """It is not made: a socket, or a device that we may not make."""
        self._done.skipped += 1
        self._tell(Action.SKIP, placed.relative)

    def deleted(self, relative: bytes) -> None:
        """It was not in the snapshot and is gone."""
        self._done.deleted += 1
        self._tell(Action.DELETE, relative)

    def verified(self) -> None:
        """A file was read again and is what it should be."""
        self._done.verified += 1

    def problem(self, message: str) -> None:
        """Something could not be restored."""
        self._done.problems.append(message)
        self._progress.warn(message)

    def problems(self, messages: Iterable[str]) -> None:
        """As `problem`, for each as it comes."""
        for message in messages:
            self.problem(message)

    def _is_made(self, action: Action, placed: Placed, number: int, fetched: int = 0) -> None:
        if self._marks is not None:
            self._marks.set(number)
        if self._told is not None:
            self._told(Step(action, placed.relative, fetched))

    def _tell(self, action: Action, relative: bytes) -> None:
        if self._told is not None:
            self._told(Step(action, relative))

    def _count(self, placed: Placed) -> None:
        entry = placed.found.entry
        if entry.kind == FILE:
            self._progress.advance(1, entry.content_size)
