"""Tiny worlds for `tests.exploring`: a prepared storage, and writers, pruners, a forget and a reader as programs.

The storage holds snapshots of the files a and b (two frames of one pack), of a alone, and of b and c; some of them may be
forgotten already, so that a prune finds packs that are dead and packs to repack. The tree `new` is in none of them. Each program is a client of its own: it begins with the same state and the same
cache each time, on a memory file system, with a clock and random bytes that begin anew.
"""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from chunkstore.errors import Damaged
from chunkstore.format import names
from chunkstore.format.index import Generation, decode_generation, decode_run_index, decode_segment
from chunkstore.format.kinds import ObjectKind
from chunkstore.format.pack import PackInfo
from chunkstore.ids import ChunkId, PackId, SnapshotId
from chunkstore.keys import sealing
from chunkstore.operations.catalog import read_record
from chunkstore.operations.forget.forgetting import forget
from chunkstore.operations.forget.found import find_all
from chunkstore.operations.prune import survey as prune_survey
from chunkstore.operations.prune.pruning import prune
from chunkstore.operations.prune.values import PruneOptions
from chunkstore.progress import Silent
from chunkstore.repository.chunk_reader import ChunkReader, LedgerKeys
from chunkstore.repository.index_scan import IndexScan
from chunkstore.repository.index_sync import sync_index
from chunkstore.repository.repository import Repository
from chunkstore.storage import MemoryStorage, Storage
from tests.engine import Client, Clock, Tree, clone, describe, referenced, temporary_directory
from tests.exploring import KILLED, RUNNING, Ended, Failed
from tests.plain_pruner import Mistakes, plain_prune
from tests.scheduling import Door, Program

SECOND = 10**9
AT_ONCE = PruneOptions(max_unused=0.0, stale_after_ns=0)
"""Deletes and repacks all it can, and takes every session for dead."""
PATIENT = PruneOptions(max_unused=0.0, stale_after_ns=45 * SECOND)
"""Waits for sessions that are alive; they are dead after three looks at them."""
Mistake: TypeAlias = Callable[[], AbstractContextManager[object]]


class _SameEachTime:
    """HPKE takes randomness from nowhere that can be passed in: what was sealed once is sealed the same way again."""

    def __init__(self, suite: Any) -> None:
        self._suite = suite
        self._sealed: dict[tuple[bytes, bytes, bytes], bytes] = {}

    def encrypt(self, plaintext: bytes, public: Any, info: bytes) -> bytes:
        key = plaintext, public.public_bytes_raw(), info
        if key not in self._sealed:
            self._sealed[key] = self._suite.encrypt(plaintext, public, info=info)
        return self._sealed[key]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._suite, name)


class _AtOnce(IndexScan):
    """Asks sqlite once, not 256 times, for the chunks of all buckets: nearly all of them are empty here."""

    def chunks(self, bucket: int) -> Iterator[tuple[bytes, int, int]]:
        if bucket == 0:
            rows = self._db.execute("SELECT id, frame, length FROM chunks ORDER BY id, frame").fetchall()
            self._buckets = {first: list(each) for first, each in groupby(rows, lambda row: row[0][0])}
        return iter(self._buckets.get(bucket, ()))


