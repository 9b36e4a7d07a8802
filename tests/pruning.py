"""A repository with some history, and ways to prune it and to look whether that was right."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from chunkstore.format import names
from chunkstore.ids import SnapshotId
from chunkstore.operations.catalog import records
from chunkstore.operations.live import LiveChunks
from chunkstore.operations.pack_listing import PackListing
from chunkstore.operations.prune.pruning import prune
from chunkstore.operations.prune.values import PruneOptions, PruneResult
from chunkstore.operations.usage import Usage, measure
from chunkstore.progress import Silent
from chunkstore.repository.chunk_reader import ChunkReader, LedgerKeys
from chunkstore.repository.index_scan import IndexScan
from chunkstore.repository.index_sync import sync_index
from chunkstore.storage import MemoryStorage, Storage
from tests.engine import KIB, Client, Tree, broken_promises, clone, describe, edit_tree, listed, make_tree

EVERYTHING = PruneOptions(max_unused=0.0, stale_after_ns=0)
"""Leaves nothing that can go, and takes every session for dead."""


def no_pause(seconds: float) -> None:
    """Waits for nobody."""


@dataclass
class History:
    """A client, and the trees of the snapshots that are there."""

    client: Client
    tree: Path
    trees: dict[SnapshotId, Tree] = field(default_factory=dict)

    @property
    def storage(self) -> Storage:
        return self.client.storage

    def snapshot(self, edit: int | None = None) -> SnapshotId:
        """One more; with `edit` the tree is changed first, as this number says."""
        if edit is not None:
            edit_tree(self.tree, edit)
        taken = self.client.snapshot(self.tree).id
        self.trees[taken] = describe(self.tree)
        return taken

    def forget(self, *which: SnapshotId) -> None:
        """As `forget` does, when no session is left."""
        for each in which:
            self.storage.delete(names.snapshot(each))
            del self.trees[each]

    def ids(self) -> list[SnapshotId]:
        """The oldest first."""
        return list(self.trees)

    def check(self) -> None:
        """All that is there restores as it was, from the storage alone, and the order of publication holds."""
        assert broken_promises(self.client) == []
        assert self.client.all_restored_afresh(self.ids()) == self.trees

    def left_on(self, storage: Storage, base: Path) -> History:
        """The same at another place, with a client of its own."""
        return History(self.client.copy(base).but(storage=clone(self.storage, storage)), self.tree, dict(self.trees))


def make_history(
    base: Path,
    snapshots: int = 6,
    seed: int = 1,
    files: int = 18,
    largest: int = 24 * KIB,
    frame_size: int = 16 * KIB,
    pack_size: int = 32 * KIB,
) -> History:
    """A tree that was edited between so many snapshots, in a repository in memory."""
    history = History(Client(MemoryStorage(), base / "client"), base / "tree")
    make_tree(history.tree, seed, files, largest)
    history.client.create(frame_size=frame_size, pack_size=pack_size)
    for number in range(snapshots):
        history.snapshot(edit=100 * seed + number if number else None)
    return history


def pruned(
    client: Client,
    options: PruneOptions = EVERYTHING,
    pause: Callable[[float], None] = no_pause,
    progress: Silent | None = None,
) -> PruneResult:
    """Prune, as this client."""
    return prune(client.open("prune"), options, client.around, progress or Silent(), pause)


@contextlib.contextmanager
def usage(client: Client) -> Iterator[Usage]:
    """What is in use, by the same code as a prune has it; the index is read from the storage alone."""
    with contextlib.ExitStack() as stack:
        repository = client.open()
        directory = client.places.cache_directory(repository.key.repository_id)
        index = stack.enter_context(contextlib.closing(client.index()))
        found = [each.record for each in records(repository, Silent())]
        sync_index(repository, index, Silent())
        reader = ChunkReader(repository, index, LedgerKeys(repository.key))
        live = stack.enter_context(LiveChunks(reader, directory))
        live.mark(found)
        packs = stack.enter_context(PackListing(client.storage, directory, Silent()))
        scan = IndexScan(index)
        yield measure(live.ids, scan, packs.compared(scan)[0], directory)


def waste(client: Client) -> list[str]:
    """What is stored and in use nowhere, as far as it could be deleted without the private key; empty when all is well."""
    found: list[str] = []
    with usage(client) as counted:
        indexed = {names.pack(pack.pack_id) for pack in counted.packs()}
        dead = {frame.pack for frame in counted.frames() if not counted.is_live(frame.no)}
        found += [f"dead frame in pack {number}" for number in sorted(dead)]
        found += [f"second place of a chunk: {counted.copies}"] if counted.copies and dead else []
    found += [f"in no index: {name}" for name in listed(client.storage, names.PACKS) if name not in indexed]
    found += [f"session: {name}" for name in listed(client.storage, names.SESSIONS)]
    plans = listed(client.storage, names.PLANS)
    found += [f"open plan: {name}" for name in plans if not name.endswith(".done") and name + ".done" not in plans]
    generations = listed(client.storage, names.GENERATIONS)
    found += [f"old generation: {name}" for name in generations[:-1]]
    return found


def only(options: PruneOptions, **changes: object) -> PruneOptions:
    return replace(options, **changes)  # type: ignore[arg-type]


def objects(storage: Storage) -> dict[str, bytes]:
    """Everything that is stored."""
    return {name: storage.get(name) for name in listed(storage)}


def without(names_: Collection[str], *prefixes: str) -> list[str]:
    return [name for name in names_ if not name.startswith(prefixes)]
