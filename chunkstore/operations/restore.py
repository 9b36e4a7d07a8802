"""Write a snapshot, or a part of it, to a directory.

    manifest -> places -> directories, links: at once; files: chunks wanted -> fetched by pack -> written -> finished

Directory times come last, deepest first. A file that can not be had does not stop the others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from chunkstore.errors import Damaged, TargetError
from chunkstore.format.entries import DIRECTORY, FILE, SYMLINK, Entry
from chunkstore.format.records import SnapshotRecord
from chunkstore.ids import ID_SIZE, ChunkId
from chunkstore.operations.fetching import Want, fetch
from chunkstore.operations.selection import Placed, select
from chunkstore.progress import Progress
from chunkstore.repository.chunk_reader import ChunkReader
from chunkstore.repository.manifest_reader import ManifestReader
from chunkstore.tree.display import display_path
from chunkstore.tree.parts import PartFile
from chunkstore.tree.problems import TargetFull
from chunkstore.tree.target import Target


@dataclass(slots=True)
class Restored:
    """What a restore did. `not_set`: for how many entries an attribute could not be set, by attribute."""

    files: int = 0
    directories: int = 0
    links: int = 0
    bytes: int = 0
    kept: int = 0
    skipped_specials: int = 0
    problems: list[str] = field(default_factory=list)
    not_set: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True, eq=False)
class _File:
    """A file on its way: what is still to be written, and whether it is given up or left as it is."""

    relative: bytes
    entry: Entry
    left: int
    part: PartFile | None = None
    dropped: bool = False


def restore(
    reader: ChunkReader,
    manifest: ManifestReader,
    record: SnapshotRecord,
    path: bytes | None,
    target: Target,
    workers: int,
    progress: Progress,
) -> Restored:
    """Restore `path` of the snapshot, or all of it, into `target`.

    Raises `PathNotFound`, `Damaged` for a manifest that is not whole, and `TargetFull`. Single files that could not be
    had or written are in `problems`.
    """
    return _Restore(reader, manifest, target, workers, progress).run(select(manifest, record, path))


class _Restore:
    def __init__(
        self, reader: ChunkReader, manifest: ManifestReader, target: Target, workers: int, progress: Progress
    ) -> None:
        self._reader = reader
        self._manifest = manifest
        self._target = target
        self._workers = workers
        self._progress = progress
        self._done = Restored()

    def run(self, entries: Iterator[Placed]) -> Restored:
        for got in fetch(self._reader, self._wants(entries), self._workers):
            file, offset = got.purpose
            if got.damage:
                self._give_up(file, got.damage)
            elif not file.dropped:
                self._write(file, offset, got.data)
        self._target.finish_directories()
        self._done.not_set = self._target.not_set
        return self._done

    def _wants(self, entries: Iterator[Placed]) -> Iterator[Want[tuple[_File, int]]]:
        """Make directories and links on the way; the chunks of files are wanted."""
        for placed in entries:
            relative, entry = placed.relative, placed.found.entry
            if entry.kind == FILE:
                yield from self._file(placed)
                continue
            try:
                self._make(relative, entry)
            except TargetFull:
                raise
            except TargetError as e:
                self._problem(str(e))

    def _make(self, relative: bytes, entry: Entry) -> None:
        if entry.kind == DIRECTORY:
            self._target.make_directory(relative)
            self._target.note_directory(relative, entry)
            self._done.directories += 1
        elif entry.kind == SYMLINK:
            made = self._target.make_symlink(relative, entry)
            self._done.links += made
            self._done.kept += not made
        else:
            self._done.skipped_specials += 1

    def _file(self, placed: Placed) -> Iterator[Want[tuple[_File, int]]]:
        found, entry = placed.found, placed.found.entry
        file = _File(placed.relative, entry, entry.size)
        if not entry.chunks:
            if entry.size:
                self._give_up(file, Damaged("its entry has a size but no chunks"))
            else:
                self._write_whole(file, memoryview(b""))
            return
        offset = 0
        try:
            for ids in self._manifest.ids(found):
                for at in range(0, len(ids), ID_SIZE):
                    if file.dropped:
                        return
                    chunk_id = ChunkId(ids[at : at + ID_SIZE])
                    # The length of a file's only chunk is checked when it is there; no look-up for small files.
                    length = entry.size if entry.chunks == 1 else self._reader.length(chunk_id)
                    if offset + length > entry.size:
                        raise Damaged("its chunks are longer than the file")
                    yield Want(chunk_id, (file, offset), length)
                    offset += length
            if offset != entry.size:
                raise Damaged("its chunks are shorter than the file")
        except Damaged as e:
            self._give_up(file, e)

    # -- writing

    def _write(self, file: _File, offset: int, data: memoryview) -> None:
        if len(data) == file.entry.size:
            self._write_whole(file, data)
            return
        if offset + len(data) > file.entry.size or len(data) > file.left:
            self._give_up(file, Damaged("its chunks are longer than the file"))
            return
        try:
            if file.part is None:
                file.part = self._target.create(file.relative, file.entry.size)
                if file.part is None:
                    self._keep(file)
                    return
            self._target.write_at(file.part, offset, data)
            file.left -= len(data)
            self._progress.advance(0, len(data))
            if not file.left:
                self._target.finish(file.part, file.entry)
                self._finished(file)
        except TargetFull:
            raise
        except TargetError as e:
            self._give_up(file, e)

    def _write_whole(self, file: _File, data: memoryview) -> None:
        try:
            written = self._target.write_whole(file.relative, data, file.entry)
        except TargetFull:
            raise
        except TargetError as e:
            self._give_up(file, e)
            return
        if not written:
            self._keep(file)
            return
        self._progress.advance(0, len(data))
        self._finished(file)

    def _finished(self, file: _File) -> None:
        self._done.files += 1
        self._done.bytes += file.entry.size
        self._progress.advance(1, 0)

    def _keep(self, file: _File) -> None:
        file.dropped = True
        self._done.kept += 1
        self._progress.advance(1, file.entry.size)

    def _give_up(self, file: _File, error: Damaged | TargetError) -> None:
        """Report a file once, and leave nothing of it that could pass for the file."""
        if file.dropped:
            return
        file.dropped = True
        if file.part is not None:
            self._target.discard(file.part)
        self._problem(f"{display_path(file.relative)}: {error}" if isinstance(error, Damaged) else str(error))

    def _problem(self, message: str) -> None:
        self._done.problems.append(message)
        self._progress.warn(message)
