"""Compare what is stored with the files on disk: names, kinds, metadata, and every byte of content."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from chunkstore.errors import Damaged, SourceError
from chunkstore.format.entries import FILE, SOCKET, SYMLINK, Entry, join
from chunkstore.format.extents import Layout
from chunkstore.operations.extras import Extras
from chunkstore.operations.fetching import Want, fetch
from chunkstore.operations.in_order import content_of
from chunkstore.operations.selection import Placed
from chunkstore.operations.verify.links import LinksOnDisk
from chunkstore.operations.verify.metadata import MetadataOnDisk
from chunkstore.progress import Progress
from chunkstore.repository.chunk_reader import ChunkReader
from chunkstore.repository.manifest_reader import ManifestReader
from chunkstore.tree.compared import FilesOnDisk
from chunkstore.tree.reading import kind_of, lstat_source, read_link

_CHANGED = "; it was changing while it was stored"


@dataclass(frozen=True, slots=True)
class Difference:
    """Something on disk that is not as it is stored. `damaged`: the repository is to blame."""

    path: bytes
    how: str
    damaged: bool = False


Report = Callable[[Difference], None]


@dataclass(slots=True)
class Verified:
    """What was compared, and how many differences were reported, `damaged` of them as such."""

    files: int = 0
    bytes: int = 0
    differences: int = 0
    damaged: int = 0


@dataclass(slots=True, eq=False)
class _File:
    path: bytes
    entry: Entry
    layout: Layout
    different: bool = False


def verify(
    reader: ChunkReader,
    manifest: ManifestReader,
    entries: Iterator[Placed],
    base: bytes,
    workers: int,
    progress: Progress,
    report: Report,
    scratch: str | None,
) -> Verified:
    """Compare `entries` with what is below `base` on disk, and with what is there and not in the snapshot.

    `report` is told each difference when it is found. What root alone can restore is compared by root only. A socket
    that is missing is no difference: nothing restores it. Temporary files are in the directory `scratch`.
    """
    run = _Verify(reader, manifest, base, progress, report, scratch)
    try:
        return run.run(entries, workers)
    finally:
        run.close()


class _Verify:
    def __init__(
        self,
        reader: ChunkReader,
        manifest: ManifestReader,
        base: bytes,
        progress: Progress,
        report: Report,
        scratch: str | None,
    ) -> None:
        self._reader = reader
        self._manifest = manifest
        self._base = base
        self._progress = progress
        self._tell = report
        self._done = Verified()
        self._files = FilesOnDisk()
        self._metadata = MetadataOnDisk(os.geteuid() == 0, self._report)
        self._links = LinksOnDisk(scratch)
        self._extras = Extras(self._report)

    def run(self, entries: Iterator[Placed], workers: int) -> Verified:
        for got in fetch(self._reader, self._wants(entries), workers):
            file, position = got.purpose
            if got.damage:
                self._is_damaged(file, got.damage)
            elif not file.different:
                self._compare(file, position, got.data)
        return self._done

    def close(self) -> None:
        self._extras.close()
        self._links.close()
        self._files.close()

    def _wants(self, entries: Iterator[Placed]) -> Iterator[Want[tuple[_File, int]]]:
        for placed in entries:
            entry = placed.found.entry
            path = join(self._base, placed.relative) if placed.relative else self._base
            self._extras.follow(path, entry)
            self._done.files += entry.kind == FILE
            self._progress.advance(1, 0)
            file = _File(path, entry, Layout(entry))
            if self._is_there(file, placed) and entry.kind == FILE:
                yield from self._chunks(file, placed)
                self._compare_holes(file)
        self._extras.end()

    def _chunks(self, file: _File, placed: Placed) -> Iterator[Want[tuple[_File, int]]]:
        position = 0
        try:
            for chunk_id, length in content_of(self._reader, self._manifest, placed.found):
                if file.different:
                    return
                yield Want(chunk_id, (file, position), length)
                position += length
        except Damaged as e:
            self._is_damaged(file, e)

    # -- content

    def _compare(self, file: _File, position: int, data: memoryview) -> None:
        try:
            for start, offset, length in file.layout.pieces(position, len(data)):
                if not self._files.is_same(file.path, offset, data[start : start + length]):
                    self._differs(file, "content differs")
                    return
        except OSError as e:
            self._differs(file, e.strerror or str(e))
            return
        self._count(len(data))

    def _compare_holes(self, file: _File) -> None:
        """What was a hole has to read as zeros, whether it still is one or not."""
        try:
            for offset, length in file.layout.holes():
                if file.different:
                    return
                if not self._files.has_zeros(file.path, offset, length):
                    self._differs(file, "content differs")
                    return
                self._count(length)
        except OSError as e:
            self._differs(file, e.strerror or str(e))

    def _count(self, size: int) -> None:
        self._done.bytes += size
        self._progress.advance(0, size)

    # -- everything else

    def _is_there(self, file: _File, placed: Placed) -> bool:
        """Report what is to be seen without reading; False where content can not be compared any more."""
        entry, path = file.entry, file.path
        try:
            status = os.stat(path) if entry.ancestor else lstat_source(path)
            wrong = _kind_differs(entry, path, status)
        except (OSError, SourceError) as e:
            if not (entry.kind == SOCKET and isinstance(e, FileNotFoundError)):
                self._differs(file, _why_not(e))
            return False
        if wrong:
            self._differs(file, wrong)
            return False
        if entry.ancestor:  # holds a root, but is not part of what was chosen
            return True
        found = [*self._links.differences(path, entry, status)]
        found += self._metadata.differences(path, entry, placed.found.owners, status)
        if found:
            self._report(path, ", ".join(found) + _CHANGED * entry.changed)
        return True

    def _differs(self, file: _File, how: str) -> None:
        if not file.different:
            file.different = True
            self._report(file.path, how + _CHANGED * file.entry.changed)

    def _is_damaged(self, file: _File, damage: Damaged) -> None:
        if not file.different:
            file.different = True
            self._done.damaged += 1
            self._report(file.path, f"stored content is damaged: {damage}", damaged=True)

    def _report(self, path: bytes, how: str, damaged: bool = False) -> None:
        self._done.differences += 1
        self._tell(Difference(path, how, damaged))


def _kind_differs(entry: Entry, path: bytes, status: os.stat_result) -> str:
    """In what way there is something else; nothing if there is not."""
    if kind_of(status.st_mode) != entry.kind:
        return "is of another kind now"
    if entry.kind == SYMLINK and read_link(path) != entry.target:
        return "link points elsewhere"
    if entry.kind == FILE and status.st_size != entry.size:
        return f"size differs: {entry.size} stored, {status.st_size} on disk"
    if entry.device is not None and (here := (os.major(status.st_rdev), os.minor(status.st_rdev))) != entry.device:
        return f"device {entry.device[0]},{entry.device[1]} stored, {here[0]},{here[1]} on disk"
    return ""


def _why_not(error: OSError | SourceError) -> str:
    if isinstance(error, SourceError):
        return "is of another kind now"
    return "is missing" if error.errno == errno.ENOENT else error.strerror or str(error)
