"""The storage fails, loses an answer, or the process dies, at every single call of a snapshot (I-8)."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from chunkstore.errors import Interrupted, RepositoryExists, StorageError, StorageFull
from chunkstore.format import names
from chunkstore.ids import SnapshotId
from chunkstore.storage import MemoryStorage
from chunkstore.storage.faulty import Fault, FaultyStorage, Outcome, RecordingStorage, SimulatedCrash
from tests.engine import (
    KIB,
    Client,
    Tree,
    broken_promises,
    chunk_ids,
    clone,
    describe,
    edit_tree,
    indexed_packs,
    listed,
    make_tree,
    snapshot_ids,
    temporary_directory,
)
from tests.storages import Fresh, Place, elsewhere

OUTCOMES = list(Outcome)
HARDEST_FIRST = [
    outcome
    if outcome in (Outcome.ANSWER_LOST, Outcome.CRASH_AFTER)
    else pytest.param(outcome, marks=pytest.mark.exhaustive)
    for outcome in OUTCOMES
]
"""On disks and servers: all outcomes are tried in memory in each run."""


@dataclass(frozen=True)
class World:
    """A client of a repository with one snapshot of a tree that has been edited since."""

    client: Client
    tree: Path
    first: SnapshotId
    was: Tree
    now: Tree
    first_raw: int
    """Bytes of all chunks that index objects name."""
    full_run: int
    """Bytes that a snapshot puts when nothing goes wrong."""
    calls: int
    """How many calls it makes."""

    def left_on(self, place: Place, base: Path) -> Client:
        """The client as it is, and its repository at this place."""
        return self.client.copy(base).but(storage=clone(self.client.storage, place.open()))


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    yield from make_world()


@pytest.fixture(scope="module")
def small_world() -> Iterator[World]:
    """For storages where each call takes milliseconds."""
    yield from make_world(files=6, largest=8 * KIB)


def make_world(**size: int) -> Iterator[World]:
    with temporary_directory() as base:
        tree = base / "tree"
        make_tree(tree, seed=1, **size)
        client = Client(MemoryStorage(), base / "client")
        client.create(pack_size=8 * KIB)
        first, was = client.snapshot(tree).id, describe(tree)
        for seed in (2, 3, 4):
            edit_tree(tree, seed)
        raw = sum(frame.raw for info in indexed_packs(client.open()) for frame in info.frames)
        recorded = RecordingStorage(clone(client.storage))
        client.copy(base / "trial").but(storage=recorded).snapshot(tree)
        yield World(client, tree, first, was, describe(tree), raw, recorded.bytes_put, len(recorded.calls))


def run_with_fault(client: Client, tree: Path, fault: Fault) -> tuple[bool, int]:
    """(whether the fault hit, how many calls there were). The storage is as it is afterwards."""
    faulty = FaultyStorage(client.storage, [fault])
    try:
        client.but(storage=faulty).snapshot(tree)
    except (StorageError, SimulatedCrash):
        assert not faulty.pending
    return not faulty.pending, faulty.calls


def check_the_next_run(world: World, left: Client) -> None:
    """It succeeds, and stores nothing that an index object names already."""
    before = indexed_packs(left.open())
    published = sum(frame.raw for info in before for frame in info.frames) - world.first_raw
    recorded = RecordingStorage(left.storage)
    taken = left.but(storage=recorded).snapshot(world.tree)
    assert taken.warnings == []
    after = chunk_ids(indexed_packs(left.open()))
    assert len(after) == len(set(after)), "a chunk was stored again that an index object named"
    assert set(chunk_ids(before)) <= set(after)
    if published > 16 * KIB:  # less than that is lost in padding and in what every run writes
        assert recorded.bytes_put < world.full_run
    trees = left.all_restored_afresh([world.first, taken.id])
    assert trees == {world.first: world.was, taken.id: world.now}


def check_what_is_left(world: World, left: Client, base: Path) -> bool:
    """Whether the run that was hit counts as committed. All that is there restores, and the next run works."""
    ids = snapshot_ids(left.storage)
    committed = [each for each in ids if each != world.first]
    assert world.first in ids
    assert len(committed) <= 1
    trees = left.all_restored(ids)
    assert trees.pop(world.first) == world.was
    assert all(tree == world.now for tree in trees.values())
    bare = left.copy(base / "bare").but(storage=clone(left.storage)).without_cache()
    check_the_next_run(world, left)
    check_the_next_run(world, bare)
    return bool(committed)


def sweep(world: World, base: Path, outcome: Outcome, *, cache: bool, workers: int, every: int) -> tuple[int, int]:
    """(points, how many of them committed); a point that no call reaches any more is the end."""
    at, points, committed = 1, 0, 0
    while True:
        here = base / f"{outcome.name}-{at}"
        left = world.client.copy(here / "client").but(storage=clone(world.client.storage))
        if not cache:
            left.without_cache()
        hit, _ = run_with_fault(left.but(workers=workers), world.tree, Fault(at, outcome))
        if not hit:
            return points, committed
        committed += check_what_is_left(world, left, here)
        shutil.rmtree(here)
        points += 1
        at += every


def sweep_some(world: World, base: Path, outcome: Outcome, fresh: Fresh, stride: int) -> int:
    """How many committed, of every so manieth call, and of the last two."""
    sampled = range(1 + OUTCOMES.index(outcome), world.calls - 1, stride)
    committed = 0
    for at in [*sampled, world.calls - 1, world.calls]:
        here = base / f"{outcome.name}-{at}"
        left = world.left_on(fresh(), here / "client")
        hit, _ = run_with_fault(left, world.tree, Fault(at, outcome))
        assert hit
        committed += check_what_is_left(world, left, here)
    return committed


# Committed are: the commit itself when it was done, and the deletion of the session after it. A deletion that only
# fails is no error of the run.
COMMITTED = {Outcome.FAILS: 1, Outcome.ANSWER_LOST: 2, Outcome.CRASH_BEFORE: 1, Outcome.CRASH_AFTER: 2}


@pytest.mark.parametrize("outcome", OUTCOMES, ids=lambda outcome: outcome.name)
def test_every_call_of_a_snapshot(world: World, outcome: Outcome) -> None:
    with temporary_directory() as base:
        points, committed = sweep(world, base, outcome, cache=True, workers=0, every=1)
    print(f"\nsweep {outcome.name}: {points} points, {committed} committed")
    assert points >= 20
    assert committed == COMMITTED[outcome]


@elsewhere
@pytest.mark.parametrize("outcome", HARDEST_FIRST, ids=lambda outcome: outcome.name)
def test_calls_of_a_snapshot_to_a_disk_or_a_server(small_world: World, fresh: Fresh, outcome: Outcome) -> None:
    """A sample, another one for each outcome; the test above does them all, on a storage in memory."""
    with temporary_directory() as base:
        committed = sweep_some(small_world, base, outcome, fresh, stride=7)
    assert committed == COMMITTED[outcome]


@pytest.mark.parametrize("outcome", [Outcome.ANSWER_LOST, Outcome.CRASH_AFTER], ids=lambda outcome: outcome.name)
def test_every_call_of_a_snapshot_that_begins_without_a_cache(world: World, outcome: Outcome) -> None:
    """More calls: the index is read."""
    with temporary_directory() as base:
        points, committed = sweep(world, base, outcome, cache=False, workers=0, every=1)
    print(f"\nsweep {outcome.name} without a cache: {points} points, {committed} committed")
    assert points >= 24
    assert committed == COMMITTED[outcome]


@pytest.mark.parametrize("outcome", OUTCOMES, ids=lambda outcome: outcome.name)
def test_with_workers(world: World, outcome: Outcome) -> None:
    """Which call is the k-th is up to the scheduler here, so this is a sample."""
    with temporary_directory() as base:
        points, _ = sweep(world, base, outcome, cache=True, workers=2, every=4)
    print(f"\nsweep {outcome.name} with two workers: {points} points")
    assert points >= 5


def test_one_failure_after_the_other(world: World, fresh: Fresh) -> None:
    assert fail_again_and_again(world, fresh()) >= 8


@elsewhere
def test_one_failure_after_the_other_on_a_disk_or_a_server(small_world: World, fresh: Fresh) -> None:
    assert fail_again_and_again(small_world, fresh()) >= 6


def fail_again_and_again(world: World, place: Place) -> int:
    """Runs that fail further and further on, each after what the last one left; then one that succeeds."""
    with temporary_directory() as base:
        left = world.left_on(place, base / "client")
        failed = at = 0
        while True:
            at += 1
            hit, _ = run_with_fault(left, world.tree, Fault(at, OUTCOMES[at % len(OUTCOMES)]))
            if not hit:
                break
            failed += 1
            assert broken_promises(left) == []
        ids = snapshot_ids(left.storage)
        trees = left.all_restored_afresh(ids)
        assert trees.pop(world.first) == world.was
        assert trees
        assert all(tree == world.now for tree in trees.values())
    print(f"\n{failed} failures in a row, {len(ids)} snapshots at the end")
    return failed


@pytest.mark.parametrize("at", [1, 2, 3, 5, 8])
def test_a_full_disk(world: World, at: int) -> None:
    """From the given put on there is no room; later there is."""
    full = [Fault(n, verbs=frozenset({"put", "put_if_absent"}), error=StorageFull("full")) for n in range(at, at + 40)]
    with temporary_directory() as base:
        left = world.client.copy(base / "client").but(storage=clone(world.client.storage))
        with pytest.raises(StorageFull, match="full"):
            left.but(storage=FaultyStorage(left.storage, full)).snapshot(world.tree)
        assert left.all_restored(snapshot_ids(left.storage)) == {world.first: world.was}
        check_the_next_run(world, left)


def test_an_error_leaves_no_session_behind(world: World) -> None:
    """A run that can still speak to the storage takes its session away: each one that stays delays a prune. But where
    the commit itself got no answer it stays: a record that may still come needs what a prune would take.
    """
    left_behind = []
    with temporary_directory() as base:
        recorded = RecordingStorage(clone(world.client.storage))
        world.client.copy(base / "0").but(storage=recorded).snapshot(world.tree)
        calls = enumerate(recorded.calls, 1)
        commits = [n for n, call in calls if call.verb == "put_if_absent" and call.name.startswith(names.SNAPSHOTS)]
        at = 0
        while True:
            at += 1
            left = world.client.copy(base / str(at)).but(storage=clone(world.client.storage))
            hit, _ = run_with_fault(left, world.tree, Fault(at))
            if not hit:
                break
            committed = len(snapshot_ids(left.storage)) > 1  # then it is the deletion of the session that failed
            if listed(left.storage, names.SESSIONS) and not committed:
                left_behind.append(at)
    assert left_behind == commits, f"failing call number {left_behind} leaves a session object"


def test_an_interrupted_run_publishes_what_it_stored(world: World) -> None:
    asked = points = 0

    with temporary_directory() as base:
        while True:
            points += 1
            asked = 0

            def stop(at: int = points) -> bool:
                nonlocal asked
                asked += 1
                return asked == at

            left = world.client.copy(base / str(points)).but(storage=clone(world.client.storage))
            try:
                left.but(stop=stop).snapshot(world.tree)
            except Interrupted:
                packs = {names.pack(info.pack_id) for info in indexed_packs(left.open())}
                assert set(listed(left.storage, names.PACKS)) == packs
                assert listed(left.storage, names.SESSIONS) == []
                assert snapshot_ids(left.storage) == [world.first]
                check_the_next_run(world, left)
            else:
                break
    print(f"\ninterrupted at {points - 1} points")
    assert points > 5


@pytest.mark.parametrize("outcome", OUTCOMES, ids=lambda outcome: outcome.name)
def test_every_call_of_init(outcome: Outcome, fresh: Fresh) -> None:
    """A repository is there or it is not; where it is not, `init` works when it is called again."""
    points = sweep_init(outcome, fresh)
    print(f"\ninit {outcome.name}: {points} points")
    assert points > 7


@elsewhere
@pytest.mark.parametrize("outcome", HARDEST_FIRST, ids=lambda outcome: outcome.name)
def test_calls_of_init_to_a_disk_or_a_server(outcome: Outcome, fresh: Fresh) -> None:
    """A sample, another one for each outcome."""
    assert sweep_init(outcome, fresh, first=1 + OUTCOMES.index(outcome), every=4) >= 2


def sweep_init(outcome: Outcome, fresh: Fresh, first: int = 1, every: int = 1) -> int:
    """How many of its calls were hit; afterwards there is a repository, or `init` makes it."""
    at, points = first - every, -1
    with temporary_directory() as base:
        tree = base / "tree"
        make_tree(tree, seed=4, files=4)
        while True:
            at += every
            points += 1
            storage = fresh().open()
            faulty = FaultyStorage(storage, [Fault(at, outcome)])
            client = Client(faulty, base / f"client-{at}")
            try:
                client.create()
            except (StorageError, SimulatedCrash):
                assert not faulty.pending
            if faulty.pending:
                break
            client = client.but(storage=storage)
            if listed(storage, names.CONFIG):
                with pytest.raises(RepositoryExists):
                    client.create()
            else:
                client.create()
            assert client.restored(client.snapshot(tree).id) == describe(tree)
    return points


@pytest.mark.parametrize("workers", [0, 2])
def test_every_call_of_a_restore(world: World, workers: int) -> None:
    """It ends with the storage's error, and works when it is called again; the cache is not harmed."""
    with temporary_directory() as base:
        points = sweep_restore(world, world.client.copy(base / "client").but(workers=workers))
    print(f"\nrestore with {workers} workers: {points} points")
    assert points > 11


@elsewhere
def test_calls_of_a_restore_from_a_disk_or_a_server(small_world: World, fresh: Fresh) -> None:
    """A sample."""
    with temporary_directory() as base:
        client = small_world.left_on(fresh(), base / "client").but(workers=2)
        assert sweep_restore(small_world, client, every=3) >= 4


def sweep_restore(world: World, client: Client, every: int = 1) -> int:
    """How many of its calls were hit."""
    at, points = 1 - every, -1
    while True:
        at += every
        points += 1
        client.without_cache()
        faulty = FaultyStorage(client.storage, [Fault(at, OUTCOMES[at % 2])])
        try:
            client.but(storage=faulty).restored(world.first)
        except StorageError:
            assert not faulty.pending
        if faulty.pending:
            break
        assert client.restored(world.first) == world.was
    return points
