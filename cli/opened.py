"""A snapshot opened for reading: what restore, ls, cat and verify begin with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from chunkstore.format.records import SnapshotRecord
from chunkstore.operations.opening import find_snapshot, open_content
from chunkstore.operations.reading import reading
from chunkstore.progress import Progress
from chunkstore.repository.chunk_reader import ChunkReader
from chunkstore.repository.manifest_reader import ManifestReader

from . import environment
from .arguments import Chosen


@dataclass(frozen=True, slots=True)
class OpenSnapshot:
    """A snapshot's record and manifest, and the reader of its chunks."""

    record: SnapshotRecord
    manifest: ManifestReader
    reader: ChunkReader
    workers: int


@contextmanager
def open_snapshot(chosen: Chosen, view: Progress, signed_by: Sequence[str] = ()) -> Iterator[OpenSnapshot]:
    """Find the snapshot, check who signed it where that was asked for, and open it with the private key."""
    around = environment.surroundings()
    repository = environment.repository("read", around)
    signed = find_snapshot(repository, chosen.snapshot, view)
    environment.check_signature(signed, repository.key.repository_id, signed_by)
    opener = open_content(repository, environment.unseal)
    with reading(repository, opener, around, view) as read:
        yield OpenSnapshot(signed.record, read.manifest(signed.record), read.reader, around.workers)
