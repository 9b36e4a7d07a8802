"""The content of one file, in order."""

from __future__ import annotations

from collections.abc import Iterator

from chunkstore.errors import PathNotFound
from chunkstore.format.entries import FILE
from chunkstore.format.extents import Layout
from chunkstore.operations.in_order import Step, content_of, in_order
from chunkstore.operations.selection import require
from chunkstore.progress import Progress
from chunkstore.repository.chunk_reader import ChunkReader
from chunkstore.repository.manifest_reader import ManifestEntry, ManifestReader
from chunkstore.tree.display import display_path

_ZEROS = memoryview(bytes(1 << 20))


def cat(
    reader: ChunkReader, manifest: ManifestReader, path: bytes, workers: int, progress: Progress
) -> Iterator[memoryview]:
    """The bytes of the file at `path`, holes as zeros. `PathNotFound`; `Damaged` as soon as a chunk can not be had."""
    found = require(manifest, path)
    if found.entry.kind != FILE:
        raise PathNotFound(f"{display_path(path)} is not a file")
    progress.current(path)
    layout, end = Layout(found.entry), 0
    for got in in_order(reader, _steps(reader, manifest, found), workers):
        if got.damage:
            raise got.damage
        for piece in layout.pieces(got.purpose, len(got.data)):
            yield from zeros(piece.offset - end)
            yield got.data[piece.start : piece.start + piece.length]
            end = piece.offset + piece.length
    yield from zeros(found.entry.size - end)


def zeros(length: int) -> Iterator[memoryview]:
    """So many zeros, in blocks of bounded size."""
    for at in range(0, length, len(_ZEROS)):
        yield _ZEROS[: length - at]


def _steps(reader: ChunkReader, manifest: ManifestReader, found: ManifestEntry) -> Iterator[Step[int]]:
    position = 0
    for chunk_id, length in content_of(reader, manifest, found):
        yield Step(position, chunk_id, length)
        position += length
