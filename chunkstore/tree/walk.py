"""The walk: every file below some roots, in the order of a manifest, in constant memory.

Manifest order, (components of the parent, name), is a depth-first walk in which a directory's children come all
together, before those of the first sub-directory. So only names are sorted, one directory at a time.
"""

from __future__ import annotations

import enum
import errno
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from operator import attrgetter
from typing import NamedTuple, Protocol, TypeAlias

from chunkstore.errors import InvalidArgument
from chunkstore.format.entries import MAX_PATH, components, join
from chunkstore.tree.opened import OpenPath
from chunkstore.tree.roots import leads_to, normalise_roots
from chunkstore.tree.spill import Queue, Runs

OnError = Callable[[bytes, OSError], None]

_BATCH = 4096
"""Children in one batch: a `stat_result` takes 650 bytes, so a batch takes 3 MiB."""

# How os.scandir made the names of an open directory; encoding them back is exact.
_ENCODING = sys.getfilesystemencoding()
_ERRORS = sys.getfilesystemencodeerrors()


Child: TypeAlias = tuple[bytes, os.stat_result]


class WalkedDirectory(NamedTuple):
    """Some children of one directory, ascending by name, each with its `lstat`."""

    parent: bytes
    children: list[Child]


class Here(NamedTuple):
    """What is chosen of one directory: of all children, or of the names in `only`, those that `takes` is true for."""

    only: frozenset[bytes] | None = None
    takes: Callable[[bytes, os.stat_result], bool] | None = None


class Directories(enum.Enum):
    """What becomes of a directory: it is not there for the walk, or recorded without its children, or walked."""

    LEFT_OUT = enum.auto()
    CLOSED = enum.auto()
    ENTERED = enum.auto()


class Choice(Protocol):
    """Decides for one walk what is part of it. Roots and what is above them are not asked for."""

    def listed(self, depth: int, path: bytes, fd: int, names: Sequence[bytes] | None) -> Here:
        """The directory `path`, open as `fd`, is so many levels below a root (0: the root itself).

        It has these names, ascending; None are more than fit into memory. Comes before anything else about its children.
        """

    def directory(self, path: bytes, status: os.stat_result) -> Directories:
        """Asked for each child that is a directory and was taken."""


class _Everything:
    """The choice of a walk that leaves nothing out."""

    def listed(self, depth: int, path: bytes, fd: int, names: Sequence[bytes] | None) -> Here:
        return Here()

    def directory(self, path: bytes, status: os.stat_result) -> Directories:
        return Directories.ENTERED


EVERYTHING: Choice = _Everything()


def walk(
    roots: Sequence[bytes],
    *,
    on_error: OnError,
    choice: Choice = EVERYTHING,
    spill_after: int = 100_000,
    scratch: str | None = None,
) -> Iterator[WalkedDirectory]:
    """Everything at and below `roots`, and the directories above them, in manifest order.

    `roots` are as `normalise_roots` makes them, in any order. A directory comes in one batch or in several that
    follow each other; one without children in none. Of a directory above a root only what leads to a root is
    reported, with its `stat` should it be a link; everything else is an `lstat`, and no link is ever followed.

    What `choice` does not take is left out, with all below it; it is not asked about roots and what is above them.
    What can not be read goes to `on_error(path, error)`, a root that is missing included, and the walk goes on.

    Not more than `spill_after` names of one directory are held in memory, the others wait in files in `scratch`,
    whose own `OSError` ends the walk.
    """
    if sorted(roots, key=components) != normalise_roots(roots, b"/"):
        raise InvalidArgument("the roots of a walk must be plain, absolute and not one below another")
    if not roots:
        return
    below = _Below(on_error, choice, spill_after, scratch)
    leads = leads_to(roots)
    yield WalkedDirectory(b"/", [(b"", os.stat(b"/"))])
    pending = [b"/"]
    while pending:
        path = pending.pop()
        if path not in leads:
            yield from below.walk(path)
            continue
        directories = []
        leading = _leading(path, leads, on_error)
        while children := list(islice(leading, _BATCH)):
            yield WalkedDirectory(path, children)
            directories += [join(path, name) for name, status in children if _is_directory(status)]
        pending += reversed(directories)


def _leading(path: bytes, leads: dict[bytes, list[bytes]], on_error: OnError) -> Iterator[Child]:
    """The children of `path` that are roots or lead to one; for one that fails, each root behind it is reported."""
    for name in leads[path]:
        child = join(path, name)
        try:
            status = os.stat(child) if child in leads else os.lstat(child)
            if child in leads and not _is_directory(status):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), child)
        except OSError as e:
            for root in _roots_behind(child, leads):
                on_error(root, e)
        else:
            yield name, status


def _roots_behind(path: bytes, leads: dict[bytes, list[bytes]]) -> Iterator[bytes]:
    pending = [path]
    while pending:
        path = pending.pop()
        if path in leads:
            pending += [join(path, name) for name in reversed(leads[path])]
        else:
            yield path


