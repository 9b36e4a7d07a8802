"""Numbers of small repositories, counted here by brute force, from what is stored and with sets of ids."""

from __future__ import annotations

import contextlib
import hashlib
import random
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chunkstore.format import names
from chunkstore.format.pack import PackInfo, read_pack
from chunkstore.format.tree_nodes import NodeRef, ReferenceNode, RunRef, SegmentRef, encode_reference_node
from chunkstore.ids import ChunkId, SnapshotId
from chunkstore.operations.catalog import Snapshot, snapshots
from chunkstore.operations.live import LiveChunks
from chunkstore.operations.pack_listing import PackListing
from chunkstore.operations.stats.chunks import OwnedChunks
from chunkstore.operations.stats.counting import stats
from chunkstore.operations.stats.owners import OwnedIds, Owners
from chunkstore.operations.stats.values import Amount, Stats
from chunkstore.operations.usage import measure
from chunkstore.progress import Silent
from chunkstore.repository.chunk_reader import ChunkReader, LedgerKeys
from chunkstore.repository.id_buckets import BUCKETS
from chunkstore.repository.index_scan import IndexScan
from chunkstore.repository.index_sync import sync_index
from chunkstore.storage import MemoryStorage
from tests.engine import (
    KIB,
    Client,
    Taken,
    edit_tree,
    flip,
    indexed_packs,
    listed,
    make_tree,
    pack_id_of,
    put_tombstone,
    referenced,
    repack_everything,
)


def everything(among: Collection[Snapshot]) -> list[Snapshot]:
    return [*among]


def of(*ids: SnapshotId) -> object:
    return lambda among: [each for each in among if each.record.id in ids]


def ask(client: Client, choose: object = everything, group_by: Collection[str] = ("host",)) -> Stats:
    return stats(client.open(), choose, group_by, client.around, Silent())  # type: ignore[arg-type]


@pytest.fixture
def client(tmp_path: Path) -> Client:
    """A repository of packs so small that a snapshot has several."""
    client = Client(MemoryStorage(), tmp_path / "client")
    client.create(frame_size=4 * KIB, pack_size=8 * KIB)
    return client


@pytest.fixture
def taken(client: Client, tmp_path: Path) -> list[Taken]:
    """Snapshots of two trees; the second is a part of the first; and what one of the first tree had alone."""
    tree = tmp_path / "tree"
    make_tree(tree, 1)
    found = [client.snapshot(tree)]
    for seed in (2, 3):
        edit_tree(tree, seed)
        found.append(client.snapshot(tree))
    return [*found, client.snapshot(tree / "a"), client.snapshot(tree / "b")]


class Spot(NamedTuple):
    """Where a chunk is: the sizes that make its share."""

    raw: int
    stored: int
    tree: bool


def spots(client: Client) -> dict[ChunkId, Spot]:
    """The place of each chunk, which must have one only."""
    found: dict[ChunkId, Spot] = {}
    for info in indexed_packs(client.open()):
        for frame in info.frames:
            at = 0
            for chunk_id, length in zip(frame.ids, frame.lengths, strict=True):
                assert chunk_id not in found
                share = (at + length) * frame.stored // frame.raw - at * frame.stored // frame.raw
                found[chunk_id] = Spot(length, share, info.plane.name == "TREE_PACK")
                at += length
    return found


@contextlib.contextmanager
def reader_of(client: Client) -> Iterator[ChunkReader]:
    repository, index = client.open(), client.index()
    with contextlib.closing(index):
        sync_index(repository, index, Silent())
        yield ChunkReader(repository, index, LedgerKeys(repository.key))


def needed(client: Client) -> dict[SnapshotId, set[ChunkId]]:
    """What each snapshot needs."""
    with reader_of(client) as reader:
        found = [each.record for each in snapshots(client.open(), Silent())]
        return {record.id: referenced(reader, record) for record in found}


