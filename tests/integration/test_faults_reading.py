"""Reading while a prune goes on, and reading what is damaged or forged: only what is hit is lost, and it is named."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from chunkstore.errors import Damaged
from chunkstore.format import names
from chunkstore.format.entries import FILE
from chunkstore.format.index import RunIndex, encode_run_index
from chunkstore.format.kinds import ObjectKind
from chunkstore.format.pack import Frame, PackInfo
from chunkstore.ids import ID_SIZE, ChunkId, new_snapshot_id
from chunkstore.keys.derivation import ChunkKind
from chunkstore.operations.opening import open_content
from chunkstore.operations.reading import reading
from chunkstore.operations.restore.restoring import Restored
from chunkstore.progress import Silent
from chunkstore.storage import MemoryStorage, Storage
from chunkstore.storage.faulty import RecordingStorage
from tests.engine import (
    Client,
    Taken,
    Tree,
    WatchedStorage,
    describe,
    flip,
    identity,
    indexed_packs,
    listed,
    make_tree,
    repack,
    repack_everything,
    run_indexes,
    temporary_directory,
)


@dataclass(frozen=True)
class World:
    """A client of a repository with one snapshot, and the chunks of each file."""

    client: Client
    taken: Taken
    tree: Tree
    chunks: dict[bytes, set[ChunkId]]

    @property
    def storage(self) -> Storage:
        return self.client.storage

    def content_packs(self) -> list[PackInfo]:
        return [info for info in indexed_packs(self.client.open()) if info.plane == ObjectKind.CONTENT_PACK]

    def files_with(self, frames: list[Frame]) -> set[bytes]:
        ids = {chunk_id for frame in frames for chunk_id in frame.ids}
        return {path for path, chunks in self.chunks.items() if chunks & ids}


@pytest.fixture
def world() -> Iterator[World]:
    with temporary_directory() as base:
        tree = base / "tree"
        make_tree(tree, seed=1, files=30)
        client = Client(MemoryStorage(), base / "client")
        client.create(frame_size=4 * 1024, pack_size=24 * 1024)
        taken = client.snapshot(tree)
        yield World(client, taken, describe(tree), chunks_of_files(client, taken, tree))


def chunks_of_files(client: Client, taken: Taken, root: Path) -> dict[bytes, set[ChunkId]]:
    """Path below the root -> ids."""
    repository, found = client.open(), {}
    skip = len(os.fsencode(root)) + 1
    with reading(repository, open_content(repository, identity), client.around, Silent()) as read:
        manifest = read.manifest(taken.record)
        for each in manifest.entries():
            if each.entry.kind == FILE:
                ids = b"".join(manifest.ids(each))
                found[each.path[skip:]] = {ChunkId(ids[at : at + ID_SIZE]) for at in range(0, len(ids), ID_SIZE)}
    return found


def check_losses(world: World, restored: tuple[Tree, Restored], lost: set[bytes]) -> None:
    """Exactly these files are reported and are not there; all others are as they were."""
    tree, done = restored
    expected = {path: what for path, what in world.tree.items() if path not in lost}
    # A directory changes when a file in it is given up, but its times are set at the end.
    assert tree == expected
    reported = {path for path in world.chunks if any(p.startswith(f"{path.decode()}: ") for p in done.problems)}
    assert reported == lost
    assert len(done.problems) == len(lost)


# -- a prune goes on


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("cache", [True, False])
def test_a_prune_moves_everything_before_any_call_of_a_restore(world: World, cache: bool, workers: int) -> None:
    """Readers start over at the index (I-1), whatever call it is that finds an object gone."""
    at, failed = 0, []
    original = world.storage
    while True:
        at += 1
        calls = 0
        storage = MemoryStorage()
        for info in original.list(""):
            storage.put(info.name, original.get(info.name))
        pruner = world.client.but(storage=storage)

        def prune(verb: str, name: str, at: int = at, pruner: Client = pruner) -> None:
            nonlocal calls
            calls += 1
            if calls == at:
                repack_everything(pruner, 1)

        with temporary_directory() as base:
            reader = world.client.copy(base / "reader").but(storage=WatchedStorage(storage, prune), workers=workers)
            if not cache:
                reader.without_cache()
            try:
                assert reader.restored(world.taken.id) == world.tree
            except Exception as e:
                failed.append(f"call {at}: {type(e).__name__}: {e}")
        if calls < at:
            break
    print(f"\npruned before each of {at - 1} calls of a restore, {workers} workers")
    assert at > 10
    assert failed == []


def test_two_prunes_during_one_restore(world: World) -> None:
    pruned = 0
    gets = 0

    def prune(verb: str, name: str) -> None:
        nonlocal pruned, gets
        gets += name.startswith(names.PACKS)
        if gets in (4, 6) and pruned < gets // 2 - 1:
            pruned += 1
            repack_everything(world.client, pruned)

    assert world.client.but(storage=WatchedStorage(world.storage, prune)).restored(world.taken.id) == world.tree
    assert pruned == 2


# -- damage


def _cut(storage: Storage, info: PackInfo) -> list[Frame]:
    name, frame = names.pack(info.pack_id), info.frames[len(info.frames) // 2]
    storage.put(name, storage.get(name)[: frame.offset + frame.stored - 1])
    return [each for each in info.frames if each.offset >= frame.offset]


def _flip(storage: Storage, info: PackInfo) -> list[Frame]:
    frame = info.frames[-1]
    flip(storage, names.pack(info.pack_id), frame.offset + frame.stored // 2)
    return [frame]


def _flip_padding(storage: Storage, info: PackInfo) -> list[Frame]:
    frame = info.frames[-1]
    flip(storage, names.pack(info.pack_id), frame.offset + frame.stored + 1)
    return []


def _delete(storage: Storage, info: PackInfo) -> list[Frame]:
    storage.delete(names.pack(info.pack_id))
    return list(info.frames)


def _empty(storage: Storage, info: PackInfo) -> list[Frame]:
    storage.put(names.pack(info.pack_id), b"")
    return list(info.frames)


def _rubbish(storage: Storage, info: PackInfo) -> list[Frame]:
    storage.put(names.pack(info.pack_id), os.urandom(info.size))
    return list(info.frames)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("harm", [_cut, _flip, _flip_padding, _delete, _empty, _rubbish])
def test_only_the_files_that_are_hit_are_lost(
    world: World, harm: Callable[[Storage, PackInfo], list[Frame]], workers: int
) -> None:
    packs = world.content_packs()
    assert len(packs) > 3
    assert len(packs[1].frames) > 3
    lost = world.files_with(harm(world.storage, packs[1]))
    assert len(lost) < len(world.chunks) - 8
    assert bool(lost) == (harm is not _flip_padding)
    for client in (world.client.but(workers=workers), world.client.but(workers=workers).without_cache()):
        check_losses(world, client.restore(world.taken.id), lost)


def test_any_flipped_byte_of_a_pack_loses_nothing_silently(world: World) -> None:
    """A sample: each frame, and what is between them."""
    info = world.content_packs()[0]
    name, whole = names.pack(info.pack_id), world.storage.get(names.pack(info.pack_id))
    for at in range(0, len(whole), 997):
        flip(world.storage, name, at)
        hit = [frame for frame in info.frames if frame.offset <= at < frame.offset + frame.stored]
        check_losses(world, world.client.restore(world.taken.id), world.files_with(hit))
        world.storage.put(name, whole)
    print(f"\n{len(range(0, len(whole), 997))} bytes flipped")


@pytest.mark.parametrize("harm", [_cut, _flip, _delete, _empty, _rubbish])
def test_a_damaged_tree_pack_ends_in_a_clear_error(
    world: World, harm: Callable[[Storage, PackInfo], list[Frame]]
) -> None:
    info = next(info for info in indexed_packs(world.client.open()) if info.plane == ObjectKind.TREE_PACK)
    harm(world.storage, info)
    with pytest.raises(Damaged, match=names.pack(info.pack_id)):
        world.client.restore(world.taken.id)


# -- chunks that are stored more than once


def copy_packs(world: World, plane: ObjectKind) -> list[PackInfo]:
    """What clients do that write the same at the same time: a second pack with the chunks of each."""
    repository = world.client.open()
    copies = [repack(repository, info) for info in indexed_packs(repository) if info.plane == plane]
    name = names.run_index(new_snapshot_id(os.urandom), 0)
    body = encode_run_index(RunIndex(new_snapshot_id(os.urandom), tuple(copies)))
    world.storage.put(name, repository.seal(ObjectKind.RUN_INDEX, name, body, os.urandom))
    return copies


@pytest.mark.parametrize("plane", [ObjectKind.CONTENT_PACK, ObjectKind.TREE_PACK])
@pytest.mark.parametrize("harm", [_cut, _flip, _delete, _empty, _rubbish])
def test_any_whole_copy_of_a_chunk_will_do(
    world: World, harm: Callable[[Storage, PackInfo], list[Frame]], plane: ObjectKind
) -> None:
    first = [info for info in indexed_packs(world.client.open()) if info.plane == plane]
    second = copy_packs(world, plane)
    for number, pair in enumerate(zip(first, second, strict=True)):
        harm(world.storage, pair[number % 2])
    for client in (world.client, world.client.but(workers=2).without_cache()):
        assert client.restored(world.taken.id) == world.tree
    if plane == ObjectKind.CONTENT_PACK:
        lost = world.files_with(harm(world.storage, first[1]))
        check_losses(world, world.client.restore(world.taken.id), lost)


def test_what_is_lost_does_not_cost_a_listing_each(world: World) -> None:
    """The newest index is asked for again a few times, not for every chunk."""
    packs = world.content_packs()
    for info in packs:
        world.storage.delete(names.pack(info.pack_id))
    recorded = RecordingStorage(world.storage)
    _, done = world.client.but(storage=recorded).restore(world.taken.id)
    assert len(done.problems) == len([chunks for chunks in world.chunks.values() if chunks])
    assert len([call for call in recorded.calls if call.verb == "list"]) < 20


# -- forgery by somebody who holds the index key


def forge(world: World, change: Callable[[Frame], Frame]) -> list[Frame]:
    """Put another index object in the place of one, in which a frame is changed; returns the frames that were."""
    repository, hit = world.client.open(), []
    for name, run in run_indexes(repository).items():
        infos = []
        for info in run.packs:
            if info.plane == ObjectKind.CONTENT_PACK and not hit:
                frame = next(each for each in info.frames if len(each.ids) > 2)
                hit.append(frame)
                frames = tuple(change(each) if each is frame else each for each in info.frames)
                info = replace(info, frames=frames)
            infos.append(info)
        body = encode_run_index(RunIndex(run.session, tuple(infos)))
        world.storage.put(name, repository.seal(ObjectKind.RUN_INDEX, name, body, os.urandom))
    world.client.without_cache()
    return hit


FORGERIES: dict[str, Callable[[Frame], Frame]] = {
    "ids of other chunks": lambda frame: replace(frame, ids=[frame.ids[-1], *frame.ids[:-1]], lengths=_turned(frame)),
    "other lengths": lambda frame: replace(
        frame, lengths=[frame.lengths[0] - 1, frame.lengths[1] + 1, *frame.lengths[2:]]
    ),
    "another place": lambda frame: replace(frame, offset=frame.offset + 1, stored=frame.stored - 1),
    "a shorter frame": lambda frame: replace(frame, stored=frame.stored - 1),
    "a larger raw size": lambda frame: replace(
        frame, raw=frame.raw + 4_000_000, lengths=[*frame.lengths[:-1], frame.lengths[-1] + 4_000_000]
    ),
}


def _turned(frame: Frame) -> list[int]:
    return [frame.lengths[-1], *frame.lengths[:-1]]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("how", FORGERIES)
def test_wrong_bytes_under_a_right_id_are_never_restored(world: World, how: str, workers: int) -> None:
    """Each chunk is checked against its id: the files are reported, the others are restored."""
    lost = world.files_with(forge(world, FORGERIES[how]))
    tree, done = world.client.but(workers=workers).restore(world.taken.id)
    assert {path: what for path, what in tree.items() if world.tree[path] != what} == {}
    assert {path for path in world.tree if path not in tree} <= lost
    assert 0 < len(done.problems) <= len(lost)


def test_a_slot_that_nobody_can_open_loses_its_files_only(world: World) -> None:
    repository, lost = world.client.open(), set()
    for name, run in run_indexes(repository).items():
        infos = list(run.packs)
        if not lost and infos[0].plane == ObjectKind.CONTENT_PACK:
            slot = replace(infos[0].slots[0], key_id=bytes(16), opener=bytes(16))
            lost = world.files_with(list(infos[0].frames))
            infos[0] = replace(infos[0], slots=(slot,))
        body = encode_run_index(RunIndex(run.session, tuple(infos)))
        world.storage.put(name, repository.seal(ObjectKind.RUN_INDEX, name, body, os.urandom))
    check_losses(world, world.client.without_cache().restore(world.taken.id), lost)


def test_a_chunk_of_another_kind_is_none(world: World) -> None:
    """Manifest bytes as a content chunk: ids of the kinds differ, so nothing fits."""
    with temporary_directory() as base:
        reader = world.client.copy(base / "reader")
        repository = reader.open()
        with reading(repository, open_content(repository, identity), reader.around, Silent()) as read:
            with pytest.raises(Damaged):
                read.reader.read(ChunkKind.CONTENT, world.taken.record.content_root)
            assert read.reader.read(ChunkKind.MANIFEST, world.taken.record.content_root)


# -- how much is asked for


def test_each_frame_is_fetched_once(world: World) -> None:
    recorded = RecordingStorage(world.storage)
    assert world.client.but(storage=recorded).restored(world.taken.id) == world.tree
    packs = [call for call in recorded.calls if call.verb == "get" and call.name.startswith(names.PACKS)]
    content = {names.pack(info.pack_id) for info in world.content_packs()}
    assert len([call for call in packs if call.name in content]) == len(content)
    assert sum(call.size for call in packs) < 3 * sum(
        len(world.storage.get(name)) for name in listed(world.storage, names.PACKS)
    )
