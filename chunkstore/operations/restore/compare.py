"""What is in a target already, against what a snapshot says."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from enum import Enum
from typing import NamedTuple, Protocol

from chunkstore.errors import Damaged, SourceError
from chunkstore.format.entries import FILE, SYMLINK, Entry
from chunkstore.format.extents import Layout
from chunkstore.format.owners import Owners
from chunkstore.ids import ChunkId
from chunkstore.keys.derivation import ChunkKind
from chunkstore.operations.in_order import content_of
from chunkstore.repository.chunk_reader import ChunkReader
from chunkstore.repository.manifest_reader import ManifestEntry, ManifestReader
from chunkstore.tree.attributes import Attributes, Ownership
from chunkstore.tree.existing import ExistingFile
from chunkstore.tree.overwriting import Overwrite
from chunkstore.tree.reading import kind_of

_STEPS_NS = (10**9, 10**3, 10**2)
"""Steps that times of file systems have which do not keep each nanosecond."""


class Present(Protocol):
    """What can be seen of a target, each thing by its relative path."""

    def status(self, relative: bytes) -> os.stat_result | None: ...

    def link_target(self, relative: bytes) -> bytes | None: ...

    def read_existing(self, relative: bytes) -> ExistingFile | None: ...


class Readable(Protocol):
    """A file whose parts can be compared."""

    def read_at(self, offset: int, length: int) -> bytes: ...


class Verdict(Enum):
    """What to do about an entry, from a look at what is in its place."""

    MAKE = "make"
    """Nothing of use is there."""
    COMPARE = "compare"
    """It is of the same kind: its content decides."""
    SAME = "same"
    """It counts as what the snapshot has."""
    KEEP = "keep"


def judge(entry: Entry, there: os.stat_result | None, overwrite: Overwrite) -> Verdict:
    """For everything but directories, which are shared."""
    if there is None or overwrite is Overwrite.REFUSE:
        return Verdict.MAKE
    if overwrite is Overwrite.NEVER:
        return Verdict.KEEP
    if stat.S_ISDIR(there.st_mode):
        return Verdict.MAKE
    if overwrite is Overwrite.IF_NEWER and there.st_mtime_ns >= entry.mtime_ns:
        return Verdict.KEEP
    if not is_of_kind(entry.kind, there):
        return Verdict.MAKE
    same = entry.kind == FILE and there.st_size == entry.size and is_same_time(there.st_mtime_ns, entry.mtime_ns)
    same = same and not has_strange_names(entry, there)
    return Verdict.SAME if same and overwrite is Overwrite.IF_CHANGED else Verdict.COMPARE


def has_strange_names(entry: Entry, there: os.stat_result) -> bool:
    """Whether a file has further names that the snapshot does not give it: what one is written to, the others show."""
    return entry.link is None and there.st_nlink > 1


def is_same_time(on_disk: int, stored: int) -> bool:
    """Whether a time on disk is the stored one, as exactly as the file system keeps it."""
    return on_disk == stored or any(on_disk == stored - stored % step for step in _STEPS_NS)


def is_of_kind(kind: int, there: os.stat_result) -> bool:
    """Whether what is there is of this kind of entry."""
    try:
        return kind_of(there.st_mode) == kind
    except SourceError:
        return False


class Looks:
    """Whether what is there has the attributes of an entry, as far as a look at it tells."""

    def __init__(self, ownership: Ownership) -> None:
        self._owned = ownership is not Ownership.NONE
        self._attributes = Attributes(ownership)

    def are_same(self, there: os.stat_result, entry: Entry, owners: Owners) -> bool:
        """Mode, time and owner."""
        entry = self._attributes.here(entry, owners)
        if self._owned and (there.st_uid, there.st_gid) != (entry.uid, entry.gid):
            return False
        mode = entry.kind == SYMLINK or stat.S_IMODE(there.st_mode) == entry.mode
        return mode and is_same_time(there.st_mtime_ns, entry.mtime_ns)

    def is_made(self, there: os.stat_result, entry: Entry, owners: Owners, target: bytes | None) -> bool:
        """Whether a link, pipe or device that is there, of the entry's kind, needs no making."""
        if entry.xattrs or not self.are_same(there, entry, owners):
            return False
        if entry.kind == SYMLINK:
            return target == entry.target
        return entry.device is None or entry.device == (os.major(there.st_rdev), os.minor(there.st_rdev))


class Chunk(NamedTuple):
    """A chunk of a file, and where it begins in the content."""

    chunk_id: ChunkId
    position: int
    length: int


class Contents:
    """The chunks of files, and whether a file on disk has them where they belong."""

    def __init__(self, reader: ChunkReader, manifest: ManifestReader) -> None:
        self._reader = reader
        self._manifest = manifest

    def only(self, found: ManifestEntry) -> Chunk | None:
        """The chunk of a file that has no more than one, None where it has none; its length is what the entry says.

        The quick way for small files: no look-up. `Damaged` where the entry contradicts itself.
        """
        for ids in self._manifest.ids(found):
            return Chunk(ChunkId(ids), 0, found.entry.size)
        if found.entry.size:
            raise Damaged("its entry has a size but no chunks")
        return None

    def chunks(self, found: ManifestEntry) -> Iterator[Chunk]:
        """All chunks in order; `Damaged` where they do not add up to what the entry says."""
        position = 0
        for chunk_id, length in content_of(self._reader, self._manifest, found):
            yield Chunk(chunk_id, position, length)
            position += length

    def holds(self, file: Readable, layout: Layout, chunk: Chunk) -> bool:
        """Whether the chunk is in the file already. `OSError` where it can not be read."""
        data = read_chunk(file, layout, chunk)
        if len(data) != chunk.length:
            return False
        try:
            self._reader.coder.check_chunk(memoryview(data), ChunkKind.CONTENT, chunk.chunk_id)
        except Damaged:
            return False
        return True


def read_chunk(file: Readable, layout: Layout, chunk: Chunk) -> bytes:
    """What is where the chunk belongs; too short where the file ends."""
    pieces = [file.read_at(piece.offset, piece.length) for piece in layout.pieces(chunk.position, chunk.length)]
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
