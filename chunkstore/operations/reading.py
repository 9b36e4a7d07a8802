"""Everything that reads the content plane, set up in one go."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from chunkstore.format.records import SnapshotRecord
from chunkstore.keys.opening import Opener
from chunkstore.progress import Progress
from chunkstore.repository.chunk_reader import AllKeys, ChunkReader
from chunkstore.repository.index_sync import sync_index
from chunkstore.repository.local_index import open_local_index
from chunkstore.repository.manifest_reader import ManifestReader
from chunkstore.repository.repository import Repository, Surroundings


@dataclass(frozen=True, slots=True)
class Reading:
    """A reader of chunks whose index is in line with the repository."""

    reader: ChunkReader

    def manifest(self, record: SnapshotRecord) -> ManifestReader:
        """The manifest of a snapshot. The record must have been read before the index was synced (I-1)."""
        return ManifestReader(self.reader, record.content_root, record.reference_root)


@contextmanager
def reading(repository: Repository, opener: Opener, around: Surroundings, progress: Progress) -> Iterator[Reading]:
    """Sync the index and read; call it after the record has been read (I-1)."""
    index = open_local_index(around.places, repository.key.repository_id)
    try:
        sync_index(repository, index, progress)
        yield Reading(ChunkReader(repository, index, AllKeys(repository.key, opener), progress))
    finally:
        index.close()
