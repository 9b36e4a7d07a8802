"""What becomes of one walked file: kept as it was, or read and added."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from chunkstore.errors import SourceError
from chunkstore.format.entries import (
    BLOCK_DEVICE,
    FIFO,
    FILE,
    SYMLINK,
    Entry,
    Row,
    decode_entry,
    encode_entry,
    join,
)
from chunkstore.operations.snapshot.file_content import Content, FileContent, ReadInto, known
from chunkstore.operations.snapshot.last_entries import Match
from chunkstore.operations.snapshot.last_manifest import LastManifest
from chunkstore.operations.snapshot.new_files import NewFiles
from chunkstore.operations.snapshot.values import SnapshotOptions
from chunkstore.operations.tally import Tally
from chunkstore.progress import Progress
from chunkstore.repository.chunk_writer import ChunkWriter
from chunkstore.repository.manifest_writer import ManifestWriter
from chunkstore.tree.link_groups import LinkGroups
from chunkstore.tree.metadata import Metadata
from chunkstore.tree.reading import entry_of, kind_of, read_link
from chunkstore.tree.special_reading import SpecialFile

_COMPARED_IDS = 32_768
"""A file of more chunks that had to be read again counts as changed: its ids are not held in memory to see. Nor are
they remembered for its other names."""
_READ_SPECIAL = frozenset({BLOCK_DEVICE, FIFO})


class SourceEntries:
    """Takes what a walk finds, in its order, and hands entries to the manifest."""

    def __init__(
        self,
        writer: ChunkWriter,
        manifest: ManifestWriter,
        last: LastManifest,
        content: FileContent,
        metadata: Metadata,
        links: LinkGroups,
        tally: Tally,
        progress: Progress,
        options: SnapshotOptions,
        ancestors: Collection[bytes],
        roots: Collection[bytes],
        look_up: bool,
        check: Callable[[], None],
    ) -> None:
        """`look_up`: whether chunks of unchanged files have to be looked up before they are taken over. `check` is called
        while a pipe is waited for.
        """
        self._writer = writer
        self._manifest = manifest
        self._last = last
        self._content = content
        self._new_files = NewFiles(content, manifest, progress)
        self._metadata = metadata
        self._links = links
        self._tally = tally
        self._progress = progress
        self._force, self._atime, self._special = options.force, options.atime, options.read_special
        self._ancestors = ancestors
        self._roots = roots
        self._look_up = look_up
        self._one_by_one = look_up or options.force or options.atime
        self._check = check

    def add_unchanged(self, parent: bytes, children: Sequence[tuple[bytes, os.stat_result]], at: int) -> int:
        """Take over children of a directory, from `at` on, as far as a look at each shows that it is as it was.

        Returns the position of the first that is not, or about which there is more to see: it is for `add`.
        """
        if self._one_by_one or self._last.is_over:
            return at
        kept = self._last.keep_run(parent, children, at)
        if kept.end > at:
            self._tally.unchanged(kept.files, kept.size, kept.directories, kept.links)
            self._progress.advance(kept.files, kept.size)
        return kept.end

    def add_new(self, parent: bytes, children: Sequence[tuple[bytes, os.stat_result]], at: int) -> int:
        """Store children of a directory, from `at` on, as far as they are small files and the last manifest is at its end.

        Returns the position of the first that is not: it is for `add`.
        """
        if not self._last.is_over:
            return at
        self._last.interrupt()
        stored = self._new_files.store_run(parent, children, at)
        self._tally.new(stored.files, stored.size)
        return stored.end

    def add(self, parent: bytes, name: bytes, status: os.stat_result) -> None:
        """The next file of the walk, with its `lstat`. What can not be read is reported."""
        match = self._last.find(parent, name)
        if match is not None and not self._force and self._last.unchanged(match.row, status):
            row = match.row
            if (row[10] is None or self._same_device(row, status)) and self._still_stored(match):
                if self._atime:
                    self._keep_with_atime(parent, match, status)
                else:
                    self._last.keep(parent, match)
                self._count_kept(row)
                return
        path = join(parent, name)
        try:
            self._read(parent, name, path, status, match)
        except (OSError, SourceError) as e:  # of the source alone: what writes to the cache raises errors of ours
            self._tally.problem(path, e)

    def add_above(self, parent: bytes, entry: Entry) -> None:
        """The entry of a directory that is recorded only because something lies below it."""
        self._last.find(parent, entry.name)
        self._last.interrupt()
        self._manifest.add(parent, entry)

    def add_stream(self, parent: bytes, entry: Entry, readinto: ReadInto) -> None:
        """A file whose content `readinto` gives."""
        match = self._last.find(parent, entry.name)
        self._progress.current(join(parent, entry.name))
        chunks, size, ids = self._content.cut(readinto)
        self._progress.advance(1, 0)
        self._tally.statistics.bytes_read += size
        self._store(parent, entry._replace(size=size, chunks=chunks), ids, match)

    def _read(self, parent: bytes, name: bytes, path: bytes, status: os.stat_result, match: Match | None) -> None:
        kind = kind_of(status.st_mode)
        if kind == FILE:
            self._progress.current(path)
            if status.st_nlink > 1 and self._other_name(parent, name, status, match):
                return
            content = self._content.store(path, status)
            if content.extra and content.extra.get("changed"):
                self._tally.torn(path)
            entry = entry_of(name, content.status, content.chunks, content.extra)
            if entry.size != content.size:
                entry = entry._replace(size=content.size)
            self._file(parent, entry, content, match)
        elif self._special and (kind in _READ_SPECIAL or (kind == SYMLINK and path in self._roots)):
            self._special_file(parent, name, path, status, match)
        else:
            self._other(parent, name, path, status, match)

    # -- unchanged

    def _same_device(self, row: Row, status: os.stat_result) -> bool:
        """A file with other names keeps the number of its device, or names of two files could pass for one's."""
        ordinal = row[10].get("link")
        return ordinal is None or ordinal == self._metadata.link_ordinal(status)

    def _still_stored(self, match: Match) -> bool:
        return not (self._look_up and match.row[9]) or known(self._writer, self._last.ids(match))

    def _keep_with_atime(self, parent: bytes, match: Match, status: os.stat_result) -> None:
        """Access times change without anything else that would tell."""
        entry = match.entry
        if entry.atime_ns == status.st_atime_ns or entry.ancestor:
            self._last.keep(parent, match)
            return
        self._last.interrupt()
        for ids in self._last.ids(match):
            self._manifest.add_ids(ids)
        self._manifest.add(parent, entry._replace(extra={**(entry.extra or {}), "atime": status.st_atime_ns}))

    def _count_kept(self, row: Row) -> None:
        kind, size, extra = row[1], row[8], row[10]
        if kind == FILE:
            self._tally.file(size, "files_unchanged")
            self._progress.advance(1, size)
        elif not (extra and extra.get("ancestor")):
            self._tally.other(kind)

    # -- files

    def _file(self, parent: bytes, entry: Entry, content: Content, match: Match | None) -> None:
        self._progress.advance(1, 0)
        self._tally.statistics.bytes_read += content.read
        ids = content.ids
        if entry.link and not entry.changed and entry.chunks <= _COMPARED_IDS:
            ids = list(ids)
            encoded = encode_entry(entry)
            value = len(encoded).to_bytes(4, "big") + encoded + b"".join(ids)
            self._links.put((content.status.st_dev, entry.inode), value)
        self._store(parent, entry, ids, match)

    def _other_name(self, parent: bytes, name: bytes, status: os.stat_result, match: Match | None) -> bool:
        """A further name of a file that was read under another one, and has not changed since: no second reading."""
        value = self._links.get((status.st_dev, status.st_ino))
        if value is None:
            return False
        end = 4 + int.from_bytes(value[:4], "big")
        entry = decode_entry(value[4:end])
        if (entry.size, entry.mtime_ns, entry.ctime_ns) != (status.st_size, status.st_mtime_ns, status.st_ctime_ns):
            return False
        self._progress.advance(1, entry.size)
        self._store(parent, entry._replace(name=name), [value[end:]] if entry.chunks else [], match)
        return True

    def _store(self, parent: bytes, entry: Entry, ids: Iterable[bytes], match: Match | None) -> None:
        if match is not None and entry.chunks <= _COMPARED_IDS and entry == match.entry:
            ids = list(ids)
            if b"".join(ids) == b"".join(self._last.ids(match)):  # its times could not be trusted: it is as it was
                self._last.keep(parent, match)
                self._tally.file(entry.size, "files_unchanged")
                return
        self._last.interrupt()
        for each in ids:
            self._manifest.add_ids(each)
        self._manifest.add(parent, entry)
        new = match is None or match.row[1] != FILE
        self._tally.file(entry.size, "files_new" if new else "files_changed")
        self._progress.stored(join(parent, entry.name), entry.size, new)

    def _special_file(
        self, parent: bytes, name: bytes, path: bytes, status: os.stat_result, match: Match | None
    ) -> None:
        """A device or a pipe, stored as the file that its content makes."""
        with SpecialFile.open(path, self._check) as special:
            if special is None:  # a link to something else
                self._other(parent, name, path, status, match)
                return
            self._progress.current(path)
            chunks, size, ids = self._content.cut(special.readinto)
            status = special.status
        entry = entry_of(name, status, chunks, None)._replace(kind=FILE, size=size)
        content = Content(status, size, size, chunks, ids, None)
        self._file(parent, entry, content, None)

    # -- everything else

    def _other(self, parent: bytes, name: bytes, path: bytes, status: os.stat_result, match: Match | None) -> None:
        extra: dict[str, Any] | None
        above = path in self._ancestors
        if above:  # its times say what happened beside the roots: recorded, they would make every manifest new
            extra = {"ancestor": True}
        else:
            extra = self._metadata.of_path(path, status)
            if stat.S_ISLNK(status.st_mode):
                extra = {"target": read_link(path), **(extra or {})}
        entry = entry_of(name, status, 0, extra)
        if above:
            entry = entry._replace(mtime_ns=0, ctime_ns=0, inode=0)
        else:
            self._tally.other(entry.kind)
        if match is not None and entry == match.entry:
            self._last.keep(parent, match)
            return
        self._last.interrupt()
        self._manifest.add(parent, entry)
