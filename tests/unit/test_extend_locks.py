"""Locks of what snapshots use are extended, and of nothing else; whatever a prune does meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

import pytest

from chunkstore.errors import Interrupted, InvalidArgument
from chunkstore.format import names
from chunkstore.ids import SnapshotId
from chunkstore.operations.catalog import Snapshot, snapshots
from chunkstore.operations.extend_locks import DAY_S, Extended, end_of_day, extend_locks
from chunkstore.operations.tagging import Change, amend
from chunkstore.progress import Silent
from chunkstore.storage import MemoryStorage
from tests.engine import (
    KIB,
    Client,
    chunk_ids,
    edit_tree,
    flip,
    indexed_packs,
    listed,
    make_tree,
    put_tombstone,
    repack_everything,
)
from tests.unit.test_stats import needed


class LockingStorage(MemoryStorage):
    """Keeps a date for each object, as a bucket with object lock does; deleting is hiding, which no lock prevents.

    `before_locking`: is told each name first.
    """

    def __init__(self) -> None:
        super().__init__()
        self.locks: dict[str, float] = {}
        self.before_locking: Callable[[str], None] = lambda name: None
        self.has_locks = True

    def extend_retention(self, name: str, until: float) -> bool:
        self.before_locking(name)
        self.stat(name)
        if self.locks.get(name, 0.0) >= until:
            return False
        self.locks[name] = until
        return True

    def locked_until(self, name: str) -> float | None:
        self.stat(name)
        return self.locks.get(name)

    def may_lock(self) -> bool:
        return self.has_locks


def everything(among: Collection[Snapshot]) -> list[Snapshot]:
    return [*among]


def ask(client: Client, choose: object = everything, days: int = 30, dry_run: bool = False) -> Extended:
    return extend_locks(client.open(), choose, days, dry_run, client.around, Silent())  # type: ignore[arg-type]


@pytest.fixture
def storage() -> LockingStorage:
    return LockingStorage()


@pytest.fixture
def client(storage: LockingStorage, tmp_path: Path) -> Client:
    client = Client(storage, tmp_path / "client")
    client.create(frame_size=4 * KIB, pack_size=8 * KIB)
    return client


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    make_tree(tmp_path / "tree", 1)
    return tmp_path / "tree"


def packs_of(client: Client, *ids: str) -> set[str]:
    """The packs with chunks that these snapshots need."""
    need = needed(client)
    wanted = set().union(*(need[each] for each in ids))  # type: ignore[index]
    return {names.pack(info.pack_id) for info in indexed_packs(client.open()) if wanted & set(chunk_ids([info]))}


def small(storage: MemoryStorage, *prefixes: str) -> set[str]:
    return {name for prefix in prefixes for name in listed(storage, prefix)}


ALWAYS = (names.CONFIG, names.RECIPIENTS, names.KEYS)


def test_what_snapshots_use_is_locked_and_nothing_else(client: Client, storage: LockingStorage, tree: Path) -> None:
    first = client.snapshot(tree / "a")
    second = client.snapshot(tree / "b")
    (amended, *_) = [each for each in snapshots(client.open(), Silent()) if each.record.id == second.id]
    assert amend(client.open(), amended, Change(pinned=True), client.around)
    used = packs_of(client, second.id)
    storage.delete(names.snapshot(first.id))
    assert put_tombstone(client.open(), SnapshotId("ef" * 16))
    storage.put("sessions/" + "ab" * 16, b"session")
    storage.put("prunes/" + "0" * 16, b"plan")

    done = ask(client)
    until = end_of_day(client.clock(), 30)
    assert used < set(listed(storage, names.PACKS))
    expected = used | small(storage, *ALWAYS, "index/", names.AMENDMENTS) | {names.snapshot(second.id)}
    assert storage.locks == dict.fromkeys(expected, float(until))
    assert (done.extended, done.enough, done.gone, done.problems) == (len(expected), 0, 0, ())
    assert done.extended_bytes == sum(storage.stat(name).size for name in expected)
    assert done.snapshots == 1


def test_until_the_end_of_the_day_so_that_once_more_changes_nothing(
    client: Client, storage: LockingStorage, tree: Path
) -> None:
    client.snapshot(tree)
    first, locks = ask(client), dict(storage.locks)
    second = ask(client)
    assert (second.extended, second.enough, second.until) == (0, first.extended, first.until)
    assert storage.locks == locks
    longer = ask(client, days=31)
    assert (longer.extended, longer.enough) == (first.extended, 0)
    assert longer.until == first.until + DAY_S
    shorter = ask(client, days=1)
    assert (shorter.extended, shorter.enough) == (0, first.extended)
    assert set(storage.locks.values()) == {float(longer.until)}


def test_the_end_of_a_day() -> None:
    assert end_of_day(0, 1) == DAY_S
    assert end_of_day(10**9, 1) == 2 * DAY_S
    assert end_of_day(DAY_S * 10**9 - 1, 3) == 4 * DAY_S
    assert end_of_day(DAY_S * 10**9, 3) == 4 * DAY_S


def test_a_generation_and_its_segments_are_locked(client: Client, storage: LockingStorage, tree: Path) -> None:
    client.snapshot(tree)
    repack_everything(client, 1)
    (tree / "new").write_bytes(b"new")
    client.snapshot(tree)
    assert ask(client).problems == ()
    for prefix in (names.GENERATIONS, names.SEGMENTS, names.RUNS, names.PACKS):
        assert small(storage, prefix)
        assert small(storage, prefix) <= storage.locks.keys()


def test_only_of_some_snapshots(client: Client, storage: LockingStorage, tree: Path) -> None:
    first = client.snapshot(tree / "a")
    second = client.snapshot(tree / "b")
    done = ask(client, lambda among: [each for each in among if each.record.id == first.id])
    assert done.snapshots == 1
    assert names.snapshot(second.id) not in storage.locks
    assert set(listed(storage, names.PACKS)) & storage.locks.keys() == packs_of(client, first.id)
    assert small(storage, *ALWAYS, "index/") <= storage.locks.keys()


def test_a_dry_run_counts_and_locks_nothing(client: Client, storage: LockingStorage, tree: Path) -> None:
    client.snapshot(tree)
    some = listed(storage, names.PACKS)[:2]
    for name in some:
        storage.locks[name] = float(end_of_day(client.clock(), 40))
    before = dict(storage.locks)
    planned = ask(client, dry_run=True)
    assert storage.locks == before
    done = ask(client)
    assert planned == done
    assert (done.enough, done.enough_bytes) == (2, sum(storage.stat(name).size for name in some))


def test_a_storage_without_locks(client: Client, storage: LockingStorage, tmp_path: Path, tree: Path) -> None:
    client.snapshot(tree)
    storage.has_locks = False
    for other in (client, client.but(storage=MemoryStorage())):
        for info in storage.list(""):
            other.storage.put(info.name, storage.get(info.name))
        with pytest.raises(InvalidArgument, match="has no locks: they need S3"):
            ask(other)
    assert storage.locks == {}


# -- beside others


@pytest.mark.parametrize("at", [0, 3, 8, 14])
def test_what_a_prune_moves_meanwhile_is_locked_where_it_is_then(
    client: Client, storage: LockingStorage, tree: Path, at: int
) -> None:
    """Every pack is another one, and the index too, from some object on."""
    taken = client.snapshot(tree)
    seen = iter(range(10**6))

    def prune(name: str) -> None:
        if next(seen) == at:
            repack_everything(client, 1)

    storage.before_locking = prune
    done = ask(client)
    assert done.problems == ()
    kept = small(storage, names.PACKS, "index/", names.SNAPSHOTS, *ALWAYS)
    assert kept <= storage.locks.keys()
    assert client.restored_afresh(taken.id)


@pytest.mark.parametrize("workers", [0, 3])
def test_a_prune_at_each_pack(client: Client, storage: LockingStorage, tree: Path, workers: int) -> None:
    """They may go on for ever: then it is said."""
    client.snapshot(tree)
    numbers = iter(range(1, 10**6))

    def prune(name: str) -> None:
        if name.startswith(names.PACKS) and name == min(listed(storage, names.PACKS)):
            repack_everything(client, next(numbers))

    storage.before_locking = prune
    done = ask(client.but(workers=workers))
    assert [problem.partition(":")[0] for problem in done.problems] == [
        "the index changes faster than packs can be locked"
    ]


def test_who_forgets_meanwhile_means_it(client: Client, storage: LockingStorage, tree: Path) -> None:
    first = client.snapshot(tree)
    edit_tree(tree, 2)
    client.snapshot(tree)
    name = names.snapshot(first.id)
    storage.before_locking = lambda each: storage.delete(name) if each == name else None
    done = ask(client)
    assert (done.gone, done.problems, done.snapshots) == (1, (), 2)


# -- damage


def test_a_pack_that_is_gone_and_that_the_index_names_is_said(
    client: Client, storage: LockingStorage, tree: Path
) -> None:
    client.snapshot(tree)
    victim = next(names.pack(info.pack_id) for info in indexed_packs(client.open()) if info.plane.name[0] == "C")
    storage.before_locking = lambda name: storage.delete(victim) if name == victim else None
    done = ask(client)
    assert done.problems == (f"{victim}: is gone, and the index needs it",)
    assert small(storage, names.PACKS) <= storage.locks.keys(), "the others are locked all the same"
    storage.before_locking = lambda name: None
    (missing,) = ask(client).problems
    assert "that are nowhere" in missing


def test_a_pack_of_another_length_is_not_locked(client: Client, storage: LockingStorage, tree: Path) -> None:
    """Somebody put rubbish on top of it: locking that would keep it."""
    client.snapshot(tree)
    victim = next(names.pack(info.pack_id) for info in indexed_packs(client.open()) if info.plane.name[0] == "C")
    storage.put(victim, b"rubbish")
    (said,) = ask(client).problems
    assert said.startswith(f"{victim}: has 7 bytes instead of ")
    assert victim not in storage.locks


def test_a_missing_segment_of_the_index_is_said(client: Client, storage: LockingStorage, tree: Path) -> None:
    client.snapshot(tree)
    repack_everything(client, 1)
    assert ask(client).problems == ()
    victim = listed(storage, names.SEGMENTS)[0]
    storage.delete(victim)
    assert ask(client).problems == (f"{victim}: is missing",)


def test_damaged_records_and_nodes_are_said(client: Client, storage: LockingStorage, tree: Path) -> None:
    first = client.snapshot(tree / "a")
    client.snapshot(tree / "b")
    flip(storage, names.snapshot(first.id))
    assert ask(client.without_cache()).problems == (f"{names.snapshot(first.id)}: the record can not be read",)
    tree_packs = [info for info in indexed_packs(client.open()) if info.plane.name == "TREE_PACK"]
    for info in tree_packs:
        for at in range(150, info.size - 100, 40):
            flip(storage, names.pack(info.pack_id), at)
    assert len(ask(client).problems) > 1


def test_it_can_be_interrupted(client: Client, storage: LockingStorage, tree: Path) -> None:
    client.snapshot(tree)
    with pytest.raises(Interrupted):
        ask(client.but(stop=lambda: len(storage.locks) > 5))
    assert len(storage.locks) == 6
