"""The writer's side of the protocol, with what pruners, other clients, forgers and bad disks put in its way."""

from __future__ import annotations

import contextlib
import os
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import pytest

from chunkstore.errors import ChunkstoreError, Damaged, Fenced, Interrupted, UntrustedRepository
from chunkstore.format import names
from chunkstore.format.config import encode_config
from chunkstore.format.kinds import ObjectKind
from chunkstore.format.pack import PackInfo
from chunkstore.format.runs import decode_session
from chunkstore.ids import ChunkId, PackId, SnapshotId
from chunkstore.operations.catalog import read_record, records
from chunkstore.operations.snapshot.run import cache_name
from chunkstore.progress import Silent
from chunkstore.repository.chunk_reader import ChunkReader, LedgerKeys
from chunkstore.repository.index_sync import sync_index
from chunkstore.storage import MemoryStorage, Storage
from chunkstore.storage.faulty import RecordingStorage
from chunkstore.storage.protocol import Buffer
from tests.engine import (
    HOUR,
    YEAR,
    Client,
    Clock,
    Taken,
    Tree,
    WatchedStorage,
    broken_promises,
    chunk_ids,
    clone,
    describe,
    edit_tree,
    flip,
    indexed_packs,
    listed,
    make_tree,
    put_generation,
    put_plan,
    put_plan_done,
    put_tombstone,
    referenced,
    run_indexes,
    snapshot_ids,
    temporary_directory,
)
from tests.storages import Fresh, everywhere

PLAN = names.plan(1)


@dataclass(frozen=True)
class World:
    """A client of a repository with one snapshot of a tree that has been edited since."""

    client: Client
    tree: Path
    first: Taken
    was: Tree
    now: Tree

    @property
    def storage(self) -> Storage:
        return self.client.storage

    def on(self, storage: Storage) -> Client:
        return self.client.but(storage=storage)

    def packs(self) -> list[PackInfo]:
        return indexed_packs(self.client.open())


@pytest.fixture
def world(fresh: Fresh) -> Iterator[World]:
    with temporary_directory() as base:
        tree = base / "tree"
        make_tree(tree, seed=1)
        client = Client(fresh().open(), base / "client")
        client.create(pack_size=8 * 1024)
        first, was = client.snapshot(tree), describe(tree)
        edit_tree(tree, seed=2)
        yield World(client, tree, first, was, describe(tree))


def stored_twice(packs: Sequence[PackInfo]) -> int:
    ids = chunk_ids(packs)
    return len(ids) - len(set(ids))


def commit_of(verb: str, name: str) -> SnapshotId | None:
    """The id that is about to be committed."""
    return (
        SnapshotId(name.removeprefix(names.SNAPSHOTS)) if (verb, name[:10]) == ("put_if_absent", "snapshots/") else None
    )


def finish_prune(client: Client, number: int, gone: set[PackId]) -> None:
    """What remains of a prune after its plan: a generation without `gone`, deletion, the mark that it is done."""
    repository, storage = client.open(), client.storage
    runs = run_indexes(repository)
    kept = [info for run in runs.values() for info in run.packs if info.pack_id not in gone]
    put_generation(repository, number, kept, list(runs))
    for name in runs:
        storage.delete(name)
    for pack_id in gone:
        storage.delete(names.pack(pack_id))
    put_plan_done(repository, number)


def needed_by(client: Client, snapshot_id: SnapshotId) -> set[ChunkId]:
    """All chunks that a snapshot needs, read by whoever still can."""
    repository, index = client.open(), client.index()
    found = read_record(repository, snapshot_id)
    assert found
    with contextlib.closing(index):
        sync_index(repository, index, Silent())
        return referenced(ChunkReader(repository, index, LedgerKeys(repository.key)), found.record)


# -- fences


@everywhere
def test_a_fenced_run_goes_on_under_a_new_id_and_uploads_nothing_again(world: World) -> None:
    fenced: list[SnapshotId] = []

    def fence(verb: str, name: str) -> None:
        session = commit_of(verb, name)
        if session and not fenced:
            assert put_tombstone(world.client.open(), session)
            fenced.append(session)

    recorded = RecordingStorage(world.storage)
    taken = world.on(WatchedStorage(recorded, before=fence)).snapshot(world.tree)
    assert taken.id not in fenced
    assert read_record(world.client.open(), fenced[0]) is None
    assert {each.record.id for each in records(world.client.open(), Silent())} == {world.first.id, taken.id}
    assert listed(world.storage, names.SESSIONS) == []
    assert stored_twice(world.packs()) == 0
    assert world.client.restored_afresh(taken.id) == world.now
    # The second attempt stores what it must: metadata of this moment, and nothing of what the first one stored.
    calls = [call for call in recorded.calls if call.verb != "get"]
    second = next(n for n, call in enumerate(calls) if call.name == names.session(taken.id))
    first_bytes = sum(call.size for call in calls[:second] if call.name.startswith(names.PACKS))
    second_bytes = sum(call.size for call in calls[second:] if call.name.startswith(names.PACKS))
    assert second_bytes < first_bytes / 2


