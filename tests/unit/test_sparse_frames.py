"""Sparse frames: writers store again what only they have, as long as that does not cost too much."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from chunkstore.errors import Damaged
from chunkstore.format import names
from chunkstore.format.index import (
    Generation,
    IndexSegment,
    SparseFrames,
    decode_generation,
    encode_generation,
    encode_segment,
    segment_digest,
)
from chunkstore.format.kinds import ObjectKind
from chunkstore.format.pack import PackInfo
from chunkstore.format.wire import pack
from chunkstore.ids import ChunkId, PackId
from chunkstore.keys.derivation import ChunkKind
from chunkstore.progress import Silent
from chunkstore.repository.chunk_writer import ChunkWriter, WriteOptions
from chunkstore.repository.index_sync import sync_index
from chunkstore.repository.local_index import LocalIndex
from chunkstore.repository.session import WriteSession
from chunkstore.repository.sparse_frames import Renewal, mark_sparse
from chunkstore.storage import MemoryStorage
from tests.engine import (
    KIB,
    Client,
    broken_promises,
    chunk_ids,
    describe,
    indexed_packs,
    put_plan,
    run_indexes,
    temporary_directory,
)

FOREVER = 1 << 60


def publish(client: Client, number: int, sparse: Sequence[SparseFrames]) -> None:
    """A generation that holds what there is, with these frames as the sparse ones."""
    repository = client.open()
    runs = run_indexes(repository)
    body = encode_segment(IndexSegment(tuple(info for run in runs.values() for info in run.packs)))
    digest = segment_digest(body)
    repository.create(ObjectKind.INDEX_SEGMENT, names.segment(digest), body, os.urandom)
    generation = Generation(number, (digest,), frozenset(runs), frozenset(), tuple(sparse))
    body = encode_generation(generation)
    assert repository.create(ObjectKind.GENERATION, names.generation(number), body, os.urandom)


def all_of(packs: Sequence[PackInfo]) -> list[SparseFrames]:
    return [SparseFrames(info.pack_id, tuple(frame.offset for frame in info.frames)) for info in packs]


@dataclass
class World:
    """A repository that holds some chunks in frames of their own."""

    client: Client
    chunks: list[bytes]
    ids: list[ChunkId]

    def store(self, chunks: Sequence[bytes], **options: Any) -> list[ChunkId]:
        """Store them as one run; their ids."""
        return self.stored(chunks, **options)[0]

    def stored(self, chunks: Sequence[bytes], **options: Any) -> tuple[list[ChunkId], int]:
        """The same, with the number of chunks that had to be stored."""
        client = self.client
        repository, index = client.open("write"), client.index()
        session = WriteSession(repository, index, client.around, Silent())
        writing = WriteOptions(workers=0, **options)
        with ChunkWriter(repository, index, session.id, os.urandom, 4 * KIB, writing) as writer:
            ids = [writer.add(ChunkKind.CONTENT, each) for each in chunks]
            writer.flush()
            written = writer.written.chunks
        session.end()
        index.close()
        return ids, written

    @property
    def packs(self) -> list[PackInfo]:
        return indexed_packs(self.client.open())


@pytest.fixture
def world() -> Iterator[World]:
    with temporary_directory() as base:
        client = Client(MemoryStorage(), base)
        client.create(frame_size=4 * KIB)
        dice = random.Random(5)
        world = World(client, [dice.randbytes(3000) for _ in range(20)], [])
        world.ids = world.store(world.chunks)
        assert sum(len(info.frames) for info in world.packs) == 20
        yield world


# -- the format


def test_a_generation_without_sparse_frames_is_what_it_was() -> None:
    """Old generations are read, and new ones without any have the bytes of old ones."""
    old = pack({"number": 4, "segments": [bytes(32)], "absorbed": ["index/run-x"], "dropped": []})
    generation = Generation(4, (bytes(32),), frozenset({"index/run-x"}), frozenset())
    assert decode_generation(old, 4) == generation
    assert encode_generation(generation) == old


def test_sparse_frames_come_back() -> None:
    sparse = (SparseFrames(PackId(b"a" * 32), (0, 7, 2**32 - 1)), SparseFrames(PackId(b"b" * 32), ()))
    generation = Generation(4, (), frozenset(), frozenset(), sparse)
    assert decode_generation(encode_generation(generation), 4) == generation


@pytest.mark.parametrize(
    "sparse",
    [7, [7], [[b"x" * 32]], [[b"x" * 31, [1]]], [[b"x" * 32, 1]], [[b"x" * 32, [-1]]], [[b"x" * 32, [2**32]]],
     [[b"x" * 32, [True]]], [[b"x" * 32, ["1"]]], [["x" * 32, [1]]], [[b"x" * 32, [1], 2]], None],
)  # fmt: skip
def test_sparse_frames_that_can_not_be_are_damage(sparse: object) -> None:
    body = pack({"number": 4, "segments": [], "absorbed": [], "dropped": [], "sparse": sparse})
    with pytest.raises(Damaged):
        decode_generation(body, 4)


# -- what writers do


def test_chunks_in_sparse_frames_are_stored_again_once(world: World) -> None:
    sparse = [SparseFrames(each.pack_id, each.offsets[::2]) for each in all_of(world.packs)]
    marked = sum(len(each.offsets) for each in sparse)
    publish(world.client, 1, sparse)
    assert world.stored(world.chunks * 2) == (world.ids * 2, marked)
    assert world.stored(world.chunks) == (world.ids, 0), "they are in solid frames now"
    assert broken_promises(world.client) == []


def test_what_is_stored_again_has_a_budget(world: World) -> None:
    publish(world.client, 1, all_of(world.packs))
    assert world.stored(world.chunks, renew_percent=0, renew_floor=0)[1] == 0
    assert world.stored(world.chunks, renew_percent=0, renew_floor=9000)[1] == 3
    assert world.stored(world.chunks, renew_percent=25, renew_floor=0)[1] == 5
    assert world.stored(world.chunks)[1] == 20 - 3 - 5


def test_new_bytes_count_for_the_budget(world: World) -> None:
    publish(world.client, 1, all_of(world.packs))
    new = [os.urandom(3000) for _ in range(20)]
    assert world.stored([*new, *world.chunks], renew_percent=10, renew_floor=0)[1] == 20 + 4


def test_without_a_budget_sparse_frames_are_relied_on(world: World) -> None:
    """They are whole: a snapshot that uses them restores."""
    client = world.client
    with temporary_directory() as tree:
        (tree / "file").write_bytes(random.Random(1).randbytes(40_000))
        client.snapshot(tree)
        publish(client, 1, all_of(world.packs))
        (tree / "other").write_bytes((tree / "file").read_bytes())
        taken = client.snapshot(tree)
        assert client.restored_afresh(taken.id) == describe(tree)


def test_a_snapshot_renews_what_changed_files_need_and_leaves_unchanged_ones(world: World) -> None:
    client = world.client
    with temporary_directory() as tree:
        for name in ("kept", "read"):
            (tree / name).write_bytes(random.Random(name).randbytes(40_000))
        client.snapshot(tree)
        before = set(chunk_ids(world.packs))
        publish(client, 1, all_of(world.packs))
        os.utime(tree / "read", (1, 1))
        taken = client.snapshot(tree)
        again = [each for each in chunk_ids(world.packs) if each in before]
        assert len(again) > len(before), "nothing was stored again"
        assert 40_000 <= taken.result.statistics.bytes_new < 80_000
        assert client.restored_afresh(taken.id) == describe(tree)


def test_a_solid_place_that_is_condemned_is_none(world: World) -> None:
    """The sparse frame will be there, the solid one is about to go."""
    publish(world.client, 1, all_of(world.packs))
    first = len(world.packs)
    world.store(world.chunks)
    assert world.stored(world.chunks)[1] == 0
    put_plan(world.client.open(), 2, [info.pack_id for info in world.packs[first:]])
    assert world.stored(world.chunks)[1] == 20


# -- the local index


@pytest.fixture
def index(world: World) -> Iterator[LocalIndex]:
    index = world.client.index()
    yield index
    index.close()


def wanted(index: LocalIndex, ids: Sequence[ChunkId]) -> list[bool]:
    renewal = Renewal(index, 0, FOREVER)
    return [renewal.active and renewal.wants(each, 1, 0) for each in ids]


def test_the_newest_generation_says_which_frames_are_sparse(world: World, index: LocalIndex) -> None:
    packs = world.packs
    publish(world.client, 1, all_of(packs))
    sync_index(world.client.open(), index, Silent())
    assert wanted(index, world.ids) == [True] * 20
    sync_index(world.client.open(), index, Silent())
    assert wanted(index, world.ids) == [True] * 20
    one = packs[0].frames[0]
    publish(world.client, 2, [SparseFrames(packs[0].pack_id, (one.offset,))])
    sync_index(world.client.open(), index, Silent())
    assert wanted(index, world.ids) == [each in one.ids for each in world.ids]
    publish(world.client, 3, [])
    sync_index(world.client.open(), index, Silent())
    assert not Renewal(index, 0, FOREVER).active


def test_frames_that_are_not_here_are_left_out(world: World, index: LocalIndex) -> None:
    """Whatever a generation says, nothing but frames of the index is marked."""
    packs = world.packs
    made_up = [SparseFrames(PackId(os.urandom(32)), (1, 2)), SparseFrames(packs[0].pack_id, (1, 2, 2**32 - 1))]
    publish(world.client, 1, made_up)
    sync_index(world.client.open(), index, Silent())
    assert not Renewal(index, 0, FOREVER).active


def test_another_process_sees_them_too(world: World, index: LocalIndex) -> None:
    publish(world.client, 1, all_of(world.packs))
    sync_index(world.client.open(), index, Silent())
    other = world.client.index()
    assert wanted(other, world.ids) == [True] * 20
    other.close()


def test_marking_that_fails_marks_nothing(tmp_path: Path, world: World, index: LocalIndex) -> None:
    sync_index(world.client.open(), index, Silent())

    def fail() -> None:
        mark_sparse(index, all_of(world.packs))
        raise OSError("in the midst")

    with pytest.raises(OSError, match="in the midst"):
        index.change(fail)
    assert not Renewal(index, 0, FOREVER).active
