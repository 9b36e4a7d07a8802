"""Runs that break off after a checkpoint: what the next run does, and faults at every call."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from chunkstore.errors import Interrupted, SnapshotNotFound, StorageError
from chunkstore.format import names
from chunkstore.format.entries import FILE
from chunkstore.operations.catalog import snapshots
from chunkstore.operations.snapshot_choice import EVERYTHING, SnapshotFilter, pick
from chunkstore.progress import Silent
from chunkstore.storage.faulty import Fault, FaultyStorage, Outcome, RecordingStorage, SimulatedCrash
from tests.checkpointing import (
    SECOND,
    World,
    break_off,
    ids_of,
    is_prefix,
    make_world,
    stops_after,
)
from tests.engine import (
    KIB,
    Client,
    Clock,
    Tree,
    broken_promises,
    chunk_ids,
    clone,
    describe,
    indexed_packs,
    listed,
    put_generation,
    run_indexes,
    temporary_directory,
)

OUTCOMES = [
    outcome if outcome is Outcome.CRASH_AFTER else pytest.param(outcome, marks=pytest.mark.exhaustive)
    for outcome in Outcome
]


@pytest.fixture
def world() -> Iterator[World]:
    with temporary_directory() as base:
        yield make_world(base)


# -- runs that break off


def test_what_broke_off_after_a_checkpoint_is_hardly_read_again(world: World) -> None:
    partial = break_off(world.client, world.tree, partials=3)
    assert len(partial) == 3
    had = sum(each.entry.kind == FILE for each in world.client.stored(partial[-1]).values())
    recorded = RecordingStorage(world.storage)
    before = len(chunk_ids(indexed_packs(world.client.open())))
    taken = world.snapshot(every=0, client=world.client.but(storage=recorded))
    counted = taken.result.statistics
    assert counted.files_unchanged == had > 10
    assert counted.files_new == counted.files - had
    assert world.client.restored_afresh(taken.id) == describe(world.tree)
    ids = chunk_ids(indexed_packs(world.client.open()))
    assert len(ids) == len(set(ids)) > before


def test_a_checkpoint_comes_before_the_last_whole_manifest(world: World) -> None:
    """Of the part that was reached the checkpoint counts, of what comes after it the snapshot before."""
    first = world.snapshot(every=0)
    stored = world.client.stored(first.id)
    for path in [path for path, each in stored.items() if each.entry.kind == FILE][::2]:
        Path(os.fsdecode(path)).write_bytes(os.urandom(3 * KIB))
    world.client.clock.now += 10**18  # type: ignore[attr-defined]  # their times are to be trusted
    partial = break_off(world.client, world.tree, partials=2, every=50)
    part = world.client.stored(partial[-1])
    files = {path for path, each in part.items() if each.entry.kind == FILE}
    after = {path: each for path, each in stored.items() if each.entry.kind == FILE and path not in files}
    Path(os.fsdecode(max(after))).unlink()
    now = describe(world.tree)
    same = sum(
        _content(world.tree, path, now) == (each.entry.mtime_ns, each.entry.size) for path, each in after.items()
    )
    taken = world.snapshot(every=0)
    counted = taken.result.statistics
    assert counted.files_unchanged == len(files) + same
    assert (counted.files_new, counted.files_deleted) == (0, 1)
    assert counted.files_changed > 5
    assert world.client.restored_afresh(taken.id) == now


def _content(tree: Path, path: bytes, now: Tree) -> tuple[object, ...]:
    found = now.get(os.path.relpath(path, os.fsencode(tree)), ("", 0, 0, 0))
    return found[2], found[3]


def test_after_a_break_off_the_manifest_is_what_it_would_have_been(world: World) -> None:
    """Segments of the part come back as they are, the open one at its end does not."""
    alone = world.client.copy(world.base / "alone").but(storage=clone(world.storage))
    fresh = alone.snapshot(world.tree, checkpoint_every=0)
    break_off(world.client, world.tree, partials=4, every=80)
    taken = world.snapshot(every=0)
    assert taken.record.content_root == fresh.record.content_root
    assert taken.record.reference_root == fresh.record.reference_root


def test_files_in_the_cache_do_not_pile_up(world: World) -> None:
    for n in range(4):
        break_off(world.client, world.tree, partials=1 + n % 2, every=100)
        (world.tree / f"new-{n}").write_bytes(os.urandom(20 * KIB))
    world.snapshot(every=80)
    directory = world.client.places.cache_directory(world.client.open().key.repository_id)
    assert sorted(path.suffix for path in directory.iterdir() if "index" not in path.name and path.is_file()) == [
        ".ids",
        ".manifest",
    ]


def test_an_interrupted_run_leaves_its_last_checkpoint(world: World) -> None:
    with pytest.raises(Interrupted):
        world.snapshot(client=world.client.but(stop=stops_after(30)))
    partial, whole = world.ids()
    assert partial
    assert whole == []
    assert listed(world.storage, names.SESSIONS) == []
    assert is_prefix(world.client.restored_afresh(partial[-1]), describe(world.tree))
    assert world.snapshot().result.statistics.files_unchanged > 0


def test_a_damaged_checkpoint_of_the_cache_harms_no_snapshot(world: World) -> None:
    break_off(world.client, world.tree, partials=3, every=100)
    directory = world.client.places.cache_directory(world.client.open().key.repository_id)
    (checkpoint,) = directory.glob("*.checkpoint")
    data = checkpoint.read_bytes()
    for n, damaged in enumerate([b"", data[:70], data[:-5], data[:20] + b"x" + data[21:], data[:90] + b"\xff" * 200]):
        checkpoint.write_bytes(damaged)
        left = world.client.copy(world.base / f"damaged-{n}").but(storage=clone(world.storage))
        taken = left.snapshot(world.tree, checkpoint_every=0)
        assert left.restored_afresh(taken.id) == describe(world.tree)


def test_chunks_of_a_checkpoint_are_looked_up_once_a_prune_was_there(world: World) -> None:
    """Another generation than the run synced: what only the checkpoint had may be gone."""
    partial = break_off(world.client, world.tree, partials=3, every=100)
    runs = run_indexes(world.client.open())
    gone = [info for run in runs.values() for info in run.packs]
    put_generation(world.client.open(), 1, [], list(runs), segments=0)
    for each in [*(names.pack(info.pack_id) for info in gone), *runs, *map(names.snapshot, partial)]:
        world.storage.delete(each)
    taken = world.snapshot(every=0)
    assert world.client.restored_afresh(taken.id) == describe(world.tree)
    assert broken_promises(world.client) == []


# -- faults at each call


def run_with_fault(world: World, client: Client, fault: Fault, every: int) -> bool:
    faulty = FaultyStorage(client.storage, [fault])
    try:
        world.snapshot(every, client.but(storage=faulty))
    except (StorageError, SimulatedCrash):
        assert not faulty.pending
    return not faulty.pending


@pytest.mark.parametrize("outcome", OUTCOMES, ids=lambda outcome: outcome.name)
def test_every_call_of_a_run_with_checkpoints(outcome: Outcome) -> None:
    """What is committed by then restores, the next run works and stores nothing again that an index object names."""
    points = partials = 0
    with temporary_directory() as base:
        world = make_world(base, files=6, directories=14)
        now = describe(world.tree)
        while True:
            points += 1
            clock = Clock(step=10 * SECOND)
            left = world.client.copy(base / str(points)).but(storage=clone(world.storage), clock=clock)
            if not run_with_fault(world, left, Fault(points, outcome), every=90):
                break
            partial, whole = ids_of(left)
            partials += bool(partial)
            trees = left.all_restored_afresh([*partial, *whole])
            assert all(trees[each] == now for each in whole)
            assert all(is_prefix(trees[each], now) for each in partial)
            assert broken_promises(left) == []
            before = set(chunk_ids(indexed_packs(left.open())))
            taken = world.snapshot(90, left)
            ids = chunk_ids(indexed_packs(left.open()))
            assert len(ids) == len(set(ids))
            assert before <= set(ids)
            assert left.restored_afresh(taken.id) == now
    print(f"\n{outcome.name}: {points - 1} points, {partials} of them after a checkpoint")
    assert points > 30
    assert partials > 15


def test_an_error_leaves_no_session_behind_but_of_a_commit_without_an_answer() -> None:
    """Each one that stays delays a prune; but a record that may still come needs what a prune would take."""
    left_behind = []
    at = 0
    with temporary_directory() as base:
        world = make_world(base, files=6, directories=14)
        recorded = RecordingStorage(clone(world.storage))
        world.snapshot(90, world.client.copy(base / "0").but(storage=recorded, clock=Clock(step=10 * SECOND)))
        calls = enumerate(recorded.calls, 1)
        commits = [n for n, call in calls if call.verb == "put_if_absent" and call.name.startswith(names.SNAPSHOTS)]
        assert len(commits) > 2
        while True:
            at += 1
            left = world.client.copy(base / str(at)).but(storage=clone(world.storage), clock=Clock(step=10 * SECOND))
            if not run_with_fault(world, left, Fault(at), every=90):
                break
            ended = {names.session(each) for ids in ids_of(left) for each in ids}
            if set(listed(left.storage, names.SESSIONS)) - ended:
                left_behind.append(at)
    assert left_behind == commits


# -- which snapshot is meant


def test_latest_is_never_a_partial_one(world: World) -> None:
    partial = break_off(world.client, world.tree, partials=2)
    some = list(snapshots(world.client.open(), Silent()))
    with pytest.raises(SnapshotNotFound, match=partial[-1][:8]):
        pick(some, "latest", EVERYTHING)
    assert pick(some, partial[0][:12], EVERYTHING).record.id == partial[0]
    taken = world.snapshot()
    some = list(snapshots(world.client.open(), Silent()))
    assert pick(some, "latest", EVERYTHING).record.id == taken.id
    with pytest.raises(SnapshotNotFound, match="only snapshot"):
        pick(some, "latest~1", EVERYTHING)


def test_where_only_partial_ones_fit_the_newest_is_named(world: World) -> None:
    world.client.stream(b"/other", _Nothing())
    partial = break_off(world.client, world.tree, partials=2)
    some = list(snapshots(world.client.open(), Silent()))
    with pytest.raises(SnapshotNotFound, match=f"partial.*{partial[-1][:8]}"):
        pick(some, "latest", SnapshotFilter(roots=(os.fsencode(world.tree),)))


class _Nothing:
    """An empty stream."""

    def __init__(self) -> None:
        self._file = Path(os.devnull).open("rb", buffering=0)  # noqa: SIM115

    def fileno(self) -> int:
        return self._file.fileno()

    def readinto(self, view: memoryview) -> int:
        return 0

    def end(self) -> None:
        self._file.close()