def test_a_run_that_notices_in_the_midst_that_it_is_fenced_publishes_what_it_stored(world: World) -> None:
    """Else up to 32 packs of 16 MiB are uploaded for nothing; `Interrupted` publishes them too."""
    fenced: list[SnapshotId] = []
    client, clock = world.client, Clock()

    def fence(verb: str, name: str) -> None:
        if verb == "put" and name.startswith(names.PACKS) and not fenced:
            fenced.append(SnapshotId(listed(world.storage, names.SESSIONS)[0].removeprefix(names.SESSIONS)))
            assert put_tombstone(client.open(), fenced[0])
            clock.now += HOUR

    for seed in range(3, 8):
        edit_tree(world.tree, seed)
    slow = client.but(storage=WatchedStorage(world.storage, after=fence), clock=clock, packs_per_index_object=32)
    taken = slow.snapshot(world.tree)
    assert fenced
    assert taken.id not in fenced
    assert client.restored_afresh(taken.id) == describe(world.tree)
    indexed = {names.pack(info.pack_id) for info in world.packs()}
    orphans = set(listed(world.storage, names.PACKS)) - indexed
    assert orphans == set(), f"{len(orphans)} packs were stored and are in no index"


def test_a_run_that_is_fenced_again_and_again_gives_up(world: World) -> None:
    fenced: list[SnapshotId] = []

    def fence(verb: str, name: str) -> None:
        if session := commit_of(verb, name):
            put_tombstone(world.client.open(), session)
            fenced.append(session)

    with pytest.raises(Fenced):
        world.on(WatchedStorage(world.storage, before=fence)).snapshot(world.tree)
    assert len(set(fenced)) == len(fenced) == 5
    assert listed(world.storage, names.SESSIONS) == []
    taken = world.client.snapshot(world.tree)
    assert world.client.restored_afresh(taken.id) == world.now
    assert stored_twice(world.packs()) == 0


@everywhere
def test_fenced_by_a_prune_that_takes_what_the_run_had_stored(world: World) -> None:
    """The pruner took the run for dead, and its packs, which were in no index yet, for rubbish."""
    pruned: set[PackId] = set()

    def prune(verb: str, name: str) -> None:
        session = commit_of(verb, name)
        if not session or pruned:
            return
        repository = world.client.open()
        mine = {info.pack_id for n, run in run_indexes(repository).items() if session in n for info in run.packs}
        pruned.update(mine)
        put_plan(repository, 1, sorted(pruned))
        assert put_tombstone(repository, session)

    taken = world.on(WatchedStorage(world.storage, before=prune)).snapshot(world.tree)
    assert pruned
    finish_prune(world.client, 1, pruned)
    assert broken_promises(world.client) == []
    trees = world.client.all_restored_afresh([world.first.id, taken.id])
    assert trees == {world.first.id: world.was, taken.id: world.now}


# -- lost answers


class ForgetfulStorage(WatchedStorage):
    """Creates an object and says that there was one: what a client makes of an answer that got lost."""

    def put_if_absent(self, name: str, data: Buffer) -> bool:
        super().put_if_absent(name, data)
        return False


@everywhere
def test_an_answer_that_gets_lost_is_no_defeat(world: World) -> None:
    taken = world.on(ForgetfulStorage(world.storage)).snapshot(world.tree)
    assert set(snapshot_ids(world.storage)) == {world.first.id, taken.id}
    assert world.client.restored_afresh(taken.id) == world.now
    assert listed(world.storage, names.SESSIONS) == []


def test_records_of_a_client_are_a_chain(world: World) -> None:
    second = world.client.snapshot(world.tree)
    third = world.client.snapshot(world.tree)
    assert [each.record.sequence for each in (world.first, second, third)] == [0, 1, 2]
    assert world.first.record.previous == b""
    assert second.record.previous == world.first.result.signed.digest
    assert third.record.previous == second.result.signed.digest
    assert len({each.record.client for each in (world.first, second, third)}) == 1