def amount(of_ids: Collection[ChunkId], places: dict[ChunkId, Spot]) -> Amount:
    there = [places[each] for each in of_ids]
    return Amount(len(there), sum(each.raw for each in there), sum(each.stored for each in there))


def alone(ids: Collection[SnapshotId], need: dict[SnapshotId, set[ChunkId]]) -> set[ChunkId]:
    """What these snapshots need and no other does."""
    mine = set().union(*(need[each] for each in ids))
    return mine - set().union(*(of_others for each, of_others in need.items() if each not in ids))


def by_group(found: Stats) -> dict[tuple[bytes, ...] | None, tuple[set[SnapshotId], Amount]]:
    return {each.group.paths: ({one.record.id for one in each.group.snapshots}, each.unique) for each in found.groups}


# -- exact numbers


def test_every_number_is_what_counting_by_hand_gives(client: Client, taken: Sequence[Taken]) -> None:
    found, need, places = ask(client, group_by=("paths",)), needed(client), spots(client)
    assert found.complete
    assert {each.snapshot.record.id: each.unique for each in found.shares} == {
        each: amount(alone([each], need), places) for each in need
    }
    groups = by_group(found)
    assert len(groups) == 3
    for ids, unique in groups.values():
        assert unique == amount(alone(ids, need), places)
    union = set().union(*need.values())
    assert found.content == amount([each for each in union if not places[each].tree], places)
    assert found.trees == amount([each for each in union if places[each].tree], places)
    counted = [each.result.statistics for each in taken]
    assert (found.snapshots, found.hosts, found.partial) == (5, 1, 0)
    assert found.size == sum(each.bytes for each in counted)
    assert found.files == sum(each.files for each in counted)
    assert found.deduplication == found.size / found.content.raw
    assert found.compression == found.content.raw / found.content.stored
    assert (found.copies, found.copies_raw, found.selected) == (0, 0, None)


def test_all_of_one_group_is_all_there_is(client: Client, taken: Sequence[Taken]) -> None:
    found = ask(client)
    assert [each.unique for each in found.groups] == [found.content + found.trees]


def test_the_bytes_add_up_to_what_the_storage_lists(client: Client, taken: Sequence[Taken]) -> None:
    client.storage.delete(names.snapshot(taken[1].id))
    client.storage.put("sessions/" + "ab" * 16, bytes(77))
    client.storage.put(f"packs/00/{'00' * 32}", bytes(500))
    found = ask(client)
    sizes = {info.name: info.size for info in client.storage.list("")}
    assert found.stored == sum(sizes.values())
    assert sum(each.count for each in found.objects) == len(sizes)
    assert found.packs.total == sum(size for name, size in sizes.items() if name.startswith("packs/"))
    assert found.packs.unindexed == 500
    kinds = {each.kind: (each.count, each.size) for each in found.objects}
    assert kinds["packs in no index"] == (1, 500)
    assert kinds["sessions"] == (1, 77)
    assert kinds["content packs"][0] + kinds["tree packs"][0] == len(listed(client.storage, names.PACKS)) - 1


def test_what_a_prune_could_free_is_what_no_frame_in_use_and_no_pack_in_use_holds(
    client: Client, taken: Sequence[Taken]
) -> None:
    assert ask(client).packs.unused == 0
    for each in taken[:2]:
        client.storage.delete(names.snapshot(each.id))
    found, union = ask(client), set().union(*needed(client).values())
    unused = holes = 0
    for info in indexed_packs(client.open()):
        dead = [frame for frame in info.frames if not union & set(frame.ids)]
        unused += info.size if len(dead) == len(info.frames) else sum(frame.stored for frame in dead)
        holes += sum(frame.stored for frame in info.frames if frame not in dead)
    assert found.packs.unused == unused > 0
    assert found.packs.holes == holes - found.packs.in_use > 0


