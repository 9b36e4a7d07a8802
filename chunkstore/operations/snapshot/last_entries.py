"""What the walked files were: the entries of the last manifest, found by one pass beside the walk, in constant memory."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterator

from chunkstore.format.entries import FILE, SYMLINK, Components, Entry, Row, components, read_own_segment, sort_key
from chunkstore.format.owners import Owners
from chunkstore.format.tree_nodes import encode_run
from chunkstore.keys.derivation import ChunkKind, IndexKey
from chunkstore.repository.manifest_cache import CachedSegment, ManifestCache
from chunkstore.tree.reading import kind_of

RACY_NS = 2 * 10**9
"""A time stamp is trusted when it is this much older than the start of the last snapshot: file systems keep times
to 2 s (FAT), 1 s (ext3) or a tick of the kernel's clock (10 ms), rounded down."""
_SIZED = frozenset({FILE, SYMLINK})


_PathKey = tuple[Components, bytes]


def _path_key(row: tuple[bytes, Row, int]) -> _PathKey:
    """Sorts rows as manifests are sorted."""
    return sort_key(row[0], row[1][0])


class Match:
    """A walked file's entry in the last manifest."""

    __slots__ = ("first_id", "position", "row")

    def __init__(self, row: Row, first_id: int, position: int) -> None:
        self.row = row
        self.first_id = first_id
        self.position = position

    @property
    def entry(self) -> Entry:
        return Entry._make(self.row)


class LastEntries:
    """Follows the walk, and finds what its files were."""

    def __init__(self, cache: ManifestCache | None, key: IndexKey) -> None:
        self._cache = cache
        self._segments: Iterator[CachedSegment] = cache.segments() if cache else iter(())
        self._trusted_before = 0
        self._key = key
        self._segment: CachedSegment | None = None
        self._ahead = next(self._segments, None)
        self._rows: list[tuple[bytes, Row, int]] = []
        self._ends: list[int] = []
        """Where the rows end in the bytes of the segment."""
        self._at = 0
        self._parts: tuple[bytes, Components] = (b"", ())
        self._seen: _PathKey | None = None
        self.files_gone = 0

    # -- finding

    def find(self, parent: bytes, name: bytes) -> Match | None:
        """The last entry of this path. Paths must come in manifest order; what is skipped over is gone."""
        while True:
            if self._at == len(self._rows) and (self.is_over or not self._load()):
                return None
            before, row, first_id = self._rows[self._at]
            if before == parent:
                if row[0] == name:
                    self._at += 1
                    return Match(row, first_id, self._at - 1)
                if row[0] > name:
                    return None
            elif components(before) > self._components(parent):
                return None
            self._at += 1
            self.files_gone += row[1] == FILE

    @property
    def is_over(self) -> bool:
        """Whether there is nothing left to be found."""
        return self._ahead is None and self._at == len(self._rows)

    def finish(self) -> None:
        """Everything that is left is gone."""
        while self._at < len(self._rows) or self._load():
            self.files_gone += sum(row[1] == FILE for _, row, _ in self._rows[self._at :])
            self._at = len(self._rows)
        self.interrupt()

    def unchanged(self, row: Row, status: os.stat_result) -> bool:
        """Whether the file is as it was, its attributes included: what changes those changes the ctime."""
        if row[6] != status.st_ctime_ns or row[5] != status.st_mtime_ns or row[7] != status.st_ino:
            return False
        kind, mode = row[1], status.st_mode
        if kind != kind_of(mode) or row[2] != mode & 0o7777 or row[3] != status.st_uid or row[4] != status.st_gid:
            return False
        trusted = self._trusted_before
        if status.st_mtime_ns >= trusted or status.st_ctime_ns >= trusted:
            return False
        if kind not in _SIZED:
            return True
        return row[8] == status.st_size and not (row[10] and row[10].get("changed"))

    def _components(self, path: bytes) -> Components:
        if self._parts[0] != path:
            self._parts = path, components(path)
        return self._parts[1]

    def _load(self) -> bool:
        """The next segment that has more than the segments before it; those of a second part of the cache begin anew."""
        while self._load_segment():
            if self._at < len(self._rows):
                return True
        return False

    def _load_segment(self) -> bool:
        """The next segment; one that is not what its id says ends the cache: files are read again."""
        self.interrupt()
        self._segment = segment = self._ahead
        self._rows, self._ends, self._at = [], [], 0
        if segment is None or not self._authentic(segment):
            self._segment = self._ahead = None
            return False
        self._ahead = next(self._segments, None)
        self._trusted_before = segment.started - RACY_NS
        owners, self._rows, self._ends = read_own_segment(segment.data, segment.first_id)
        self._compare(owners)
        self._pass_over()
        return True

    def _pass_over(self) -> None:
        """Leave out the rows of paths that were here before."""
        if not self._rows:
            return
        seen, rows, end = self._seen, self._rows, _path_key(self._rows[-1])
        if seen is not None and _path_key(rows[0]) <= seen:
            self._at = bisect_right(rows, seen, key=_path_key)
            end = max(seen, end)
        self._seen = end

    def _authentic(self, segment: CachedSegment) -> bool:
        key, cache = self._key, self._cache
        if cache is None or key.chunk_id(ChunkKind.MANIFEST, segment.data) != segment.ref.segment_id:
            return False
        at = segment.first_id
        for run in segment.ref.runs:
            if key.chunk_id(ChunkKind.REFERENCE, encode_run([cache.ids(at, run.count)])) != run.run_id:
                return False
            at += run.count
        return True

    def interrupt(self) -> None:
        """The run of unchanged entries ends here."""

    def _compare(self, owners: Owners) -> None:
        """A segment begins whose owners had these names."""