# -- plans


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("planes", ["content", "tree", "all"])
def test_condemned_is_absent(world: World, planes: str, cache: bool) -> None:
    """What an open plan names is stored again, and the snapshot outlives the prune."""
    wanted = {"content": {ObjectKind.CONTENT_PACK}, "tree": {ObjectKind.TREE_PACK}}.get(planes, set(ObjectKind))
    gone = {info.pack_id for info in world.packs() if info.plane in wanted}
    assert gone
    put_plan(world.client.open(), 1, sorted(gone))
    if not cache:
        world.client.without_cache()
    taken = world.client.snapshot(world.tree)
    assert taken.warnings == []
    again = world.client.snapshot(world.tree)  # what the second run stored is in no condemned pack
    own = [info for info in world.packs() if info.pack_id not in gone]
    assert stored_twice(own) == 0
    world.storage.delete(names.snapshot(world.first.id))
    finish_prune(world.client, 1, gone)
    assert broken_promises(world.client) == []
    assert world.client.all_restored([taken.id, again.id]) == {taken.id: world.now, again.id: world.now}
    assert world.client.all_restored_afresh([taken.id, again.id]) == {taken.id: world.now, again.id: world.now}
    after = world.client.snapshot(world.tree)
    assert world.client.restored_afresh(after.id) == world.now
    assert stored_twice(own + world.packs()) == 0


@everywhere
def test_another_copy_is_used_when_a_condemned_pack_is_gone_and_the_index_still_names_it(world: World) -> None:
    """A pruner deletes after it published the generation; but somebody who deletes a pack by hand does not."""
    gone = {info.pack_id for info in world.packs()}
    put_plan(world.client.open(), 1, sorted(gone))
    taken = world.client.snapshot(world.tree)
    for pack_id in gone:
        world.storage.delete(names.pack(pack_id))
    assert world.client.restored_afresh(taken.id) == world.now


def test_a_plan_that_is_done_condemns_nothing(world: World) -> None:
    put_plan(world.client.open(), 1, [info.pack_id for info in world.packs()])
    put_plan_done(world.client.open(), 1)
    for client in (world.client, world.client.without_cache()):
        taken = client.snapshot(world.tree)
        assert taken.warnings == []
        assert stored_twice(world.packs()) == 0
        assert client.restored_afresh(taken.id) == world.now


@everywhere
def test_of_two_plans_the_open_one_counts(world: World) -> None:
    packs = sorted(info.pack_id for info in world.packs())
    put_plan(world.client.open(), 1, packs[1:])
    put_plan_done(world.client.open(), 1)
    put_plan(world.client.open(), 2, packs[:1])
    taken = world.client.snapshot(world.tree)
    mine = [info for info in world.packs() if info.pack_id not in packs]
    named_again = set(chunk_ids(mine)) & set(chunk_ids([info for info in world.packs() if info.pack_id in packs[1:]]))
    assert named_again == set()
    world.storage.delete(names.snapshot(world.first.id))
    finish_prune(world.client, 2, {packs[0]})
    assert world.client.restored_afresh(taken.id) == world.now


Spoil = Callable[[World], bytes]

SPOILED: dict[str, Spoil] = {
    "empty": lambda world: b"",
    "random": lambda world: random.Random(1).randbytes(4096),
    "cut off": lambda world: _plan(world)[:100],
    "flipped": lambda world: bytes(byte ^ (at == 2000) for at, byte in enumerate(_plan(world))),
    "of another kind": lambda world: world.storage.get(names.snapshot(world.first.id)),
}


def _plan(world: World) -> bytes:
    """A plan as it is stored."""
    trial = world.on(clone(world.storage))
    put_plan(trial.open(), 1, [info.pack_id for info in world.packs()])
    return trial.storage.get(PLAN)


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("how", SPOILED)
def test_a_plan_that_can_not_be_read_may_condemn_anything(world: World, how: str, cache: bool) -> None:
    world.storage.put(PLAN, SPOILED[how](world))
    before, runs = world.packs(), listed(world.storage, names.RUNS)
    if not cache:
        world.client.without_cache()
    taken = world.client.snapshot(world.tree)
    assert any(PLAN in warning for warning in taken.warnings)
    for info in before:
        world.storage.delete(names.pack(info.pack_id))
    for name in runs:
        world.storage.delete(name)
    assert world.client.restored_afresh(taken.id) == world.now