def test_an_empty_repository(client: Client) -> None:
    found = ask(client)
    assert (found.snapshots, found.hosts, found.size, found.groups, found.shares) == (0, 0, 0, (), ())
    assert found.content == found.trees == Amount()
    assert (found.deduplication, found.compression) == (1.0, 1.0)
    assert found.complete
    assert found.stored == sum(info.size for info in client.storage.list(""))


# -- what forgetting frees


def used(client: Client) -> tuple[int, int]:
    """(chunks, raw bytes) in use, as a prune sees it."""
    with reader_of(client) as reader, LiveChunks(reader, client.base) as live:
        live.mark([each.record for each in snapshots(client.open(), Silent())])
        scan = IndexScan(reader.index)
        with PackListing(client.storage, client.base, Silent()) as listing:
            usage = measure(live.ids, scan, listing.compared(scan)[0], client.base)
        return usage.chunks, usage.raw


def test_unique_is_what_is_not_in_use_any_more_once_the_snapshot_is_gone(
    client: Client, taken: Sequence[Taken]
) -> None:
    shares = {each.snapshot.record.id: each.unique for each in ask(client).shares}
    chunks, raw = used(client)
    for each in taken:
        name = names.snapshot(each.id)
        record = client.storage.get(name)
        client.storage.delete(name)
        now = used(client)
        assert (chunks - now[0], raw - now[1]) == (shares[each.id].chunks, shares[each.id].raw)
        client.storage.put(name, record)


def test_what_is_asked_about_is_what_would_be_freed_if_all_of_it_went(client: Client, taken: Sequence[Taken]) -> None:
    chosen = {taken[0].id, taken[1].id, taken[3].id}
    found, need, places = ask(client, of(*chosen), ("paths",)), needed(client), spots(client)
    assert found.selected == amount(alone(chosen, need), places)
    assert {each.snapshot.record.id: each.unique for each in found.shares} == {
        each: amount(alone([each], need), places) for each in chosen
    }
    for ids, unique in by_group(found).values():
        assert ids <= chosen
        assert unique == amount(alone(ids, need), places)
    assert found.snapshots == 5, "the totals are those of all"
    assert found.content == ask(client).content


def test_a_tombstone_is_no_snapshot(client: Client, taken: Sequence[Taken]) -> None:
    assert put_tombstone(client.open(), SnapshotId("ef" * 16))
    found = ask(client)
    assert (found.snapshots, found.complete) == (5, True)
    assert next(each.count for each in found.objects if each.kind == "snapshots") == 6


def test_a_chunk_that_is_stored_twice_counts_once(client: Client, tmp_path: Path) -> None:
    """Two machines that store the same at the same time."""
    tree = tmp_path / "tree"
    make_tree(tree, 1)
    other = client.copy(tmp_path / "other")
    first = client.snapshot(tree)
    runs = {name: client.storage.get(name) for name in listed(client.storage, names.RUNS)}
    for name in runs:
        client.storage.delete(name)
    second = other.but(random_bytes=random.Random(5).randbytes).snapshot(tree)
    for name, data in runs.items():
        client.storage.put(name, data)
    found = ask(client)
    assert found.complete
    assert found.copies >= first.result.statistics.chunks_new - 3
    assert found.content.raw == first.result.statistics.bytes_new
    assert found.packs.unused > found.content.stored // 2
    need = needed(client)
    shares = {each.snapshot.record.id: each.unique.chunks for each in found.shares}
    assert shares == {each: len(alone([each], need)) for each in (first.id, second.id)}


# -- damage


def reference_pack(client: Client) -> PackInfo:
    """A tree pack."""
    return next(info for info in indexed_packs(client.open()) if info.plane.name == "TREE_PACK")


@pytest.mark.parametrize("how", ["missing", "damaged"])
def test_what_can_not_be_read_is_said_and_numbers_count_as_incomplete(
    client: Client, taken: Sequence[Taken], how: str
) -> None:
    name = names.pack(reference_pack(client).pack_id)
    if how == "missing":
        client.storage.delete(name)
    else:
        for at in range(200, client.storage.stat(name).size - 200, 50):
            flip(client.storage, name, at)
    found = ask(client)
    assert not found.complete
    assert any(name in problem for problem in found.problems)
    assert found.snapshots == 5


