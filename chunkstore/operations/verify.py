"""Compare what is stored with the files on disk: names, kinds, metadata, and every byte of content."""

from __future__ import annotations

import errno
import os
import stat
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field

from chunkstore.errors import Damaged
from chunkstore.format.entries import FILE, SYMLINK, Entry, join
from chunkstore.ids import ID_SIZE, ChunkId
from chunkstore.operations.extras import Extras
from chunkstore.operations.fetching import Want, fetch
from chunkstore.operations.selection import Placed
from chunkstore.progress import Progress
from chunkstore.repository.chunk_reader import ChunkReader
from chunkstore.repository.manifest_reader import ManifestReader
from chunkstore.tree.display import display_path
from chunkstore.tree.reading import kind_of, lstat_source, open_source, read_link

_OPEN_FILES = 64


@dataclass(slots=True)
class Verified:
    """What was compared; `differences` are lines for people, `damaged` those of them that the repository is to blame for."""

    files: int = 0
    bytes: int = 0
    differences: list[str] = field(default_factory=list)
    damaged: int = 0


@dataclass(slots=True, eq=False)
class _File:
    path: bytes
    entry: Entry
    different: bool = False


def verify(
    reader: ChunkReader,
    manifest: ManifestReader,
    entries: Iterator[Placed],
    base: bytes,
    workers: int,
    progress: Progress,
) -> Verified:
    """Compare `entries` with what is below `base` on disk, and report what is there and not in the snapshot.

    Owners are compared by root only: others could not have restored them.
    """
    return _Verify(reader, manifest, base, workers, progress).run(entries)


class _Verify:
    def __init__(
        self, reader: ChunkReader, manifest: ManifestReader, base: bytes, workers: int, progress: Progress
    ) -> None:
        self._reader = reader
        self._manifest = manifest
        self._base = base
        self._workers = workers
        self._progress = progress
        self._owner = os.geteuid() == 0
        self._done = Verified()
        self._open: OrderedDict[bytes, int] = OrderedDict()
        self._extras = Extras(self._report)

    def run(self, entries: Iterator[Placed]) -> Verified:
        try:
            for got in fetch(self._reader, self._wants(entries), self._workers):
                file, offset = got.purpose
                if got.damage:
                    self._is_damaged(file, got.damage)
                else:
                    self._compare(file, offset, got.data)
        finally:
            self._extras.close()
            while self._open:
                os.close(self._open.popitem()[1])
        return self._done

    def _wants(self, entries: Iterator[Placed]) -> Iterator[Want[tuple[_File, int]]]:
        for placed in entries:
            entry = placed.found.entry
            path = join(self._base, placed.relative) if placed.relative else self._base
            self._extras.follow(path, entry)
            file = _File(path, entry)
            self._done.files += entry.kind == FILE
            self._progress.advance(1, 0)
            if self._same_metadata(file) and entry.kind == FILE:
                yield from self._chunks(file, placed)
        self._extras.end()

    def _chunks(self, file: _File, placed: Placed) -> Iterator[Want[tuple[_File, int]]]:
        offset = 0
        try:
            for ids in self._manifest.ids(placed.found):
                for at in range(0, len(ids), ID_SIZE):
                    chunk_id = ChunkId(ids[at : at + ID_SIZE])
                    length = self._reader.length(chunk_id)
                    yield Want(chunk_id, (file, offset), length)
                    offset += length
            if offset != file.entry.size:
                raise Damaged("its chunks do not add up to its size")
        except Damaged as e:
            self._is_damaged(file, e)

    # -- content

    def _compare(self, file: _File, offset: int, data: memoryview) -> None:
        if file.different:
            return
        try:
            on_disk = os.pread(self._descriptor(file.path), len(data), offset)
        except OSError as e:
            self._differs(file, e.strerror or str(e))
            return
        if on_disk != data:
            self._differs(file, "content differs")
            return
        self._done.bytes += len(data)
        self._progress.advance(0, len(data))

    def _descriptor(self, path: bytes) -> int:
        descriptor = self._open.get(path)
        if descriptor is None:
            descriptor = self._open[path] = open_source(path)
            if len(self._open) > _OPEN_FILES:
                os.close(self._open.popitem(last=False)[1])
        return descriptor

    # -- metadata

    def _same_metadata(self, file: _File) -> bool:
        entry, path = file.entry, file.path
        try:
            status = os.stat(path) if entry.ancestor else lstat_source(path)
            if kind_of(status.st_mode) != entry.kind:
                self._differs(file, "is of another kind now")
                return False
            if entry.kind == SYMLINK and read_link(path) != entry.target:
                self._differs(file, "link points elsewhere")
                return False
        except OSError as e:
            self._differs(file, "is missing" if e.errno == errno.ENOENT else e.strerror or str(e))
            return False
        if entry.ancestor:  # holds a root, but is not part of what was chosen
            return True
        if entry.kind == FILE and status.st_size != entry.size:
            self._differs(file, f"size differs: {entry.size} stored, {status.st_size} on disk")
            return False
        return self._same_attributes(file, status)

    def _same_attributes(self, file: _File, status: os.stat_result) -> bool:
        entry = file.entry
        wrong = []
        if entry.kind != SYMLINK and stat.S_IMODE(status.st_mode) != entry.mode:
            wrong.append(f"mode {entry.mode:04o} stored, {stat.S_IMODE(status.st_mode):04o} on disk")
        if self._owner and (status.st_uid, status.st_gid) != (entry.uid, entry.gid):
            wrong.append(f"owner {entry.uid}:{entry.gid} stored, {status.st_uid}:{status.st_gid} on disk")
        if status.st_mtime_ns != entry.mtime_ns:
            wrong.append("modification time differs")
        if wrong:
            self._report(file.path, ", ".join(wrong))
        return True

    def _differs(self, file: _File, how: str) -> None:
        if not file.different:
            file.different = True
            self._report(file.path, how)

    def _is_damaged(self, file: _File, damage: Damaged) -> None:
        self._done.damaged += not file.different
        self._differs(file, f"stored content is damaged: {damage}")

    def _report(self, path: bytes, how: str) -> None:
        self._done.differences.append(f"{display_path(path)}: {how}")