@pytest.mark.parametrize("how", ["cut off", "random"])
def test_a_mark_that_can_not_be_read_leaves_the_plan_open(world: World, how: str) -> None:
    packs = world.packs()
    put_plan(world.client.open(), 1, [info.pack_id for info in packs])
    put_plan_done(world.client.open(), 1)
    mark = names.plan_done(1)
    world.storage.put(mark, world.storage.get(mark)[:-5] if how == "cut off" else os.urandom(4096))
    taken = world.client.snapshot(world.tree)
    assert any(mark in warning for warning in taken.warnings)
    for info in packs:
        world.storage.delete(names.pack(info.pack_id))
    for name in listed(world.storage, names.RUNS):
        if taken.id not in name:
            world.storage.delete(name)
    assert world.client.restored_afresh(taken.id) == world.now


# -- index objects


def forged(world: World) -> bytes:
    """An index object of somebody else's repository."""
    with temporary_directory() as base:
        stranger = Client(MemoryStorage(), base, random_bytes=os.urandom)
        stranger.create()
        stranger.snapshot(world.tree)
        return stranger.storage.get(listed(stranger.storage, names.RUNS)[0])


@pytest.mark.parametrize("cache", [True, False])
def test_index_objects_that_are_not_authentic_are_left_out(world: World, cache: bool) -> None:
    strange = {
        f"{names.RUNS}{'0' * 32}-000000": forged(world),
        f"{names.RUNS}{'1' * 32}-000000": b"",
        f"{names.RUNS}{'2' * 32}-000000": os.urandom(8192),
        f"{names.RUNS}zzz": os.urandom(100),
        f"{names.RUNS}{'3' * 32}-000000": world.storage.get(listed(world.storage, names.RUNS)[0]),  # renamed
    }
    for name, data in strange.items():
        world.storage.put(name, data)
    if not cache:
        world.client.without_cache()
    taken = world.client.snapshot(world.tree)
    for name in strange:
        assert any(name in warning for warning in taken.warnings)
    assert world.client.restored_afresh(taken.id) == world.now
    assert world.client.restored_afresh(world.first.id) == world.was
    assert stored_twice(world.packs()) == 0


@pytest.mark.parametrize("at", [0, 20, 50, 60, 100, 130, 4000])
def test_what_only_a_damaged_index_object_names_is_stored_again(world: World, at: int) -> None:
    """By a client that has to read it; the others know its rows."""
    for name in listed(world.storage, names.RUNS):
        flip(world.storage, name, at)
    taken = world.client.without_cache().snapshot(world.tree)
    assert len(taken.warnings) == len(listed(world.storage, names.RUNS)) - _runs_of(world, taken)
    assert world.client.restored_afresh(taken.id) == world.now


def _runs_of(world: World, taken: Taken) -> int:
    return sum(taken.id in name for name in listed(world.storage, names.RUNS))


def test_a_flipped_bit_in_any_byte_of_a_header_blocks_nothing(world: World) -> None:
    """Unauthentic objects are reported by name, never obeyed, nor do they block anything for ever (design, section 4)."""
    name, blocked = listed(world.storage, names.RUNS)[0], []
    whole = world.storage.get(name)
    for at in range(120):
        flip(world.storage, name, at)
        index = world.client.without_cache().index()
        progress = Silent()
        try:
            sync_index(world.client.open(), index, progress)
            assert any(name in warning for warning in progress.warnings)
        except Exception as e:
            blocked.append(f"byte {at}: {type(e).__name__}")
        index.close()
        world.storage.put(name, whole)
    assert blocked == []


@pytest.mark.parametrize("lost", ["damaged", "missing"])
def test_an_index_object_is_lost_while_the_last_manifest_is_kept(world: World, lost: str) -> None:
    """Taking over blindly is only right where the index still names what is taken over: the files are still here."""
    cache = world.client.places.cache_directory(world.client.open().key.repository_id)
    for name in listed(world.storage, names.RUNS):
        if lost == "missing":
            world.storage.delete(name)
        else:
            flip(world.storage, name)
    if lost == "damaged":
        for file in cache.glob("index.sqlite*"):
            file.unlink()
    taken = world.client.snapshot(world.tree)
    assert world.client.restored_afresh(taken.id) == world.now


# -- generations