def test_a_content_pack_that_is_missing_or_cut_off_is_said(client: Client, taken: Sequence[Taken]) -> None:
    content = [info for info in indexed_packs(client.open()) if info.plane.name == "CONTENT_PACK"]
    chunks = {chunk_id for frame in content[0].frames for chunk_id in frame.ids}
    client.storage.delete(names.pack(content[0].pack_id))
    client.storage.put(names.pack(content[1].pack_id), b"short")
    found = ask(client)
    assert any(f"nowhere: {len(chunks):,}" in problem for problem in found.problems)
    assert any("has 5 bytes instead of" in problem for problem in found.problems)


def test_a_record_that_can_not_be_read_is_said(client: Client, taken: Sequence[Taken]) -> None:
    flip(client.storage, names.snapshot(taken[0].id))
    found = ask(client.without_cache())
    assert found.snapshots == 4
    assert [taken[0].id in problem for problem in found.problems] == [True]


class PrunedMeanwhile(MemoryStorage):
    """Does something just before the packs are listed for the first time."""

    def __init__(self) -> None:
        super().__init__()
        self.meanwhile: list[object] = []

    def list(self, prefix: str):  # type: ignore[no-untyped-def]
        if prefix == names.PACKS and self.meanwhile:
            self.meanwhile.pop()()  # type: ignore[operator]
        return super().list(prefix)


def test_a_prune_that_goes_on_meanwhile_leads_to_another_look(tmp_path: Path) -> None:
    storage = PrunedMeanwhile()
    client = Client(storage, tmp_path / "client")
    client.create(pack_size=8 * KIB)
    make_tree(tmp_path / "tree", 1)
    client.snapshot(tmp_path / "tree")
    before = ask(client)
    storage.meanwhile.append(lambda: repack_everything(client, 1))
    found = ask(client)
    assert storage.meanwhile == []
    assert (found.problems, found.content, found.trees) == ((), before.content, before.trees)


# -- who needs what


@given(sizes=st.lists(st.integers(1, 4), max_size=4), data=st.data())
@settings(max_examples=100)
def test_owners_join_in_any_order(sizes: list[int], data: st.DataObject) -> None:
    owners = Owners(sizes)
    group_of = [number for number, size in enumerate(sizes) for _ in range(size)]
    who = data.draw(st.lists(st.integers(0, owners.snapshots), min_size=1, max_size=6))
    joined = [owners.shared if each == owners.snapshots else each for each in who]
    expected = (
        owners.shared
        if owners.shared in joined
        else joined[0]
        if len(set(joined)) == 1
        else owners.group(group_of[joined[0]])
        if len({group_of[each] for each in joined}) == 1
        else owners.selected
    )
    for order in (joined, joined[::-1], sorted(joined)):
        result = order[0]
        for each in order[1:]:
            result = owners.joined(result, each)
        assert result == expected


def test_ids_keep_their_owners_in_files(tmp_path: Path) -> None:
    dice = random.Random(1)
    owners = Owners([40, 40])
    expected: dict[bytes, int] = {}
    with OwnedIds(tmp_path, owners) as ids:
        for _ in range(3000):
            some = [dice.randrange(20_000).to_bytes(2, "big") + bytes(30) for _ in range(50)]
            owner = dice.randrange(80)
            ids.add_for(owner, b"".join(some))
            for each in some:
                expected[each] = owners.joined(expected.get(each, owner), owner)
        found: dict[bytes, int] = {}
        for number in range(BUCKETS):
            assert set(ids.owners(number)) == ids.bucket(number)
            found |= ids.owners(number)
    assert found == expected


