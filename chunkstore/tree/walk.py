"""The walk: every file below some roots, in the order of a manifest, in constant memory.

Manifest order, (components of the parent, name), is a depth-first walk in which a directory's children come all
together, before those of the first sub-directory. So only names are sorted, one directory at a time.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from chunkstore.errors import InvalidArgument
from chunkstore.format.entries import MAX_PATH, components, join
from chunkstore.tree.opened import OpenPath
from chunkstore.tree.spill import Queue, Runs

OnError = Callable[[bytes, OSError], None]
Skip = Callable[[bytes, os.stat_result], bool]

_BATCH = 4096
"""Children in one batch: a `stat_result` takes 650 bytes, so a batch takes 3 MiB."""

# How os.scandir made the names of an open directory; encoding them back is exact.
_ENCODING = sys.getfilesystemencoding()
_ERRORS = sys.getfilesystemencodeerrors()


class WalkedDirectory(NamedTuple):
    """Some children of one directory, ascending by name, each with its `lstat`."""

    parent: bytes
    children: list[tuple[bytes, os.stat_result]]


def never(path: bytes, status: os.stat_result) -> bool:
    """The `skip` that skips nothing."""
    return False


def normalise_roots(paths: Iterable[bytes], cwd: bytes) -> list[bytes]:
    """Absolute, plain paths in manifest order, without duplicates and without paths below another one.

    `.` and `..` are resolved by their letters alone. A symbolic link stays what it is, unless it is written with a
    slash at its end: then the root is the place it leads to. Raises `InvalidArgument` for a path that can not be.
    """
    roots: list[bytes] = []
    for path in sorted({_normalise(path, cwd) for path in paths}, key=components):
        if not roots or not (path + b"/").startswith(roots[-1].rstrip(b"/") + b"/"):
            roots.append(path)
    return roots


def _normalise(path: bytes, cwd: bytes) -> bytes:
    if not path or b"\0" in path or not cwd.startswith(b"/"):
        raise InvalidArgument(f"not a path: {os.fsdecode(path)!r}")
    plain = b"/" + os.path.normpath(os.path.join(cwd, path)).lstrip(b"/")  # POSIX lets normpath keep `//`
    if path.endswith((b"/", b"/.")) and os.path.islink(plain):
        return os.path.realpath(plain)
    return plain


def ancestors(roots: Iterable[bytes]) -> frozenset[bytes]:
    """The directories above the roots, from `/` on; a root is none."""
    return frozenset(_leads(roots))


def _leads(roots: Iterable[bytes]) -> dict[bytes, list[bytes]]:
    """Each directory above the roots -> the names in it that lead to one, ascending."""
    leads: dict[bytes, set[bytes]] = {}
    for root in roots:
        path = b"/"
        for name in components(root):
            leads.setdefault(path, set()).add(name)
            path = join(path, name)
    return {path: sorted(names) for path, names in leads.items()}


def walk(
    roots: Sequence[bytes],
    *,
    on_error: OnError,
    skip: Skip = never,
    spill_after: int = 100_000,
    scratch: str | None = None,
) -> Iterator[WalkedDirectory]:
    """Everything at and below `roots`, and the directories above them, in manifest order.

    `roots` are as `normalise_roots` makes them, in any order. A directory comes in one batch or in several that
    follow each other; one without children in none. Of a directory above a root only what leads to a root is
    reported, with its `stat` should it be a link; everything else is an `lstat`, and no link is ever followed.

    What `skip(path, lstat)` is true for is left out, with all below it; roots and what is above them are not asked.
    What can not be read goes to `on_error(path, error)`, a root that is missing included, and the walk goes on.

    Not more than `spill_after` names of one directory are held in memory, the others wait in files in `scratch`,
    whose own `OSError` ends the walk.
    """
    if sorted(roots, key=components) != normalise_roots(roots, b"/"):
        raise InvalidArgument("the roots of a walk must be plain, absolute and not one below another")
    if not roots:
        return
    below = _Below(on_error, skip, spill_after, scratch)
    leads = _leads(roots)
    yield WalkedDirectory(b"/", [(b"", os.stat(b"/"))])
    pending = [b"/"]
    while pending:
        path = pending.pop()
        if path not in leads:
            yield from below.walk(path)
            continue
        children = list(_leading(path, leads, on_error))
        if children:
            yield WalkedDirectory(path, children)
        pending += [join(path, name) for name, status in reversed(children) if _is_directory(status)]


def _leading(path: bytes, leads: dict[bytes, list[bytes]], on_error: OnError) -> Iterator[tuple[bytes, os.stat_result]]:
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


class _Below:
    """Walks single roots."""

    def __init__(self, on_error: OnError, skip: Skip, spill_after: int, scratch: str | None) -> None:
        self._on_error = on_error
        self._skip = None if skip is never else skip
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
                yield from self._children(path, fd, pending[-1])
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

    def _children(self, path: bytes, fd: int, directories: Queue) -> Iterator[WalkedDirectory]:
        """The children of one open directory; those that are directories themselves go to `directories`."""
        try:
            entries = os.scandir(fd)
        except OSError as e:
            self._on_error(path, e)
            return
        with entries:
            names = self._some(path, entries)
            more = self._some(path, entries)
            runs = self._spill(path, entries, names, more) if more else None
        prefix = path if path == b"/" else path + b"/"
        try:
            for batch in self._batches(names, runs):
                children = self._status(fd, prefix, batch)
                if children:
                    directories.extend([name for name, status in children if status[0] & 0o170000 == 0o040000])
                    yield WalkedDirectory(path, children)
        finally:
            if runs:
                runs.close()

    def _some(self, path: bytes, entries: Iterator[os.DirEntry[str]]) -> list[bytes]:
        """Sorted names, at most as many as fit; none at the end. A name that the system lists twice counts once."""
        names: set[bytes] = set()
        try:
            for entry in islice(entries, self._limit):
                names.add(entry.name.encode(_ENCODING, _ERRORS))
        except OSError as e:  # what was read until then is worth having
            self._on_error(path, e)
        return sorted(names)

    def _spill(self, path: bytes, entries: Iterator[os.DirEntry[str]], names: list[bytes], more: list[bytes]) -> Runs:
        """All names of a huge directory, of which the first ones have been read; empties `names`."""
        runs = Runs(self._scratch)
        try:
            runs.add(names)
            names.clear()
            while more:
                runs.add(more)
                more = self._some(path, entries)
        except BaseException:
            runs.close()
            raise
        return runs

    def _batches(self, names: list[bytes], runs: Runs | None) -> Iterable[list[bytes]]:
        if not runs and len(names) <= self._batch:
            return (names,)
        every = runs.merged() if runs else iter(names)
        return iter(lambda: list(islice(every, self._batch)), [])

    def _status(self, fd: int, prefix: bytes, names: list[bytes]) -> list[tuple[bytes, os.stat_result]]:
        """The hot loop: one system call a file."""
        stat = os.stat
        skip = self._skip
        children = []
        for name in names:
            try:
                status = stat(name, dir_fd=fd, follow_symlinks=False)
            except OSError as e:
                self._on_error(prefix + name, e)
                continue
            if skip is None or not skip(prefix + name, status):
                children.append((name, status))
        return children