def _is_directory(status: os.stat_result) -> bool:
    return status[0] & 0o170000 == 0o040000


_name_of = attrgetter("name")


class _Below:
    """Walks single roots."""

    def __init__(self, on_error: OnError, choice: Choice, spill_after: int, scratch: str | None) -> None:
        self._on_error = on_error
        self._choice = choice
        self._limit = max(spill_after, 1)
        self._batch = min(_BATCH, self._limit)
        self._scratch = scratch

    def walk(self, root: bytes) -> Iterator[WalkedDirectory]:
        """All that is below the directory `root`. Between two batches a bounded number of directories is open."""
        opened = OpenPath()
        path = b""
        pending = [self._queue([root])]
        try:
            while pending:
                name = next(pending[-1], None)
                if name is None:
                    pending.pop().close()
                    if pending:
                        opened.leave()
                        path = path[: path.rfind(b"/")] or b"/"
                    continue
                child = join(path, name) if len(pending) > 1 else root
                try:
                    fd = self._enter(opened, name, child)
                except OSError as e:
                    self._on_error(child, e)
                    continue
                path = child
                pending.append(self._queue([]))
                yield from self._children(path, fd, len(pending) - 2, pending[-1])
        finally:
            opened.close()
            for queue in pending:
                queue.close()

    def _enter(self, opened: OpenPath, name: bytes, path: bytes) -> int:
        if len(path) > MAX_PATH:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), path)
        return opened.enter(name)

    def _queue(self, names: list[bytes]) -> Queue:
        queue = Queue(self._limit, self._scratch)
        queue.extend(names)
        return queue

    def _children(self, path: bytes, fd: int, depth: int, directories: Queue) -> Iterator[WalkedDirectory]:
        """The children of one open directory; those that are to be entered go to `directories`."""
        try:
            entries = os.scandir(fd)
        except OSError as e:
            self._on_error(path, e)
            return
        with entries:
            names, ended = self._some(path, entries)
            more = [] if ended else self._some(path, entries)[0]
            runs = self._spill(path, entries, names, more) if more else None
        prefix = path if path == b"/" else path + b"/"
        try:
            only, takes = self._choice.listed(depth, path, fd, None if runs else names)
            for batch in self._batches(names, runs, only):
                children, found = self._status(fd, prefix, batch, takes)
                if found:
                    children = self._directories(prefix, children, found, directories)
                if children:
                    yield WalkedDirectory(path, children)
        finally:
            if runs:
                runs.close()

    def _directories(self, prefix: bytes, children: list[Child], found: list[Child], directories: Queue) -> list[Child]:
        """The children but for the directories that are left out; those to be entered are put into the queue. `found`:
        the directories among them.
        """
        decided = [(name, self._choice.directory(prefix + name, status)) for name, status in found]
        directories.extend([name for name, what in decided if what is Directories.ENTERED])
        left_out = {name for name, what in decided if what is Directories.LEFT_OUT}
        return [child for child in children if child[0] not in left_out] if left_out else children

    def _some(self, path: bytes, entries: Iterator[os.DirEntry[str]]) -> tuple[list[bytes], bool]:
        """Sorted names, at most as many as fit, and whether there are no more. One that the system lists twice counts once."""
        found: list[str] = []
        try:
            found.extend(map(_name_of, islice(entries, self._limit)))
        except OSError as e:  # what was read until then is worth having
            self._on_error(path, e)
        return sorted({name.encode(_ENCODING, _ERRORS) for name in found}), len(found) < self._limit

    def _spill(self, path: bytes, entries: Iterator[os.DirEntry[str]], names: list[bytes], more: list[bytes]) -> Runs:
        """All names of a huge directory, of which the first ones have been read; empties `names`."""
        runs = Runs(self._scratch)
        try:
            runs.add(names)
            names.clear()
            while more:
                runs.add(more)
                more = self._some(path, entries)[0]
        except BaseException:
            runs.close()
            raise
        return runs

    def _batches(self, names: list[bytes], runs: Runs | None, only: frozenset[bytes] | None) -> Iterable[list[bytes]]:
        if only is not None:  # few
            return (sorted(only),)
        if not runs and len(names) <= self._batch:
            return (names,)
        every = runs.merged() if runs else iter(names)
        return iter(lambda: list(islice(every, self._batch)), [])

    def _status(
        self, fd: int, prefix: bytes, names: list[bytes], takes: Callable[[bytes, os.stat_result], bool] | None
    ) -> tuple[list[Child], list[Child]]:
        """The hot loop, one system call a file: all children, and the directories among them."""
        stat = os.stat
        children, found = [], []
        for name in names:
            try:
                status = stat(name, dir_fd=fd, follow_symlinks=False)
            except OSError as e:
                self._on_error(prefix + name, e)
                continue
            if takes is None or takes(prefix + name, status):
                child = name, status
                children.append(child)
                if status[0] & 0o170000 == 0o040000:
                    found.append(child)
        return children, found