class Tree:
    """Reference trees without a repository: nodes and runs by their ids. Counts how often each is read."""

    def __init__(self) -> None:
        self.chunks: dict[bytes, bytes] = {}
        self.reads: list[bytes] = []
        self.index = self

    def add(self, data: bytes) -> ChunkId:
        chunk_id = ChunkId(hashlib.sha256(data).digest())
        self.chunks[chunk_id] = data
        return chunk_id

    def run(self, *ids: bytes) -> RunRef:
        return RunRef(self.add(b"I" + b"".join(ids)), len(ids))

    def node(self, level: int, *children: object) -> ChunkId:
        return self.add(encode_reference_node(ReferenceNode(level, children)))  # type: ignore[arg-type]

    def locate(self, chunk_id: ChunkId) -> None:
        return None

    def read(self, kind: object, chunk_id: ChunkId) -> bytes:
        self.reads.append(chunk_id)
        return self.chunks[chunk_id]


def an_id(number: int) -> ChunkId:
    return ChunkId(number.to_bytes(32, "big"))


def test_each_node_is_read_once_however_many_snapshots_share_it(tmp_path: Path, taken: Sequence[Taken]) -> None:
    """A hundred snapshots of two groups, in each of which one leaf of ten is another one."""
    tree, model = Tree(), taken[0].record
    segment = [SegmentRef(an_id(n), 1, (tree.run(an_id(1000 + n)),)) for n in range(200)]
    leaves = [NodeRef(an_id(500 + n), tree.node(0, *segment[2 * n : 2 * n + 2])) for n in range(100)]
    roots = [tree.node(1, *(leaves[:9]), leaves[10 + n % 80]) for n in range(100)]
    owners = Owners([50, 50])
    with OwnedChunks(tree, tmp_path, owners) as found:  # type: ignore[arg-type]
        found.mark((n, replace(model, content_root=an_id(1), reference_root=root)) for n, root in enumerate(roots))
        ids = {key: value for number in range(BUCKETS) for key, value in found.ids.owners(number).items()}
    assert len(tree.reads) == len(set(tree.reads)) == 80 + 89 + 178
    assert ids[an_id(1000)] == owners.selected
    assert ids[an_id(1000 + 2 * 10)] == owners.selected, "of snapshots 0 and 80"
    assert ids[an_id(1000 + 2 * 50)] == 40, "of snapshot 40 alone"


def test_a_tree_that_is_a_part_of_another_one_is_found_at_any_height(tmp_path: Path, taken: Sequence[Taken]) -> None:
    tree, model = Tree(), taken[0].record
    leaf = tree.node(0, SegmentRef(an_id(7), 1, (tree.run(an_id(8)),)))
    low = tree.node(1, NodeRef(an_id(9), leaf))
    lying = tree.node(16, NodeRef(an_id(10), tree.node(16, NodeRef(an_id(11), low))))
    roots = [low, leaf, lying]
    for order in ([0, 1, 2], [2, 1, 0], [1, 0, 2]):
        owners = Owners([1, 1, 1])
        with OwnedChunks(tree, tmp_path, owners) as found:  # type: ignore[arg-type]
            found.mark((n, replace(model, content_root=an_id(1), reference_root=roots[n])) for n in order)
            ids = {key: value for number in range(BUCKETS) for key, value in found.ids.owners(number).items()}
        assert ids[an_id(8)] == ids[an_id(7)] == ids[leaf] == owners.selected
        assert ids[an_id(9)] == owners.selected
        assert ids[an_id(10)] == ids[an_id(11)] == 2


def test_packs_are_read_behind_the_storages_back_as_the_index_says(client: Client, taken: Sequence[Taken]) -> None:
    """What the tests above count with: sizes in the index are those in the packs."""
    repository = client.open()
    for info in indexed_packs(repository):
        name = names.pack(info.pack_id)
        assert read_pack(client.storage.get(name), pack_id_of(name), name, repository.key) == info
