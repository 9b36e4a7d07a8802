"""Many snapshots opened for reading: what find and history begin with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from chunkstore.errors import Damaged
from chunkstore.operations.catalog import Snapshot
from chunkstore.operations.opening import open_content
from chunkstore.operations.reading import Reading, reading
from chunkstore.operations.snapshot_choice import SnapshotFilter, matching, pick
from chunkstore.progress import Progress
from chunkstore.repository.manifest_reader import ManifestReader

from . import environment


@dataclass(frozen=True, slots=True)
class Searched:
    """The snapshots that are meant, oldest first, and the reader of their chunks. `damaged`: what could not be read."""

    snapshots: list[Snapshot]
    read: Reading
    view: Progress
    damaged: list[str] = field(default_factory=list)

    def manifest(self, snapshot: Snapshot) -> ManifestReader:
        return self.read.manifest(snapshot.record)

    def on_damage(self, snapshot: Snapshot, damage: Damaged) -> None:
        """One snapshot that is damaged does not hide what is in the others."""
        self.damaged.append(f"snapshot {snapshot.record.id[:8]} can not be read: {damage}")
        self.view.warn(self.damaged[-1])


@contextmanager
def search(which: Sequence[str], selection: SnapshotFilter, view: Progress) -> Iterator[Searched]:
    """All snapshots that fit, or those that `which` names, opened with the private key."""
    around = environment.surroundings()
    repository = environment.repository("read", around)
    if which:
        among = matching(repository, SnapshotFilter(), view, around.workers)
        named = {each.record.id: each for each in (pick(among, name, selection) for name in which)}
        found = sorted(named.values(), key=lambda each: each.age_order)
    else:
        found = matching(repository, selection, view, around.workers)
    opener = open_content(repository, environment.unseal)
    with reading(repository, opener, around, view) as read:
        yield Searched(found, read, view)
