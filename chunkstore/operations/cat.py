"""The content of one file, in order."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from chunkstore.errors import PathNotFound
from chunkstore.format.entries import FILE
from chunkstore.ids import ID_SIZE, ChunkId
from chunkstore.operations.fetching import Want, fetch
from chunkstore.operations.selection import require
from chunkstore.progress import Progress
from chunkstore.repository.chunk_reader import ChunkReader
from chunkstore.repository.manifest_reader import ManifestEntry, ManifestReader
from chunkstore.tree.display import display_path

_AT_ONCE = 64
"""Chunks held in memory to bring them into order."""


def cat(
    reader: ChunkReader, manifest: ManifestReader, path: bytes, workers: int, progress: Progress
) -> Iterator[memoryview]:
    """The bytes of the file at `path`. `PathNotFound`; `Damaged` as soon as a chunk can not be had."""
    found = require(manifest, path)
    if found.entry.kind != FILE:
        raise PathNotFound(f"{display_path(path)} is not a file")
    progress.current(path)
    numbered = enumerate(_ids(manifest, found))
    while batch := [Want(chunk_id, number) for number, chunk_id in islice(numbered, _AT_ONCE)]:
        pieces: dict[int, memoryview] = {}
        for got in fetch(reader, batch, workers):
            if got.damage:
                raise got.damage
            pieces[got.purpose] = got.data
        for want in batch:
            yield pieces[want.purpose]


def _ids(manifest: ManifestReader, found: ManifestEntry) -> Iterator[ChunkId]:
    for ids in manifest.ids(found):
        for at in range(0, len(ids), ID_SIZE):
            yield ChunkId(ids[at : at + ID_SIZE])
