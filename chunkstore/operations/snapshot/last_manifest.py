"""The last manifest as the other half of the merge: which walked files are as they were.

Both streams are in manifest order, so one pass and constant memory do. While whole segments of the last manifest come
back unchanged they are taken over as they are, without encoding an entry.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter
from typing import NamedTuple

from chunkstore.format.entries import DIRECTORY, FILE, SYMLINK
from chunkstore.format.owners import Owners
from chunkstore.format.tree_nodes import encode_run
from chunkstore.ids import ID_SIZE, ChunkId
from chunkstore.keys.derivation import ChunkKind, IndexKey
from chunkstore.operations.snapshot.last_entries import LastEntries, Match
from chunkstore.repository.manifest_cache import ManifestCache
from chunkstore.repository.manifest_writer import SEGMENT_MIN, ManifestWriter

_IDS_AT_ONCE = 4096
"""Chunk ids copied in one go."""
_WORTH_COPYING = 4
"""Entries: fewer are encoded anew."""
_seen = attrgetter("st_uid", "st_gid", "st_mtime_ns", "st_ctime_ns", "st_ino")
"""Fields 3 to 7 of an entry."""
_FORMATS = {FILE: stat.S_IFREG, DIRECTORY: stat.S_IFDIR, SYMLINK: stat.S_IFLNK}
"""What `st_mode` says of the kinds that there are many of."""


class Kept(NamedTuple):
    """What a run of files that are as they were has: the position after it, and what is in it; `size` in bytes."""

    end: int
    files: int = 0
    size: int = 0
    directories: int = 0
    links: int = 0


class LastManifest(LastEntries):
    """Takes over what is unchanged: `keep` an entry; `interrupt` must come before anything else is added."""

    def __init__(
        self,
        cache: ManifestCache | None,
        key: IndexKey,
        manifest: ManifestWriter,
        log_ids: Callable[[bytes], None],
        restore: Callable[[ChunkKind, bytes], ChunkId] | None,
    ) -> None:
        """`restore` is None when stored chunks may be taken over blindly (same generation, no plan open); else every
        taken-over chunk of the manifest goes through it, so that it is stored again where it is missing.
        """
        super().__init__(cache, key)
        self._manifest = manifest
        self._log_ids = log_ids
        self._restore = restore
        self._held = 0  # leading entries of the segment that came back unchanged and are not written yet
        self._same_names = True  # as the owners of this segment had when it was written

    def _compare(self, owners: Owners) -> None:
        self._same_names = self._manifest.names_are_those_of(owners)

    def ids(self, match: Match) -> Iterator[bytes]:
        """The chunk ids of an entry, joined, in pieces."""
        return self._read_ids(match.first_id, match.row[9])

    def _read_ids(self, first: int, count: int) -> Iterator[bytes]:
        while count and self._cache:
            part = min(count, _IDS_AT_ONCE)
            yield self._cache.ids(first, part)
            first, count = first + part, count - part

    def keep(self, parent: bytes, match: Match) -> None:
        """Write the entry as it was."""
        if self._holds(match.position, match.position + 1):
            return
        self.interrupt()
        for ids in self.ids(match):
            self._manifest.add_ids(ids)
        self._manifest.add(parent, match.entry)

    def keep_run(self, parent: bytes, children: Sequence[tuple[bytes, os.stat_result]], at: int) -> Kept:
        """`find`, `unchanged` and `keep` in one for the children from `at` on: up to the first that may have changed, or
        about which there is more to see than its `lstat`.
        """
        if self._at == len(self._rows) and (self.is_over or not self._load()):
            return Kept(at)
        start, kept = self._at, self._run_of(parent, children, at)
        if kept.end == at:
            return kept
        self._at = end = start + kept.end - at
        if not self._holds(start, end):
            self.interrupt()
            self._write_rows(start, end, ends=True)
        return kept

    def _run_of(self, parent: bytes, children: Sequence[tuple[bytes, os.stat_result]], at: int) -> Kept:
        """The hot loop of a snapshot of which little has changed: what `unchanged` says of each, written out."""
        trusted, rows = self._trusted_before, self._rows
        files = size = directories = links = 0
        stop = min(len(children), at + len(rows) - self._at)
        ahead = self._at - at
        for end in range(at, stop):
            name, status = children[end]
            before, row, _ = rows[ahead + end]
            kind, length, extra = row[1], row[8], row[10]
            if row[0] != name or before != parent or row[3:8] != list(_seen(status)):
                break
            if row[5] >= trusted or row[6] >= trusted or status.st_mode != _FORMATS.get(kind, 0) | row[2]:
                break
            if kind == FILE and extra is None and length == status.st_size:
                files += 1
                size += length
                continue
            if kind == DIRECTORY:
                if extra:  # of an ancestor, for one
                    break
                directories += 1
                continue
            if length != status.st_size or (extra and (kind != SYMLINK or len(extra) > 1)):
                break
            if kind == FILE:
                files += 1
                size += length
            else:
                links += 1
        else:
            end = stop
        return Kept(end, files, size, directories, links)

    def _holds(self, start: int, end: int) -> bool:
        """Hold back rows that came back unchanged, if the segment may still come back as a whole; write it when it has."""
        if start != self._held:
            return False
        if not start:
            # The last segment ended because the manifest or its part did: what may follow now has to see where its hash
            # ends it.
            ends = self._ahead is not None and self._segment is not None and self._segment.whole
            if not (ends and self._manifest.at_boundary and self._same_names):
                return False
        self._held = end
        if end == len(self._rows):
            self._reuse()
        return True

    def interrupt(self) -> None:
        """Write what is held back one by one: the segment does not come back as a whole."""
        if not self._held:
            return
        held, self._held = self._held, 0
        self._write_rows(0, held, ends=False)

    def _write_rows(self, start: int, end: int, *, ends: bool) -> None:
        """Write entries as they were; all at once, unless their ids are too many to be held in memory."""
        rows = self._rows[start:end]
        first, (_, last, last_id) = rows[0][2], rows[-1]
        count = last_id + last[9] - first
        if count <= _IDS_AT_ONCE:
            self._write_with_ids(start, end, b"".join(self._read_ids(first, count)), ends)
            return
        for each in rows:
            for ids in self._read_ids(each[2], each[1][9]):
                self._manifest.add_ids(ids)
            self._manifest.add_rows([each], b"", ends=ends)

    def _write_with_ids(self, start: int, end: int, ids: bytes, ends: bool) -> None:
        """The same with the ids of all of them: as bytes of the old segment, as far as it is known that it did not end there."""
        rows, first = self._rows, self._rows[start][2]

        def ids_of(low: int, high: int) -> bytes:
            stop = rows[high][2] - first if high < len(rows) else len(ids) // ID_SIZE
            return ids[(rows[low][2] - first) * ID_SIZE : stop * ID_SIZE]

        low, high = self._surely_inside(start, end) if ends else (start, end)
        low += 1  # before the first one a directory may have to be named
        if high - low >= _WORTH_COPYING and self._segment is not None:
            self._manifest.add_rows(rows[start:low], ids_of(start, low), ends=ends)
            copied = self._segment.data[self._ends[low - 1] : self._ends[high - 1]]
            if self._manifest.copy_rows(rows[low:high], ids_of(low, high), copied):
                start = high
            else:
                start = low
        if start < end:
            self._manifest.add_rows(rows[start:end], ids_of(start, end), ends=ends)

    def _surely_inside(self, start: int, end: int) -> tuple[int, int]:
        """Those of these rows after which the new segment does not end, as the old one did not: its hash was looked at
        from the so manieth entry on, and where the new one has not more entries than the old one its is not before.
        """
        more = self._manifest.open_entries > start
        return max(start, SEGMENT_MIN) if more else start, min(end, len(self._rows) - 1)

    def _reuse(self) -> None:
        segment = self._segment
        assert segment is not None
        self._held = 0
        at = segment.first_id
        for run in segment.ref.runs:
            ids = b"".join(self._read_ids(at, run.count))
            if self._restore:
                self._restore(ChunkKind.REFERENCE, encode_run([ids]))
            self._log_ids(ids)
            at += run.count
        if self._restore:
            self._restore(ChunkKind.MANIFEST, segment.data)
        parent, row, _ = self._rows[0]
        self._manifest.reuse_segment((parent, row[0]), segment.ref, segment.data)