@contextmanager
def deterministic() -> Iterator[None]:
    """Runs that got the same answers store the same bytes, and take less time.

    The second listing of records, which a pruner compares with the first, is made in one piece instead of sixteen.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sealing, "SUITE", _SameEachTime(sealing.SUITE))
        patch.setattr(IndexScan, "chunks", _AtOnce.chunks)
        patch.setattr(prune_survey, "_HEX", ("",))
        yield


@dataclass(frozen=True)
class World:
    """A storage to begin with, trees to store, and the client whose state and cache each program begins with.

    `both` is the snapshot of files a and b, `one` that of file a alone, `other` that of b and c.
    """

    base: Path
    client: Client
    both: SnapshotId
    one: SnapshotId
    other: SnapshotId

    @property
    def first(self) -> dict[str, bytes]:
        storage = self.client.storage
        return {info.name: storage.get(info.name) for info in storage.list("")}

    def tree(self, name: str) -> Path:
        return self.base / "trees" / name

    def but(self, storage: Storage) -> World:
        return replace(self, client=self.client.but(storage=storage))

    def forgotten(self, *ids: SnapshotId) -> World:
        """The world after these snapshots were forgotten."""
        storage = clone(self.client.storage)
        for each in ids:
            storage.delete(names.snapshot(each))
        return self.but(storage)

    def held(self, name: str) -> Tree:
        """What a restore of a snapshot of a tree brings back."""
        return describe(self.tree(name))

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
        patched: Mistake = nullcontext,
        **options: Any,
    ) -> Program:
        """A snapshot of a tree; `step`: ns between two looks at the clock, so that there are heartbeats or not.

        `patched`: a mistake that is made while it runs; `options` go to `SnapshotOptions`.
        """

        def run(door: Door) -> object:
            with patched():
                client = self.machine(name, door, cached=cached, step=step)
                return client.snapshot(self.tree(tree), **options).id

        return Program(name, run)

    def plain_pruner(self, name: str, mistakes: Mistakes = Mistakes()) -> Program:  # noqa: B008  it is frozen
        return Program(name, lambda door: plain_prune(self.machine(name, door, cached=False), mistakes))

    def plain_forget(self, name: str, snapshot_id: SnapshotId) -> Program:
        """Deletes a record, as it may when there is no session of it."""

        def run(door: Door) -> object:
            if names.session(snapshot_id) not in {info.name for info in door.list(names.SESSIONS)}:
                door.delete(names.snapshot(snapshot_id))
            return None

        return Program(name, run, takes_away=True)

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
        """The real `forget` of one snapshot, or of all but the first; every session counts as stale."""

        def run(door: Door) -> object:
            client = self.machine(name, door, cached=False)
            repository = client.open("prune")
            with patched():
                found = find_all(repository, client.around, Silent(), stale_after_ns=0)
                chosen = [each for each in found.candidates if self._goes(each.id, snapshot_id)]
                return forget(repository, found, chosen, client.around)

        return Program(name, run, takes_away=True)

    def _goes(self, each: SnapshotId, wanted: SnapshotId | None) -> bool:
        return each == wanted if wanted else each != self.one

    def reader(self, name: str, snapshot_id: SnapshotId) -> Program:
        """Restores a snapshot: the tree that came out."""

        def run(door: Door) -> object:
            return self.machine(name, door, cached=False).restored(snapshot_id)

        return Program(name, run)


def waits(client: Client, door: Door) -> Callable[[float], None]:
    """A pause that takes no time but that of the client's clock."""

    def pause(seconds: float) -> None:
        door.pause(seconds)
        assert isinstance(client.clock, Clock)
        client.clock.now += int(seconds * SECOND)

    return pause


@contextmanager
def small_world() -> Iterator[World]:
    """See `World`; trees `both`, `one`, and `other` (file b and another one)."""
    with temporary_directory() as base, deterministic():
        for tree, files in {"both": "ab", "one": "a", "other": "bc", "new": "d"}.items():
            (base / "trees" / tree).mkdir(parents=True)
            for name in files:
                (base / "trees" / tree / name).write_bytes(random.Random(name).randbytes(700))
        client = Client(MemoryStorage(), base / "client", random_bytes=random.Random(0).randbytes)
        client.create(chunker="pyfastcdc:1K,2K,4K", frame_size=1024, pack_size=4096)
        both = client.snapshot(base / "trees" / "both").id
        one = client.snapshot(base / "trees" / "one").id
        other = client.snapshot(base / "trees" / "other").id
        yield World(base, client, both, one, other)