@pytest.mark.parametrize("deleted", [True, False], ids=["absorbed runs deleted", "not deleted yet"])
@pytest.mark.parametrize("cache", [True, False])
def test_a_generation_takes_the_place_of_what_it_absorbs(world: World, cache: bool, deleted: bool) -> None:
    second = world.client.snapshot(world.tree)
    runs = run_indexes(world.client.open())
    assert len(runs) > 2
    absorbed = sorted(runs)[:-1]
    packs = [info for name in absorbed for info in runs[name].packs]
    put_generation(world.client.open(), 1, packs, absorbed, segments=3)
    if deleted:
        for name in absorbed:
            world.storage.delete(name)
    if not cache:
        world.client.without_cache()
    expected = {world.first.id: world.was, second.id: world.now}
    assert world.client.all_restored([world.first.id, second.id]) == expected
    assert world.client.all_restored_afresh([world.first.id, second.id]) == expected
    edit_tree(world.tree, seed=9)
    everything = set(chunk_ids(packs)) | set(chunk_ids(world.packs()))
    third = world.client.snapshot(world.tree)
    assert third.warnings == []
    assert third.record.generation == 1
    stored = chunk_ids(
        [info for name, run in run_indexes(world.client.open()).items() if third.id in name for info in run.packs]
    )
    assert stored
    assert not set(stored) & everything
    assert world.client.restored_afresh(third.id) == describe(world.tree)


@everywhere
def test_a_new_generation_drops_what_the_last_one_held(world: World) -> None:
    """A machine that was away for two generations; a run after it must not rely on what was dropped."""
    runs = run_indexes(world.client.open())
    packs = world.packs()
    away = world.client.copy(world.tree.parent / "away")
    put_generation(world.client.open(), 1, packs, list(runs))
    put_generation(world.client.open(), 2, packs[1:], list(runs))
    for name in (*runs, names.generation(1), names.pack(packs[0].pack_id), names.snapshot(world.first.id)):
        world.storage.delete(name)
    for client in (world.client, away):
        taken = client.snapshot(world.tree)
        assert client.restored_afresh(taken.id) == world.now
        assert broken_promises(client) == []


def test_locations_in_packs_that_were_dropped_while_in_no_index_never_count(world: World) -> None:
    """Its writer published the index object after the pruner had listed: the object is there, the pack is not."""
    dropped = [info.pack_id for info in world.packs()]
    world.storage.delete(names.snapshot(world.first.id))
    put_generation(world.client.open(), 1, [], [], dropped, segments=1)
    for pack_id in dropped:
        world.storage.delete(names.pack(pack_id))
    for client in (world.client, world.client.without_cache()):
        taken = client.snapshot(world.tree)
        assert client.restored_afresh(taken.id) == world.now


def test_a_damaged_segment_is_left_out(world: World) -> None:
    runs = run_indexes(world.client.open())
    put_generation(world.client.open(), 1, world.packs(), list(runs))
    for name in runs:
        world.storage.delete(name)
    damaged = listed(world.storage, names.SEGMENTS)[0]
    flip(world.storage, damaged)
    taken = world.client.without_cache().snapshot(world.tree)
    assert any(damaged in warning for warning in taken.warnings)
    assert world.client.restored_afresh(taken.id) == world.now


def test_a_segment_that_turns_up_damaged_is_left_out_by_who_has_the_last_manifest(world: World) -> None:
    """The rows of the runs go, those of the segment do not come: what was known is not known any more."""
    runs = run_indexes(world.client.open())
    put_generation(world.client.open(), 1, world.packs(), list(runs))
    for name in runs:
        world.storage.delete(name)
    for name in listed(world.storage, names.SEGMENTS):
        flip(world.storage, name)
    taken = world.client.snapshot(world.tree)
    assert len(taken.warnings) == 2
    assert world.client.restored_afresh(taken.id) == world.now


def _generations(world: World, newest: int) -> None:
    repository, runs = world.client.open(), run_indexes(world.client.open())
    for number in range(1, newest + 1):
        put_generation(repository, number, world.packs(), list(runs))


@pytest.mark.parametrize("remembered", ["cache", "state"])
def test_a_generation_that_goes_back_is_refused(world: World, remembered: str) -> None:
    _generations(world, 2)
    world.client.snapshot(world.tree)
    for gone in ([names.generation(2)], [names.generation(1)]):
        for name in gone:
            world.storage.delete(name)
        if remembered == "state":
            world.client.without_cache()
        with pytest.raises(UntrustedRepository, match="older generation"):
            world.client.snapshot(world.tree)
        with pytest.raises(UntrustedRepository, match="older generation"):
            world.client.restored(world.first.id)
    _put_back(world, 3)
    assert world.client.restored(world.client.snapshot(world.tree).id) == world.now


def _put_back(world: World, number: int) -> None:
    put_generation(world.client.open(), number, world.packs(), list(run_indexes(world.client.open())))


