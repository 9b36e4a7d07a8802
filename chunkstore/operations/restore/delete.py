"""What a restore removes: what is in the directories that it restores and not in the snapshot."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator

from chunkstore.errors import TargetError
from chunkstore.format.entries import DIRECTORY, join
from chunkstore.operations.extras import NOT_STORED, Extras
from chunkstore.operations.restore.compare import Present
from chunkstore.operations.restore.values import RestoreOptions
from chunkstore.operations.selection import Inside, Placed, Taking
from chunkstore.tree.display import display_path
from chunkstore.tree.listing import sorted_names
from chunkstore.tree.problems import target_error
from chunkstore.tree.removal import is_same_mount
from chunkstore.tree.spill import Runs
from chunkstore.tree.target import Target

_BATCH = 1000


class Deletion:
    """Finds what is to go while entries pass by, and removes it when everything else is done.

    `place` is the target's absolute path, `base` the original one of what lands in it (None: `/`). What the rules of
    the restore do not take stays, and so does a directory with such a thing in it.
    """

    def __init__(self, place: bytes, base: bytes | None, options: RestoreOptions) -> None:
        self._place = place
        self._base = base or b"/"
        self._rules = bool(options.rules)
        self._spared = options.spared
        self._taking = Taking(options.rules, base)
        self._scratch = options.scratch
        self._extras = Extras(self._report, options.scratch)
        self._found = Runs(options.scratch)
        self._batch: list[bytes] = []
        self._unlisted: list[str] = []

    def following(self, entries: Iterator[Placed]) -> Iterator[Placed]:
        """`entries`, all of them, each looked at on its way."""
        for placed in entries:
            parent, entry = placed.found.parent, placed.found.entry
            if entry.kind == DIRECTORY:
                inside = self._taking.directory(parent, entry.name)
            else:
                inside = self._taking.inside(parent)
            if inside is not Inside.NOTHING:
                self._extras.follow(self._on_disk(placed.relative), entry)
            yield placed
        self._extras.end()

    def carry_out(self, target: Target, removed: Callable[[bytes], None]) -> Iterator[str]:
        """Remove it; `removed` is told each path. What could not be removed comes as messages for people."""
        yield from self._unlisted
        for top in self._all():
            stack = [iter((top,))]
            while stack:
                try:
                    if (each := next(stack[-1], None)) is None:
                        stack.pop()
                    elif not self._takes(target, each):
                        continue
                    elif not self._spares(target, each):
                        target.remove(each, removed)
                    elif not target.is_mount(each):
                        stack.append(self._names(each))
                except TargetError as e:
                    yield str(e)

    def planned(self, present: Present, problem: Callable[[str], None]) -> Iterator[bytes]:
        """What would be removed, what is in a directory after it; `problem` hears what can not be looked at."""
        for message in self._unlisted:
            problem(message)
        for top in self._all():
            stack = [iter((top,))]
            while stack:
                try:
                    if (each := next(stack[-1], None)) is None:
                        stack.pop()
                        continue
                    if not self._takes(present, each):
                        continue
                    goes, inside = not self._spares(present, each), _is_directory(present, each)
                except TargetError as e:
                    problem(str(e))
                    continue
                if goes:
                    yield each
                if inside:
                    stack.append(self._names(each))

    def close(self) -> None:
        """Forget everything."""
        self._extras.close()
        self._found.close()

    def _report(self, path: bytes, how: str) -> None:
        if how != NOT_STORED:
            self._unlisted.append(f"{display_path(path)}: {how}")
            return
        self._batch.append(path[len(self._place) :].lstrip(b"/"))
        if len(self._batch) == _BATCH:
            self._found.add(self._batch)
            self._batch = []

    def _all(self) -> Iterator[bytes]:
        """The topmost paths that the snapshot does not have, on the target's own file system."""
        self._found.add(self._batch)
        self._batch = []
        parent, here = None, True
        for each in self._found.in_order():
            above = each.rpartition(b"/")[0]
            if above != parent:
                parent, here = above, self._is_here(above)
            if here:
                yield each

    def _is_here(self, relative: bytes) -> bool:
        """Whether a directory is of the target's own file system: what is mounted in it is nobody's to empty.

        The snapshot may well have the directory: an empty one, when it was made with --one-file-system.
        """
        try:
            return is_same_mount(self._on_disk(relative), self._place)
        except OSError:
            return True  # who removes what is in it will say why that can not be

    def _names(self, relative: bytes) -> Iterator[bytes]:
        """What is in a directory, read before the first name comes."""
        try:
            for name in sorted_names(self._on_disk(relative), scratch=self._scratch):
                yield relative + b"/" + name
        except OSError as e:
            raise target_error(self._on_disk(relative), e) from e

    def _spares(self, present: Present, relative: bytes) -> bool:
        """Whether something in what is to go stays, if it is a directory, because the rules do not take it."""
        if any(each.startswith(relative + b"/") for each in self._spared):
            return True
        if not self._rules or not _is_directory(present, relative):
            return False
        stack = [self._names(relative)]
        while stack:
            if (each := next(stack[-1], None)) is None:
                stack.pop()
            elif not self._takes(present, each):
                return True
            elif _is_directory(present, each):
                stack.append(self._names(each))
        return False

    def _takes(self, present: Present, relative: bytes) -> bool:
        """Whether the restore would have made this, or this directory with all that is in it, had it been stored."""
        if relative in self._spared:
            return False
        if not self._rules:
            return True
        parent, _, name = join(self._base, relative).rpartition(b"/")
        if _is_directory(present, relative):
            return self._taking.directory(parent or b"/", name) is Inside.ALL
        return self._taking.takes(parent or b"/", name)

    def _on_disk(self, relative: bytes) -> bytes:
        return join(self._place, relative) if relative else self._place


def _is_directory(present: Present, relative: bytes) -> bool:
    there = present.status(relative)
    return there is not None and stat.S_ISDIR(there.st_mode)
