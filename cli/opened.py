"""Snapshots opened for reading: what restore, ls, cat and verify begin with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import click

from chunkstore.format.records import SnapshotRecord
from chunkstore.operations.catalog import Snapshot
from chunkstore.operations.opening import open_content
from chunkstore.operations.reading import reading
from chunkstore.operations.snapshot_choice import EVERYTHING, LATEST, SnapshotFilter, choose
from chunkstore.progress import Progress
from chunkstore.repository.chunk_reader import ChunkReader
from chunkstore.repository.manifest_reader import ManifestReader

from . import environment
from .arguments import Chosen


@dataclass(frozen=True, slots=True)
class OpenSnapshot:
    """A snapshot and its manifest, and the reader of its chunks."""

    snapshot: Snapshot
    manifest: ManifestReader
    reader: ChunkReader
    workers: int

    @property
    def record(self) -> SnapshotRecord:
        """The snapshot as it was committed."""
        return self.snapshot.record


@contextmanager
def open_snapshot(
    chosen: Chosen, view: Progress, signed_by: Sequence[str] = (), selection: SnapshotFilter = EVERYTHING
) -> Iterator[OpenSnapshot]:
    """Find the snapshot, check who signed it where that was asked for, and open it with the private key."""
    with open_snapshots([chosen], view, signed_by, selection) as (opened,):
        yield opened


@contextmanager
def open_snapshots(
    chosen: Sequence[Chosen], view: Progress, signed_by: Sequence[str] = (), selection: SnapshotFilter = EVERYTHING
) -> Iterator[list[OpenSnapshot]]:
    """The same for several of them, in the order of `chosen`, with one reader."""
    meant = [snapshot_name(each, selection) for each in chosen]
    around = environment.surroundings()
    repository = environment.repository("read", around)
    found = [choose(repository, name, selection, view, around.workers) for name in meant]
    for each in found:
        environment.check_signature(each.signed, repository.key.repository_id, signed_by)
    opener = open_content(repository, environment.unseal)
    with reading(repository, opener, around, view) as read:
        yield [OpenSnapshot(each, read.manifest(each.record), read.reader, around.workers) for each in found]


def snapshot_name(chosen: Chosen, selection: SnapshotFilter) -> str:
    """What the user called the snapshot; `latest` where that was left out and options choose."""
    if not chosen.snapshot and not selection:
        raise click.UsageError("Which snapshot? Give latest or the first digits of an id, or choose with --time.")
    return chosen.snapshot or LATEST