@pytest.mark.parametrize("number", [1, 9_999_999_999_999_999])
def test_a_forged_generation_blocks_nothing(world: World, number: int) -> None:
    """Whoever can write to the storage can put rubbish there; it is reported, and snapshots go on."""
    world.storage.put(names.generation(number), os.urandom(4096))
    taken = world.client.snapshot(world.tree)
    assert any(names.generation(number) in warning for warning in taken.warnings)
    assert world.client.restored_afresh(taken.id) == world.now


@pytest.mark.parametrize("older", [True, False], ids=["the one before is there", "no other is there"])
@pytest.mark.parametrize("how", ["cut off", "random"])
def test_a_damaged_generation_never_brings_back_what_it_dropped(world: World, how: str, older: bool) -> None:
    """Leaving it out must not mean to believe what was true before it: its packs are gone. Refused, or stored again."""
    runs, packs = run_indexes(world.client.open()), world.packs()
    if older:
        put_generation(world.client.open(), 1, packs, list(runs))
    put_generation(world.client.open(), 2, packs[1:], list(runs))
    put_plan(world.client.open(), 2, [packs[0].pack_id])
    put_plan_done(world.client.open(), 2)
    world.storage.delete(names.snapshot(world.first.id))
    world.storage.delete(names.pack(packs[0].pack_id))  # and the runs it absorbed are about to be deleted
    newest = names.generation(2)
    world.storage.put(newest, world.storage.get(newest)[:-9] if how == "cut off" else os.urandom(4096))
    for client in (world.client, world.client.without_cache()):
        with contextlib.suppress(UntrustedRepository, Damaged):
            client.snapshot(world.tree)
    for snapshot_id in snapshot_ids(world.storage):
        assert read_record(world.client.open(), snapshot_id)
        stored = set(chunk_ids([each for each in world.packs() if each.pack_id != packs[0].pack_id]))
        with temporary_directory() as base:
            reader = world.client.copy(base / "reader")
            assert needed_by(reader, snapshot_id) <= stored


# -- config


def _put_config(client: Client, number: int) -> None:
    repository = client.open()
    body = encode_config(replace(repository.config, number=number))
    assert repository.create(ObjectKind.CONFIG, names.config(number), body, os.urandom)


def test_a_config_that_goes_back_is_refused(world: World) -> None:
    _put_config(world.client, 1)
    assert world.client.open().config.number == 1
    world.storage.delete(names.config(1))
    for operation in ("read", "write", "prune", "check"):
        with pytest.raises(UntrustedRepository, match="went back from number 1 to 0"):
            world.client.open(operation)
    _put_config_again = world.storage.get(names.config(0))
    assert _put_config_again
    with pytest.raises(UntrustedRepository):
        world.client.snapshot(world.tree)


def test_a_new_config_is_remembered_without_losing_the_sequence(world: World) -> None:
    _put_config(world.client, 3)
    second = world.client.snapshot(world.tree)
    assert second.record.sequence == 1
    assert world.client.open().state.config == 3
    assert world.client.open().state.sequence == 2


def test_a_forged_config_blocks_nothing(world: World) -> None:
    world.storage.put(names.config(9_999_999_999_999_999), os.urandom(4096))
    taken = world.client.snapshot(world.tree)
    assert world.client.restored_afresh(taken.id) == world.now


# -- clocks


def _session_puts(recorded: RecordingStorage) -> int:
    return sum(call.verb == "put" and call.name.startswith(names.SESSIONS) for call in recorded.calls)


def test_the_heart_beats_once_a_minute(world: World) -> None:
    """At each beat the session is put again and the place of the record is looked at."""
    sessions = []

    def look(verb: str, name: str) -> None:
        if verb == "put" and name.startswith(names.SESSIONS):
            session_id = SnapshotId(name.removeprefix(names.SESSIONS))
            _, body = world.client.open().read(name, ObjectKind.SESSION)
            sessions.append(decode_session(body, session_id))

    recorded = RecordingStorage(world.storage)
    client = world.on(WatchedStorage(recorded, after=look)).but(clock=Clock(step=10 * 10**9))
    taken = client.snapshot(world.tree)
    beats = [session.beat for session in sessions]
    assert len(beats) >= 2
    assert all(60 * 10**9 <= b - a < 70 * 10**9 for a, b in pairwise(beats))
    assert {session.started for session in sessions} == {beats[0]}
    assert {(session.id, session.host) for session in sessions} == {(taken.id, "host")}
    looks = [call for call in recorded.calls if (call.verb, call.name) == ("stat", names.snapshot(taken.id))]
    assert len(looks) == len(beats) - 1


