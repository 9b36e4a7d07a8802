"""What differs between a snapshot and the files on disk, in one pass over both.

Nothing is fetched but the manifest: where size and times do not show that a file is unchanged, it is hashed, in the pieces
that the snapshot's chunks are, and compared by their ids.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from chunkstore.errors import Damaged, PathNotFound, SourceError
from chunkstore.format.entries import DIRECTORY, FILE, SYMLINK, Components, Entry, components, join
from chunkstore.format.extents import Layout
from chunkstore.format.owners import Owners
from chunkstore.keys.derivation import ChunkKind
from chunkstore.operations.comparing import Difference, State, difference_of, same_outline, state_of
from chunkstore.operations.difference import TOP, Naming, Part
from chunkstore.operations.in_order import content_of
from chunkstore.operations.snapshot.last_entries import RACY_NS
from chunkstore.progress import Progress
from chunkstore.repository.chunk_reader import ChunkReader
from chunkstore.repository.manifest_cursor import Cursor, below, entries
from chunkstore.repository.manifest_reader import Key, ManifestEntry, ManifestReader
from chunkstore.tree.choosing import Chooser, Choosing
from chunkstore.tree.compared import FilesOnDisk
from chunkstore.tree.display import display_path
from chunkstore.tree.metadata import Metadata
from chunkstore.tree.owners import Accounts
from chunkstore.tree.patterns import Rules
from chunkstore.tree.reading import entry_of, kind_of, open_directory_at, open_source, read_link
from chunkstore.tree.roots import ancestors
from chunkstore.tree.walk import walk

_GONE = frozenset({errno.ENOENT, errno.ENOTDIR})

Stored = tuple[Key, ManifestEntry]
Live = tuple[Key, "OnDisk"]


@dataclass(frozen=True, slots=True)
class OnDisk:
    """A file that the walk found, and its `lstat`."""

    path: bytes
    status: os.stat_result


@dataclass(frozen=True, slots=True)
class Place:
    """The files that are compared with a part of a snapshot: at and below `path`, for the path of that part.

    Both paths are None where all of a snapshot is compared with `roots`, where they were.
    """

    roots: tuple[bytes, ...]
    path: bytes | None = None
    choosing: Choosing = field(default_factory=Choosing)


class LiveDifference:
    """Compares `before`, taken at `started` (ns), with what is at `place`. `problems` are messages on what can not be."""

    def __init__(self, reader: ChunkReader, before: Part, started: int, place: Place, progress: Progress) -> None:
        self.problems: list[str] = []
        self._reader = reader
        self._before = before
        self._trusted_before = started - RACY_NS
        self._place = place
        self._progress = progress
        self._rules = Rules(place.choosing.rules)
        self._named = Naming(before.path, place.path)
        self._files = FilesOnDisk()
        self._metadata = Metadata(self._problem)
        self._accounts = Accounts()
        self._unread: set[bytes] = set()
        self._leading = _Leading(before.manifest, before.path or place.roots[0])

    def __iter__(self) -> Iterator[Difference]:
        """What differs, in manifest order. `PathNotFound` where there is nothing on either side."""
        seen = False
        with closing(self._files):
            for key, found, live in _merged(self._stored(), self._live()):
                seen = True
                self._progress.advance(1, 0)
                try:
                    difference = self._compare(key, found, live)
                except (OSError, SourceError, Damaged) as e:
                    self._problem(live.path if live else b"", e)
                    continue
                if difference:
                    yield difference
        if not seen:
            raise PathNotFound(f"{display_path(self._before.path or b'/')} is neither in the snapshot nor on disk")

    # -- the two streams

    def _stored(self) -> Iterator[Stored]:
        manifest, path = self._before.manifest, self._before.path
        if path is None:
            yield from entries(Cursor(manifest))
            return
        top = self._before.top()
        if top is not None:
            yield TOP, top
        yield from entries(Cursor(manifest, below(path, path)))

    def _live(self) -> Iterator[Live]:
        base, above = self._place.path, ancestors(self._place.roots)
        drop = len(components(base)) if base else 0
        choice = Chooser(self._place.choosing, self._problem)
        for parent, children in walk(self._place.roots, on_error=self._problem, choice=choice):
            inside = components(parent)[drop:]
            for name, status in children:
                path = join(parent, name)
                if path == base:
                    yield TOP, OnDisk(path, status)
                elif path not in above:
                    yield (inside, name), OnDisk(path, status)

    # -- comparing

    def _compare(self, key: Key, found: ManifestEntry | None, live: OnDisk | None) -> Difference | None:
        if found is not None and found.entry.ancestor:
            return None
        if live is None:
            assert found is not None
            gone = self._is_gone(self._path(key, found), found.entry)
            return difference_of(self._named(key, found.path), state_of(found), None, _never) if gone else None
        name = self._named(key, live.path)
        if found is None:
            if self._leading.hold(self._stored_directory(key)):
                return None
            return difference_of(name, None, State(live.path, entry_of(key[1], live.status, 0, None)), _never)
        self._progress.current(live.path)
        try:
            state = self._state(found, live)
            return difference_of(name, state_of(found), state, lambda: self._is_same(found, state.entry, live))
        except OSError as e:
            if e.errno not in _GONE:
                raise
            return difference_of(name, state_of(found), None, _never)

    def _path(self, key: Key, found: ManifestEntry) -> bytes:
        """Where an entry would be on disk."""
        base = self._place.path
        return found.path if base is None or key == TOP else join(base, b"/".join((*key[0], key[1])))

    def _stored_directory(self, key: Key) -> bytes:
        return join(self._before.path or b"/", b"/".join(key[0]))

    def _is_gone(self, path: bytes, entry: Entry) -> bool:
        """Whether what is missing at `path` is not there: not left out, nor where nothing could be read."""
        if self._rules and not self._rules.takes(path, entry.kind == DIRECTORY):
            return False
        larger_than = self._place.choosing.larger_than
        if larger_than is not None and entry.kind == FILE and entry.size > larger_than:
            return False
        while self._unread and path not in self._unread and path != b"/":
            path = path[: path.rfind(b"/")] or b"/"
        return path not in self._unread

    def _state(self, found: ManifestEntry, live: OnDisk) -> State:
        entry, status = found.entry, live.status
        if kind_of(status.st_mode) != entry.kind:
            return State(live.path, entry_of(entry.name, status, 0, None))
        extra = entry.extra if self._is_unchanged(entry, status) else self._extras(entry, live)
        user, group = self._accounts.user(status.st_uid), self._accounts.group(status.st_gid)
        owners = Owners({status.st_uid: user} if user else {}, {status.st_gid: group} if group else {})
        return State(live.path, entry_of(entry.name, status, 0, extra), owners)

    def _is_unchanged(self, entry: Entry, status: os.stat_result) -> bool:
        trusted = self._trusted_before
        return (
            (entry.mtime_ns, entry.ctime_ns, entry.inode) == (status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
            and (entry.kind != FILE or entry.size == status.st_size)
            and (entry.kind == DIRECTORY or (entry.mtime_ns < trusted and entry.ctime_ns < trusted))
        )

    def _extras(self, entry: Entry, live: OnDisk) -> dict[str, Any] | None:
        if entry.kind == SYMLINK:
            return {"target": read_link(live.path), **(self._metadata.of_path(live.path, live.status) or {})}
        if entry.kind not in (FILE, DIRECTORY):
            return self._metadata.of_path(live.path, live.status)
        try:
            descriptor = open_source(live.path) if entry.kind == FILE else open_directory_at(live.path)
        except PermissionError:  # what can not be asked counts as the same
            return entry.extra
        try:
            if entry.kind == FILE:
                return self._metadata.of_file(descriptor, live.path, live.status)
            return self._metadata.of_path(live.path, live.status)
        finally:
            os.close(descriptor)

    # -- content

    def _is_same(self, found: ManifestEntry, now: Entry, live: OnDisk) -> bool:
        entry = found.entry
        if entry.kind != FILE:
            return same_outline(entry, now)
        if entry.size != now.size:
            return False
        return self._is_unchanged(entry, live.status) or self._has_same_bytes(found, live.path)

    def _has_same_bytes(self, found: ManifestEntry, path: bytes) -> bool:
        layout, position = Layout(found.entry), 0
        chunk_id_of = self._reader.repository.key.chunk_id
        for chunk_id, length in content_of(self._reader, self._before.manifest, found):
            pieces = (self._files.read(path, each.offset, each.length) for each in layout.pieces(position, length))
            data = b"".join(pieces)
            if len(data) != length or chunk_id_of(ChunkKind.CONTENT, data) != chunk_id:
                return False
            position += length
            self._progress.advance(0, length)
        return all(self._files.has_zeros(path, offset, length) for offset, length in layout.holes())

    # -- what can not be read

    def _problem(self, path: bytes, error: Exception) -> None:
        if isinstance(error, OSError) and error.errno in _GONE:
            return
        self._unread.add(path)
        reason = error.strerror or str(error) if isinstance(error, OSError) else str(error)
        self.problems.append(f"{display_path(path)}: {reason}")
        self._progress.warn(self.problems[-1])


class _Leading:
    """Directories of a snapshot that only lead to what was chosen: nothing else in them is missed.

    Above the roots nothing is looked at. Below one there are such directories where a snapshot is of many files, and its
    root is the directory above them all; that root is one itself.
    """

    def __init__(self, manifest: ManifestReader, top: bytes) -> None:
        self._manifest = manifest
        self._top = components(top)
        self._are_there: bool | None = None
        self._last: tuple[bytes, bool] = (b"", False)

    def hold(self, directory: bytes) -> bool:
        """Whether the deepest directory at or above `directory` that the snapshot has is one of them."""
        if self._are_there is None:
            self._are_there = self._leads(self._top)
        if self._are_there and directory != self._last[0]:
            self._last = directory, self._leads(components(directory))
        return self._are_there and self._last[1]

    def _leads(self, parts: Components) -> bool:
        for end in range(len(parts), len(self._top) - 1, -1):
            found = self._manifest.find(b"/" + b"/".join(parts[:end]))
            if found is not None:
                return found.entry.ancestor
        return False


def _merged(
    stored: Iterator[Stored], live: Iterator[Live]
) -> Iterator[tuple[Key, ManifestEntry | None, OnDisk | None]]:
    """Both streams by their keys, both ascending."""
    one, other = next(stored, None), next(live, None)
    while one or other:
        if other is None or (one is not None and one[0] < other[0]):
            assert one is not None
            yield one[0], one[1], None
            one = next(stored, None)
        elif one is None or other[0] < one[0]:
            yield other[0], None, other[1]
            other = next(live, None)
        else:
            yield one[0], one[1], other[1]
            one, other = next(stored, None), next(live, None)


def _never() -> bool:
    return False
