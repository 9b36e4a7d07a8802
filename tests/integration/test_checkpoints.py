"""Checkpoints: what a long run commits on its way, and what plans and fences do to it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from chunkstore.format import names
from chunkstore.ids import SnapshotId
from chunkstore.operations.catalog import read_record, records, snapshots
from chunkstore.progress import Silent
from chunkstore.repository.places import load_state
from tests.checkpointing import (
    SECOND,
    World,
    ids_of,
    is_prefix,
    make_world,
)
from tests.engine import (
    KIB,
    WatchedStorage,
    broken_promises,
    chunk_ids,
    clone,
    describe,
    edit_tree,
    indexed_packs,
    listed,
    put_generation,
    put_plan,
    put_plan_done,
    put_tombstone,
    run_indexes,
    temporary_directory,
)


@pytest.fixture
def world() -> Iterator[World]:
    with temporary_directory() as base:
        yield make_world(base)


# -- what a checkpoint is


def test_each_checkpoint_restores_what_was_stored_so_far(world: World) -> None:
    taken = world.snapshot()
    partial, whole = world.ids()
    assert whole == [taken.id]
    assert len(partial) >= 3
    entries = list(world.client.stored(taken.id).items())
    before = 0
    for each in partial:
        part = list(world.client.stored(each).items())
        assert part == entries[: len(part)], "not the entries that come first"
        assert len(part) > before
        before = len(part)
    trees = world.client.all_restored_afresh([*partial, taken.id])
    assert trees[taken.id] == describe(world.tree)
    assert all(is_prefix(trees[each], trees[taken.id]) for each in partial)
    assert broken_promises(world.client) == []


def test_the_snapshot_is_the_same_with_and_without_checkpoints(world: World) -> None:
    """The same segments and roots, so that the next run takes them over."""
    without = world.client.copy(world.base / "without").but(storage=clone(world.storage))
    taken, other = world.snapshot(every=60), without.snapshot(world.tree, checkpoint_every=0)
    assert len(ids_of(world.client)[0]) > 5
    assert ids_of(without)[0] == []
    assert (taken.record.content_root, taken.record.reference_root) == (
        other.record.content_root,
        other.record.reference_root,
    )
    ours, theirs = taken.result.statistics, other.result.statistics
    assert (ours.files, ours.bytes, ours.bytes_new) == (theirs.files, theirs.bytes, theirs.bytes_new)


def test_records_of_one_run_are_a_chain(world: World) -> None:
    """Sequence numbers and previous records go on; all of a run have its start."""
    world.snapshot()
    (world.tree / "more").write_bytes(b"more")
    world.snapshot()
    found = sorted(records(world.client.open(), Silent()), key=lambda each: each.record.sequence)
    assert [each.record.sequence for each in found] == list(range(len(found)))
    assert [each.record.previous for each in found] == [b"", *(each.digest for each in found[:-1])]
    in_time = sorted(snapshots(world.client.open(), Silent()), key=lambda each: each.age_order)
    assert [each.record.id for each in in_time] == [each.record.id for each in found]
    state = load_state(world.client.places, world.client.open().key.repository_id)
    assert (state.sequence, state.previous) == (len(found), found[-1].digest)
    starts = [each.record.time for each in found if not each.record.partial]
    assert {each.record.time for each in found} == set(starts)


def test_sessions_and_index_objects_are_those_of_who_wrote_them(world: World) -> None:
    """Nothing is left of sessions; index objects after a checkpoint have the next id in their names."""
    told: list[tuple[str, str]] = []
    watched = WatchedStorage(world.storage, after=lambda verb, name: told.append((verb, name)))
    taken = world.snapshot(client=world.client.but(storage=watched))
    partial, _ = world.ids()
    assert listed(world.storage, names.SESSIONS) == []
    ids = [*partial, taken.id]
    writers = {run.session for run in run_indexes(world.client.open()).values()}
    assert set(partial) <= writers <= set(ids)
    committed = [told.index(("put_if_absent", names.snapshot(each))) for each in ids]
    begun = [told.index(("put", names.session(each))) for each in ids]
    ended = [told.index(("delete", names.session(each))) for each in ids]
    for n in range(1, len(ids)):
        assert begun[n] < committed[n - 1] < ended[n - 1]
        assert told[begun[n] + 1] == ("list", names.PLANS)
    wrote = [at for at, (_, name) in enumerate(told) if name.startswith(names.RUNS + ids[1])]
    assert min(wrote) > committed[0]


@pytest.mark.parametrize("every", [0, 10**6])
def test_no_checkpoint_before_the_time_has_come(world: World, every: int) -> None:
    world.snapshot(every=every)
    assert ids_of(world.client)[0] == []


def test_no_checkpoint_where_nothing_new_was_stored(world: World) -> None:
    world.snapshot(every=0)
    world.snapshot(every=1)
    assert ids_of(world.client)[0] == []


def test_a_checkpoint_is_not_signed(world: World) -> None:
    """Signing may ask a person; it is asked for once, at the end."""
    asked: list[bytes] = []

    def sign(data: bytes) -> bytes:
        asked.append(data)
        return b"signature"

    taken = world.client.snapshot(world.tree, checkpoint_every=150 * SECOND, sign=sign)
    assert len(asked) == 1
    assert taken.result.signed.signature == b"signature"
    for each in world.ids()[0]:
        found = read_record(world.client.open(), each)
        assert found is not None
        assert found.signature is None


# -- plans and fences


def test_no_checkpoint_while_a_plan_is_open(world: World) -> None:
    """The run goes on as it began, and leaves no further session behind."""
    put_plan(world.client.open(), 1, [])
    taken = world.snapshot()
    assert world.ids() == ([], [taken.id])
    assert listed(world.storage, names.SESSIONS) == []
    assert world.client.restored_afresh(taken.id) == describe(world.tree)
    put_plan_done(world.client.open(), 1)
    (world.tree / "more").write_bytes(os.urandom(9 * KIB))
    edit_tree(world.tree, 2)
    world.snapshot(every=20)
    assert world.ids()[0] != []


def test_no_checkpoint_while_a_plan_can_not_be_read(world: World) -> None:
    world.storage.put(names.plan(1), b"rubbish")
    taken = world.snapshot()
    assert world.ids() == ([], [taken.id])
    assert len(taken.warnings) == 1


def test_a_plan_that_is_made_before_the_plans_are_listed_is_seen(world: World) -> None:
    """It may have listed sessions before the new one was there."""
    sessions: set[str] = set()

    def look(verb: str, name: str) -> None:
        if name.startswith(names.SESSIONS):
            sessions.add(name)
        if len(sessions) == 2 and verb == "list" and name == names.PLANS and not listed(world.storage, names.PLANS):
            put_plan(world.client.open(), 1, [])

    taken = world.snapshot(client=world.client.but(storage=WatchedStorage(world.storage, before=look)))
    assert world.ids() == ([], [taken.id])


def test_what_was_condemned_at_the_start_stays_so(world: World) -> None:
    """The plan is carried out while the run goes on: its packs are gone, the local index still has them."""
    first = world.snapshot(every=0)
    packs = [info.pack_id for info in indexed_packs(world.client.open())]
    runs = listed(world.storage, names.RUNS)
    put_plan(world.client.open(), 1, packs)
    world.storage.delete(names.snapshot(first.id))
    done = False

    def carry_out(verb: str, name: str) -> None:
        nonlocal done
        if not done and verb == "put" and name.startswith(names.PACKS):
            done = True
            put_generation(world.client.open(), 1, [], [*runs], segments=0)
            for each in [*map(names.pack, packs), *runs]:
                world.storage.delete(each)
            put_plan_done(world.client.open(), 1)

    taken = world.snapshot(client=world.client.but(storage=WatchedStorage(world.storage, before=carry_out)), every=60)
    assert done
    assert len(world.ids()[0]) > 2
    assert broken_promises(world.client) == []
    assert world.client.restored_afresh(taken.id) == describe(world.tree)


@pytest.mark.parametrize("fenced", [1, 2, 3])
def test_a_run_that_is_fenced_begins_anew_after_its_checkpoints(world: World, fenced: int) -> None:
    """The tombstone is put after the session that follows was begun, or at any time before."""
    seen: list[SnapshotId] = []

    def look(verb: str, name: str) -> None:
        if verb == "put" and name.startswith(names.SESSIONS):
            each = SnapshotId(name.removeprefix(names.SESSIONS))
            if each not in seen:
                seen.append(each)
                if len(seen) == fenced + 1:
                    assert put_tombstone(world.client.open(), seen[-2])

    taken = world.snapshot(client=world.client.but(storage=WatchedStorage(world.storage, after=look)))
    partial, whole = world.ids()
    assert whole == [taken.id]
    assert partial[: fenced - 1] == seen[: fenced - 1]
    assert listed(world.storage, names.SESSIONS) == []
    trees = world.client.all_restored_afresh([*partial, taken.id])
    assert trees[taken.id] == describe(world.tree)
    ids = chunk_ids(indexed_packs(world.client.open()))
    assert len(ids) == len(set(ids)), "something was stored twice"


def test_a_fenced_run_reads_only_what_came_after_its_last_checkpoint(world: World) -> None:
    """The session that follows a checkpoint is fenced: the attempt after it merges with what the checkpoint has."""
    partial = 0

    def look(verb: str, name: str) -> None:
        nonlocal partial
        if verb == "put" and name.startswith(names.SESSIONS):
            partial += 1
            if partial == 4:  # three checkpoints are made, or about to be
                put_tombstone(world.client.open(), SnapshotId(name.removeprefix(names.SESSIONS)))

    taken = world.snapshot(client=world.client.but(storage=WatchedStorage(world.storage, after=look)))
    assert partial > 4
    assert taken.result.statistics.files_unchanged > 10