class Judge:
    """Looks at a content of the storage with the real readers of objects: every promise must hold in each of them.

    - A pack that an index in force names is there (it is never deleted before every index that lists it is superseded).
    - Every chunk that a snapshot needs is in such a pack.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._repository = world.client.open("check")
        self._packs: dict[bytes, dict[PackId, PackInfo]] = {}
        self._chunks: dict[tuple[PackId, int], frozenset[ChunkId]] = {}
        self._needed: dict[bytes, frozenset[ChunkId] | None] = {}

    def __call__(self, content: dict[str, bytes]) -> str:
        """What is wrong; nothing when all is well."""
        try:
            index = self.index(content)
        except Damaged as e:
            return f"the index is broken: {e}"
        chunks: set[ChunkId] = set()
        for pack_id, info in index.items():
            if names.pack(pack_id) not in content:
                return f"the index names pack {pack_id.hex()[:8]}, which is gone"
            chunks |= self._ids(info)
        for name in content:
            if name.startswith(names.SNAPSHOTS):
                needed = self.needed(name, content)
                if needed is not None and (lost := needed - chunks):
                    return f"snapshot {name[10:18]} lost {len(lost)} of {len(needed)} chunks"
        return ""

    def index(self, content: dict[str, bytes]) -> dict[PackId, PackInfo]:
        """The packs that are in an index in force."""
        numbers = [number for name in content if (number := names.number(name, names.GENERATIONS)) is not None]
        newest = Generation(0, (), frozenset(), frozenset())
        if numbers:
            name = names.generation(max(numbers))
            newest = decode_generation(self._body(name, content[name], ObjectKind.GENERATION), max(numbers))
        index: dict[PackId, PackInfo] = {}
        for digest in newest.segments:
            if (name := names.segment(digest)) not in content:
                raise Damaged("a segment of the newest generation is gone", name)
            index |= self._packs_of(name, content[name])
        for name in content:
            if name.startswith(names.RUNS) and name not in newest.absorbed:
                index |= self._packs_of(name, content[name])
        return {pack_id: info for pack_id, info in index.items() if pack_id not in newest.dropped}

    def copies(self, content: dict[str, bytes]) -> int:
        """How often the chunk is stored that is stored most often."""
        every = Counter(each for info in self.index(content).values() for each in self._ids(info))
        return max(every.values())

    def _packs_of(self, name: str, data: bytes) -> dict[PackId, PackInfo]:
        if data not in self._packs:
            if name.startswith(names.RUNS):
                infos = decode_run_index(self._body(name, data, ObjectKind.RUN_INDEX)).packs
            else:
                body = self._body(name, data, ObjectKind.INDEX_SEGMENT)
                infos = decode_segment(body, bytes.fromhex(name[len(names.SEGMENTS) :])).packs
            self._packs[data] = {info.pack_id: info for info in infos}
        return self._packs[data]

    def _ids(self, info: PackInfo) -> frozenset[ChunkId]:
        key = info.pack_id, len(info.frames)
        if key not in self._chunks:
            self._chunks[key] = frozenset(each for frame in info.frames for each in frame.ids)
        return self._chunks[key]

    def _body(self, name: str, data: bytes, kind: ObjectKind) -> bytes:
        storage = MemoryStorage()
        storage.put(name, data)
        return Repository(storage, self._repository.state, self._repository.config).read(name, kind)[1]

    def needed(self, name: str, content: dict[str, bytes]) -> frozenset[ChunkId] | None:
        """The chunks that a snapshot needs, as walking it told once; None for a tombstone."""
        data = content[name]
        if data not in self._needed:
            self._needed[data] = self._walk(SnapshotId(name[len(names.SNAPSHOTS) :]), content)
        return self._needed[data]

    def _walk(self, snapshot_id: SnapshotId, content: dict[str, bytes]) -> frozenset[ChunkId] | None:
        client = self._world.machine("judge", storage_of(content), cached=False)
        repository, index = client.open("check"), client.index()
        try:
            found = read_record(repository, snapshot_id)
            if found is None:
                return None
            sync_index(repository, index, Silent())
            return frozenset(referenced(ChunkReader(repository, index, LedgerKeys(repository.key)), found.record))
        finally:
            index.close()


def storage_of(content: dict[str, bytes]) -> MemoryStorage:
    """A storage that holds this."""
    storage = MemoryStorage()
    for name, data in content.items():
        storage.put(name, data)
    return storage


@dataclass(frozen=True)
class Promises:
    """What processes that have ended may say: a writer that it committed, a reader what is true; none fails otherwise.

    `allowed`: parts of messages of errors in which a process may end.
    """

    judge: Judge
    trees: dict[str, Tree]
    allowed: tuple[str, ...] = ()

    def __call__(self, content: dict[str, bytes], ended: Sequence[Ended]) -> str:
        taken_away = {name for each in ended for _, name in each.changes if each.name.startswith("forget")}
        for each in ended:
            if isinstance(each.outcome, Failed) and not any(part in each.outcome.text for part in self.allowed):
                return f"{each.name} ended in {each.outcome.text}"
            if each.outcome in (KILLED, RUNNING):
                continue
            if each.name.startswith("writer") and isinstance(each.outcome, str):
                name = names.snapshot(SnapshotId(each.outcome))
                if name not in taken_away and (name not in content or self.judge.needed(name, content) is None):
                    return f"{each.name} said that it succeeded, and its snapshot is not there"
            if each.name in self.trees and each.outcome != self.trees[each.name]:
                return f"{each.name} restored something else"
        return ""