@pytest.fixture
def image() -> Iterator[tuple[Client, Path]]:
    """A client of a repository that cuts every 16 KiB, and a tree of one large file."""
    with temporary_directory() as base:
        tree = base / "tree"
        tree.mkdir()
        (tree / "image").write_bytes(random.Random(5).randbytes(4 << 20))
        client = Client(MemoryStorage(), base / "client")
        client.create("fixed:16K", 64 << 10, 64 << 10)
        yield client, tree


def test_the_heart_beats_in_the_midst_of_one_file(image: tuple[Client, Path]) -> None:
    """Chunks of at most 64 KiB (`fixed:64K`, small FastCDC sizes) are no reason to be silent for the whole of a file."""
    client, tree = image
    recorded, clock = RecordingStorage(client.storage), Clock(step=0)

    def later(verb: str, name: str) -> None:
        if verb == "put" and name.startswith(names.PACKS):
            clock.now += 10 * 10**9

    client.but(storage=WatchedStorage(recorded, after=later), clock=clock).snapshot(tree)
    packs = sum(call.name.startswith(names.PACKS) for call in recorded.calls)
    assert packs > 60
    assert _session_puts(recorded) > packs / 10


def test_a_run_can_be_interrupted_in_the_midst_of_one_file(image: tuple[Client, Path]) -> None:
    client, tree = image
    recorded = RecordingStorage(client.storage)

    def stored() -> int:
        return sum(call.name.startswith(names.PACKS) for call in recorded.calls)

    with pytest.raises(Interrupted):
        client.but(storage=recorded, stop=lambda: stored() > 10).snapshot(tree)
    assert stored() < 20


def test_no_beat_within_a_minute(world: World) -> None:
    recorded = RecordingStorage(world.storage)
    world.on(recorded).but(clock=Clock(step=10**6)).snapshot(world.tree)
    assert _session_puts(recorded) == 1


class WildClock:
    """Goes on, or jumps by up to eighty years, at random; from 1970 to 2250, as kernels do."""

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)
        self._now = self._dice.randrange(280 * YEAR)

    def __call__(self) -> int:
        if self._dice.random() < 0.5:
            self._now += self._dice.randrange(-80 * YEAR, 80 * YEAR)
        self._now = min(max(self._now + 10**6, 0), 280 * YEAR)
        return self._now


@pytest.mark.parametrize("seed", range(6))
def test_no_clock_breaks_a_snapshot(world: World, seed: int) -> None:
    """Backwards, forwards: sessions stay readable, snapshots are whole."""
    beats: list[int] = []

    def look(verb: str, name: str) -> None:
        if name.startswith(names.SESSIONS) and verb == "put":
            _, body = world.client.open().read(name, ObjectKind.SESSION)
            beats.append(decode_session(body, SnapshotId(name.removeprefix(names.SESSIONS))).beat)

    client = world.on(WatchedStorage(world.storage, after=look)).but(clock=WildClock(seed))
    trees = {world.first.id: world.was}
    for n in range(4):
        taken = client.snapshot(world.tree)
        assert taken.warnings == []
        trees[taken.id] = describe(world.tree)
        edit_tree(world.tree, 20 + n)
    assert client.all_restored_afresh(list(trees)) == trees
    assert len([each for each in records(client.open(), Silent()) if not each.record.partial]) == len(trees)
    assert len(beats) > 4


@pytest.mark.parametrize("now", [-YEAR, 300 * YEAR, 600 * YEAR])
def test_a_time_that_no_field_holds_ends_in_nothing_unreadable(world: World, now: int) -> None:
    """Such a run may fail, but only before it commits something that nobody can read."""
    with contextlib.suppress(Exception):
        world.on(world.storage).but(clock=Clock(now)).snapshot(world.tree)
    for snapshot_id in snapshot_ids(world.storage):
        assert read_record(world.client.open(), snapshot_id)
    for name in listed(world.storage, names.SESSIONS):
        _, body = world.client.open().read(name, ObjectKind.SESSION)
        decode_session(body, SnapshotId(name.removeprefix(names.SESSIONS)))


def test_a_session_of_a_clock_before_1970_can_be_read(world: World) -> None:
    unreadable = []

    def look(verb: str, name: str) -> None:
        if name.startswith(names.SESSIONS) and verb == "put":
            _, body = world.client.open().read(name, ObjectKind.SESSION)
            try:
                decode_session(body, SnapshotId(name.removeprefix(names.SESSIONS)))
            except Damaged as e:
                unreadable.append(str(e))

    world.on(WatchedStorage(world.storage, after=look)).but(clock=Clock(-YEAR)).snapshot(world.tree)
    assert unreadable == []


