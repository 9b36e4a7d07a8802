"""Tiny worlds for `tests.exploring`: a prepared storage, and writers, pruners, a forget and a reader as programs.

The storage holds two snapshots, `old` and `one`; the first may be forgotten already. Where `old` is of the files a and b (two
frames of one pack) and `one` of a alone, a prune finds packs to repack; where `old` is of b, packs that are dead. Each program
is a client of its own: it begins with the same state and the same cache each time, on a memory file system, with a clock
and random bytes that begin anew.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from chunkstore.errors import Damaged, SnapshotNotFound
from chunkstore.format import names
from chunkstore.ids import SnapshotId
from chunkstore.operations.catalog import read_record
from chunkstore.operations.forget.forgetting import forget
from chunkstore.operations.forget.found import find_all
from chunkstore.operations.prune.pruning import prune
from chunkstore.operations.prune.values import PruneOptions
from chunkstore.operations.repair.index import repair_index
from chunkstore.progress import Silent
from chunkstore.storage import MemoryStorage, Storage
from tests.engine import Client, Clock, clone, describe, temporary_directory
from tests.same_each_time import same_each_time
from tests.scheduling import Door, Program

SECOND = 10**9
AT_ONCE = PruneOptions(max_unused=0.0, stale_after_ns=0)
"""Deletes and repacks all it can, and takes every session for dead."""
PATIENT = PruneOptions(max_unused=0.0, stale_after_ns=45 * SECOND)
"""Waits for sessions that are alive; they are dead after three looks at them."""
Mistake: TypeAlias = Callable[[], AbstractContextManager[object]]
TREES = {"both": ("a", "b"), "half": ("b",), "one": ("a",), "other": ("b", "c"), "new": ("d",), "deep": ("p/e", "q/f")}


@dataclass(frozen=True)
class World:
    """A storage to begin with, trees to store, and the client whose state and cache each program begins with.

    `old` and `one` are the snapshots that are there; `of` is the tree of `old`.
    """

    base: Path
    client: Client
    old: SnapshotId
    one: SnapshotId
    of: str

    @property
    def first(self) -> dict[str, bytes]:
        storage = self.client.storage
        return {info.name: storage.get(info.name) for info in storage.list("")}

    def tree(self, name: str) -> Path:
        return self.base / "trees" / name

    @property
    def waste(self) -> World:
        """The world after `old` was forgotten."""
        storage = clone(self.client.storage)
        storage.delete(names.snapshot(self.old))
        return replace(self, client=self.client.but(storage=storage))

    # -- programs

    def machine(self, name: str, storage: Storage, *, cached: bool = True, step: int = 10**6) -> Client:
        """A client as it is at the beginning of each run: its randomness is its name."""
        base = self.base / "machines" / name
        shutil.rmtree(base, ignore_errors=True)
        shutil.copytree(self.client.places.state, base / "state")
        if cached:
            shutil.copytree(self.client.places.cache, base / "cache")
        dice = random.Random(name)
        return self.client.but(storage=storage, base=base, random_bytes=dice.randbytes, clock=Clock(step=step))

    def writer(
        self,
        name: str,
        tree: str,
        *,
        cached: bool = True,
        step: int = 10**6,
        stutters: bool = False,
        patched: Mistake = nullcontext,
        **options: Any,
    ) -> Program:
        """A snapshot of a tree; `step`: ns between two looks at the clock, so that there are heartbeats or not.

        `stutters`: the answer to its commit gets lost, so it asks again. `patched`: a mistake that is made while it runs; `options`
        go to `SnapshotOptions`.
        """

        def run(door: Door) -> object:
            with patched():
                client = self.machine(name, _Stuttering(door) if stutters else door, cached=cached, step=step)
                return client.snapshot(self.tree(tree), **options).id

        return Program(name, run)

    def pruner(
        self, name: str, options: PruneOptions = AT_ONCE, *, cached: bool = False, patched: Mistake = nullcontext
    ) -> Program:
        """The real `prune`; `patched`: a mistake that is made while it runs."""

        def run(door: Door) -> object:
            client = self.machine(name, door, cached=cached)
            with patched():
                done = prune(client.open("prune"), options, client.around, Silent(), waits(client, door))
            return f"fenced {done.fenced}" + (", stays open" if done.waiting else "")

        return Program(name, run)

    def forget(self, name: str, snapshot_id: SnapshotId | None = None, *, patched: Mistake = nullcontext) -> Program:
        """The real `forget` of one snapshot, or of all but `one`; every session counts as stale."""

        def run(door: Door) -> object:
            client = self.machine(name, door, cached=False)
            repository = client.open("prune")
            with patched():
                found = find_all(repository, client.around, Silent(), stale_after_ns=0)
                chosen = [each for each in found.candidates if self._goes(each.id, snapshot_id)]
                done = forget(repository, found, chosen, client.around)
            return f"forgot {len(done.gone)}" + (f", left {len(done.left)}" if done.left else "")

        return Program(name, run, takes_away=True)

    def _goes(self, each: SnapshotId, wanted: SnapshotId | None) -> bool:
        return each == wanted if wanted else each != self.one

    def reader(self, name: str, snapshot_id: SnapshotId, tree: str) -> Program:
        """Restores a snapshot, and compares it with the tree that it is of."""

        def run(door: Door) -> object:
            client = self.machine(name, door, cached=False)
            if read_record(client.open("read"), snapshot_id) is None:
                raise SnapshotNotFound(snapshot_id)
            restored, done = client.restore(snapshot_id)
            if done.problems:
                raise Damaged(done.problems[0], names.snapshot(snapshot_id))
            return "restored" if restored == describe(self.tree(tree)) else "restored something else"

        return Program(name, run)

    def repairer(self, name: str) -> Program:
        """The real `repair index`."""

        def run(door: Door) -> object:
            client = self.machine(name, door, cached=False)
            done = repair_index(client.open("prune"), client.around, Silent())
            return f"repaired {done.generation}" + (", some unreadable" if done.unreadable else "")

        return Program(name, run)


class _Stuttering(Door):
    """Everything that creates a snapshot is asked twice, and only the second answer arrives."""

    def __init__(self, door: Door) -> None:
        super().__init__(door._ask)

    def put_if_absent(self, name: str, data: bytes | bytearray | memoryview) -> bool:
        if name.startswith(names.SNAPSHOTS):
            super().put_if_absent(name, data)
        return super().put_if_absent(name, data)


def waits(client: Client, door: Door) -> Callable[[float], None]:
    """A pause that takes no time but that of the client's clock."""

    def pause(seconds: float) -> None:
        door.pause(seconds)
        assert isinstance(client.clock, Clock)
        client.clock.now += int(seconds * SECOND)

    return pause


@contextmanager
def small_world(old: str = "both", *, lean: bool = False) -> Iterator[World]:
    """See `World`, and `same_each_time` for `lean`. `old`: the tree of the snapshot of that name, of those in `TREES`."""
    with temporary_directory() as base, same_each_time(lean=lean):
        for tree, files in TREES.items():
            for name in files:
                path = base / "trees" / tree / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(random.Random(name).randbytes(700))
        client = Client(MemoryStorage(), base / "client", random_bytes=random.Random(0).randbytes)
        client.create(chunker="pyfastcdc:1K,2K,4K", frame_size=1024, pack_size=4096)
        first = client.snapshot(base / "trees" / old).id
        yield World(base, client, first, client.snapshot(base / "trees" / "one").id, old)


def storage_of(content: dict[str, bytes]) -> MemoryStorage:
    """A storage that holds this."""
    storage = MemoryStorage()
    for name, data in content.items():
        storage.put(name, data)
    return storage
