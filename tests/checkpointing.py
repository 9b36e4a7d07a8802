"""A small world for tests of checkpoints: a tree, and a client whose clock runs fast."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from chunkstore.format import names
from chunkstore.format.records import SnapshotRecord
from chunkstore.ids import SnapshotId
from chunkstore.operations.catalog import records
from chunkstore.progress import Silent
from chunkstore.storage import MemoryStorage
from chunkstore.storage.faulty import SimulatedCrash
from tests.engine import (
    KIB,
    Client,
    Clock,
    Taken,
    Tree,
    WatchedStorage,
    make_tree,
)

SECOND = 10**9


@dataclass(frozen=True)
class World:
    """A tree of many small files, and a client of an empty repository whose clock goes ten seconds at each look."""

    base: Path
    tree: Path
    client: Client

    @property
    def storage(self) -> MemoryStorage:
        assert isinstance(self.client.storage, MemoryStorage)
        return self.client.storage

    def snapshot(self, every: int = 150, client: Client | None = None) -> Taken:
        return (client or self.client).snapshot(self.tree, checkpoint_every=every * SECOND)

    def ids(self) -> tuple[list[SnapshotId], list[SnapshotId]]:
        """(partial, whole) snapshots, in the order in which they were committed."""
        return ids_of(self.client)


def ids_of(client: Client) -> tuple[list[SnapshotId], list[SnapshotId]]:
    found = sorted(found_records(client), key=lambda each: each.sequence)
    return [each.id for each in found if each.partial], [each.id for each in found if not each.partial]


def found_records(client: Client) -> list[SnapshotRecord]:
    return [each.record for each in records(client.open(), Silent())]


def make_world(base: Path, files: int = 60, directories: int = 40) -> World:
    tree = base / "tree"
    make_tree(tree, seed=1, files=files)
    for n in range(directories):  # directories: each is looked at on its own
        (tree / f"d{n:02d}").mkdir()
        (tree / f"d{n:02d}" / "file-it").write_bytes(os.urandom(3 * KIB + n))
    client = Client(MemoryStorage(), base / "client", clock=Clock(step=10 * SECOND), packs_per_index_object=2)
    client.create(pack_size=8 * KIB)
    return World(base, tree, client)


def stops_after(looks: int) -> Callable[[], bool]:
    """Asks a run to end at its so manieth look."""
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > looks

    return stop


def break_off(client: Client, tree: Path, partials: int, every: int = 150) -> list[SnapshotId]:
    """A run whose process is gone just after its so manieth checkpoint; the checkpoints."""
    before = set(ids_of(client)[0])
    count = 0

    def look(verb: str, name: str) -> None:
        nonlocal count
        if verb == "delete" and name.startswith(names.SESSIONS):
            count += 1
        elif count == partials:
            raise SimulatedCrash

    with pytest.raises(SimulatedCrash):
        client.but(storage=WatchedStorage(client.storage, before=look)).snapshot(tree, checkpoint_every=every * SECOND)
    return [each for each in ids_of(client)[0] if each not in before]


def is_prefix(part: Tree, whole: Tree) -> bool:
    """Whether nothing is in the part that is not in the whole. Times of directories that are not complete may differ."""
    return all(whole.get(path, ("",))[0] == each[0] for path, each in part.items()) and all(
        whole[path] == each for path, each in part.items() if each[0] == "file"
    )