# -- the disk of the cache


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a disk that is always full")
@pytest.mark.parametrize("suffix", [".ids", ".new"])
def test_a_full_disk_under_the_cache_harms_no_snapshot(suffix: str) -> None:
    """The last manifest is a cache. Whether the run ends with an error or not: what it committed is whole."""
    with temporary_directory() as base:
        tree = base / "tree"
        make_tree(tree, seed=1, files=60)
        (tree / "b" / "huge").write_bytes(random.Random(3).randbytes(12 << 20))
        client = Client(MemoryStorage(), base / "client")
        client.create("fixed:1K", 1 << 19, 4 << 20)
        session = random.Random(99).randbytes(16).hex()
        cache = client.places.cache_directory(client.open().key.repository_id)
        (cache / f"{cache_name('host', [os.fsencode(tree)])}-{session}{suffix}").symlink_to("/dev/full")
        with contextlib.suppress(ChunkstoreError, OSError):
            assert client.but(random_bytes=random.Random(99).randbytes).snapshot(tree).id == session
        for snapshot_id in snapshot_ids(client.storage):
            assert client.restored_afresh(snapshot_id) == describe(tree)
        assert client.restored_afresh(client.snapshot(tree).id) == describe(tree)


# -- others at the same time


def other_machine(world: World, base: Path) -> Client:
    """A second client with the same keys, an own id and no cache."""
    return world.client.copy(base).without_cache()


@everywhere
def test_two_machines_at_once(world: World) -> None:
    other = other_machine(world, world.tree.parent / "other")
    taken: list[Taken] = []

    def meanwhile(verb: str, name: str) -> None:
        if commit_of(verb, name) and not taken:
            taken.append(other.snapshot(world.tree))

    mine = world.on(WatchedStorage(world.storage, before=meanwhile)).snapshot(world.tree)
    assert world.client.all_restored_afresh([mine.id, taken[0].id]) == {mine.id: world.now, taken[0].id: world.now}
    assert broken_promises(world.client) == []


@pytest.mark.parametrize("when", ["sessions/", "prunes/", "index/run-", "index/generation-", "packs/"])
def test_two_runs_of_one_machine_at_once(world: World, when: str) -> None:
    """They share the state, the index and the last manifest; one begins and ends in the midst of the other."""
    taken: list[Taken] = []

    def meanwhile(verb: str, name: str) -> None:
        if name.startswith(when) and not taken:
            taken.append(world.client.snapshot(world.tree))

    mine = world.on(WatchedStorage(world.storage, after=meanwhile)).snapshot(world.tree)
    ids = [mine.id, taken[0].id]
    assert mine.record.sequence == taken[0].record.sequence + 1
    assert mine.record.previous == taken[0].result.signed.digest
    assert world.client.all_restored_afresh(ids) == dict.fromkeys(ids, world.now)
    again = world.client.snapshot(world.tree)
    assert world.client.restored_afresh(again.id) == world.now
    assert again.result.statistics.files_new == 0


@everywhere
def test_a_slow_reader_does_not_bring_back_what_a_prune_dropped(world: World) -> None:
    """A reader has no session, so a prune does not wait for it. It shares the local index with the writers of this
    machine, and must not put rows there that are older than what they have synced."""
    world.client.without_cache()
    last_run = listed(world.storage, names.RUNS)[-1]
    at_work, go_on = threading.Event(), threading.Event()

    def wait(verb: str, name: str) -> None:
        if (verb, name) == ("get", last_run):
            at_work.set()
            assert go_on.wait(60)

    reader = world.on(WatchedStorage(world.storage, after=wait))

    def read() -> None:
        index = reader.index()
        sync_index(reader.open(), index, Silent())
        index.close()

    slow = threading.Thread(target=read)
    slow.start()
    assert at_work.wait(60)
    world.storage.delete(names.snapshot(world.first.id))
    gone = {info.pack_id for info in world.packs()}
    put_plan(world.client.open(), 1, sorted(gone))
    finish_prune(world.client, 1, gone)

    def stop() -> bool:
        """Is first asked when the writer has synced, and has not looked for any chunk."""
        go_on.set()
        slow.join(60)
        return False

    taken = world.client.but(stop=stop).snapshot(world.tree)
    assert broken_promises(world.client) == []
    assert world.client.restored_afresh(taken.id) == world.now
