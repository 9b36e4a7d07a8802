"""Copies from one repository to another: what arrives, what is read and stored for it, and what is not done twice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from chunkstore.errors import InvalidArgument
from chunkstore.format import names
from chunkstore.ids import SnapshotId
from chunkstore.operations.catalog import current, read_record
from chunkstore.operations.copy.copying import Fate
from chunkstore.operations.tagging import Change, amend
from chunkstore.progress import Silent
from chunkstore.storage import MemoryStorage
from chunkstore.storage.faulty import RecordingStorage
from tests.copying import OTHER, Both, both, fresh_client, listed_snapshots, without_chunks
from tests.engine import (
    KIB,
    Client,
    Taken,
    broken_promises,
    chunk_ids,
    describe,
    edit_tree,
    indexed_packs,
    make_tree,
)
from tests.one_of_each import one_of_each
from tests.trees import age

MIB = 1024 * KIB
DEFAULTS = {"chunker": "pyfastcdc", "frame_size": MIB, "pack_size": 4 * MIB}


@pytest.fixture
def pair(tmp_path: Path) -> Both:
    """Empty ones."""
    source, destination = fresh_client(tmp_path / "a", 1), fresh_client(tmp_path / "b", 2, **OTHER)
    return both(tmp_path / "machine", source, destination)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    make_tree(tmp_path / "tree", seed=1)
    return tmp_path / "tree"


def change(client: Client, taken: SnapshotId, what: Change) -> None:
    repository, signed = client.open("write"), read_record(client.open(), taken)
    assert signed
    assert amend(repository, current(repository, signed, Silent()), what, client.around)


# -- what arrives


def test_every_snapshot_restores_as_the_original_does(pair: Both, tree: Path) -> None:
    was = {}
    for seed in (2, 3, 4):
        was[pair.source.snapshot(tree).id] = describe(tree)
        edit_tree(tree, seed)
    done = pair.copy()
    assert done.fates == [Fate.COPIED] * 3
    assert done.warnings == []
    restored = pair.destination.all_restored_afresh([*done.copies.values()])
    assert {original: restored[copied] for original, copied in done.copies.items()} == was
    assert broken_promises(pair.destination) == []
    assert set(chunk_ids(indexed_packs(pair.source.open()))).isdisjoint(
        chunk_ids(indexed_packs(pair.destination.open()))
    )


def test_one_of_everything_arrives_with_all_it_has(pair: Both, tmp_path: Path) -> None:
    one_of_each(tmp_path / "tree")
    taken = pair.source.snapshot(tmp_path / "tree", atime=True)
    (copied,) = pair.copy().copies.values()
    there, here = pair.source.stored(taken.id), pair.destination.stored(copied)
    assert without_chunks(here) == without_chunks(there)
    assert any(each.owners.users for each in here.values())
    assert any(each.entry.extents for each in here.values())


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("chunker", ["fixed:1K", "pyfastcdc:64,256,1K", "pyfastcdc:4K,16K,64K"])
def test_any_parameters(tmp_path: Path, tree: Path, chunker: str, workers: int) -> None:
    source = fresh_client(tmp_path / "a", 1)
    destination = fresh_client(tmp_path / "b", 2, chunker=chunker, frame_size=64 * KIB, pack_size=MIB)
    pair = both(tmp_path / "machine", source, destination).but(workers=workers)
    source.snapshot(tree)
    (copied,) = pair.copy().copies.values()
    assert destination.restored(copied) == describe(tree)


def test_the_record_says_the_same_of_the_source_and_is_of_this_client(pair: Both, tree: Path, tmp_path: Path) -> None:
    (tree / "gone").mkdir()
    taken = pair.source.snapshot(tree, tmp_path / "not there", tags=("a", "b"), description="first")
    change(pair.source, taken.id, Change(add=("c",), remove=("a",), description="second", pinned=True))
    before = pair.destination.snapshot(tree).record
    pair.copy()
    copied = next(each for each in listed_snapshots(pair.destination) if each.record.original)
    record, original = copied.record, taken.record
    for name in ("time", "end", "host", "user", "roots", "errors", "partial", "statistics"):
        assert getattr(record, name) == getattr(original, name), name
    assert record.errors == 1
    assert (copied.tags, copied.description, copied.pinned) == (("b", "c"), "second", True)
    assert record.tags == ("b", "c")
    assert (record.client, record.sequence) == (before.client, before.sequence + 1)
    assert record.original
    assert record.original.repository == pair.source.open().key.repository_id
    assert record.original.snapshot == original.id != record.id


# -- what is known


def test_what_was_copied_is_not_copied_again_and_no_key_is_asked_for(pair: Both, tree: Path) -> None:
    pair.source.snapshot(tree)
    first = pair.copy()
    assert pair.asked
    recorded, there = RecordingStorage(pair.destination.storage), RecordingStorage(pair.source.storage)
    again = pair.but(there, recorded)
    done = again.copy()
    assert done.fates == [Fate.THERE]
    assert done.copies == first.copies
    assert {call.verb for call in (*recorded.calls, *there.calls)} <= {"list", "get", "stat"}
    assert not any(call.name.startswith(names.PACKS) for call in there.calls)
    assert again.asked == []


def test_only_what_is_missing_is_copied(pair: Both, tree: Path) -> None:
    first = pair.source.snapshot(tree)
    edit_tree(tree, 2)
    second = pair.source.snapshot(tree)
    assert pair.copy([second.id]).fates == [Fate.COPIED]
    assert [each.copy is None for each in pair.plan()] == [True, False]
    done = pair.copy()
    assert dict(zip([each.snapshot.record.id for each in done.outcomes], done.fates, strict=True)) == {
        first.id: Fate.COPIED,
        second.id: Fate.THERE,
    }
    assert len(listed_snapshots(pair.destination)) == 2


def test_copies_of_copies_and_copies_back_are_the_same_snapshot(pair: Both, tree: Path, tmp_path: Path) -> None:
    taken = pair.source.snapshot(tree)
    pair.copy()
    third = fresh_client(tmp_path / "c", 3)
    onwards = both(tmp_path / "another machine", pair.destination, third)
    assert onwards.copy().fates == [Fate.COPIED]
    (record,) = (each.record for each in listed_snapshots(third))
    assert record.original
    assert (record.original.repository, record.original.snapshot) == (
        pair.source.open().key.repository_id,
        taken.id,
    )
    assert both(tmp_path / "m3", pair.source, third).copy().fates == [Fate.THERE]
    assert both(tmp_path / "m4", third, pair.source).copy().fates == [Fate.THERE]


def test_a_pin_that_was_not_said_yet_is_said_by_the_next_copy(pair: Both, tree: Path) -> None:
    taken = pair.source.snapshot(tree)
    change(pair.source, taken.id, Change(pinned=True))
    pair.copy()
    (amendment,) = [info.name for info in pair.destination.storage.list(names.AMENDMENTS)]
    pair.destination.storage.delete(amendment)
    assert [each.pinned for each in listed_snapshots(pair.destination)] == [False]
    assert pair.copy().fates == [Fate.THERE]
    (copied,) = listed_snapshots(pair.destination)
    assert copied.pinned
    change(pair.destination, copied.record.id, Change(pinned=False))
    pair.copy()
    assert [each.pinned for each in listed_snapshots(pair.destination)] == [False]


def test_a_repository_is_not_copied_to_itself(tmp_path: Path, tree: Path) -> None:
    client = fresh_client(tmp_path / "a", 1)
    client.snapshot(tree)
    with pytest.raises(InvalidArgument, match="itself"):
        both(tmp_path / "machine", client, client).copy()


# -- what is left alone


def test_the_file_cache_of_snapshots_made_here_is_left_alone(pair: Both, tree: Path, tmp_path: Path) -> None:
    """Both have the same host and paths."""
    age(tree)
    client: Client = pair.destination
    client.snapshot(tree)
    pair.source.snapshot(tree)
    pair.copy()
    taken: Taken = client.snapshot(tree)
    assert taken.result.statistics.bytes_read == 0


def test_a_partial_snapshot_stays_partial(pair: Both, tree: Path) -> None:
    from chunkstore.operations.copy.copying import CopyOptions, Planned, copy

    taken = pair.source.snapshot(tree)
    (planned,) = pair.plan()
    signed = replace(planned.snapshot.signed, record=replace(taken.record, partial=True))
    half = Planned(replace(planned.snapshot, signed=signed), None)
    source, destination = pair.source.open(), pair.destination.open("write")
    around = pair.destination.around
    [*copy(source, destination, lambda message: message, [half], CopyOptions(), around, Silent())]
    assert [each.record.partial for each in listed_snapshots(pair.destination)] == [True]


def test_the_storage_of_the_source_is_only_read(pair: Both, tree: Path) -> None:
    pair.source.snapshot(tree)
    there = RecordingStorage(pair.source.storage)
    pair.but(source=there).copy()
    assert {call.verb for call in there.calls} <= {"list", "get", "stat"}


def test_an_empty_source_is_nothing_to_do(pair: Both) -> None:
    assert pair.copy().outcomes == []
    assert isinstance(pair.destination.storage, MemoryStorage)
