"""What commands ask the storage for does not grow with the number of snapshots; and the copies that make it so.

On a storage that counts calls. A listing counts as one, though S3 lists 1,000 names at a time.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from chunkstore.errors import Damaged
from chunkstore.format import names
from chunkstore.ids import SnapshotId
from chunkstore.operations.catalog import read_record, snapshots
from chunkstore.operations.snapshot_choice import EVERYTHING, choose
from chunkstore.operations.tagging import Change, amend
from chunkstore.progress import Silent
from chunkstore.storage import MemoryStorage
from chunkstore.storage.faulty import RecordingStorage
from tests.engine import Client, flip, make_tree, snapshot_ids, temporary_directory

FEW, MANY = 3, 40


class World:
    """A client that counts."""

    def __init__(self, base: Path) -> None:
        self.storage = RecordingStorage(MemoryStorage())
        self.client = Client(self.storage, base / "client")
        self.client.create()
        self.tree = base / "tree"
        make_tree(self.tree, seed=1)

    def grow(self, count: int) -> None:
        """Make so many snapshots, each of something new."""
        for _ in range(count):
            (self.tree / "changing").write_text(str(self.client.clock()))
            self.client.snapshot(self.tree)

    def calls(self) -> Counter[str]:
        """What was asked for since the last time: `list snapshots`, `get packs` ..."""
        counted = Counter(f"{call.verb} {call.name.partition('/')[0]}" for call in self.storage.calls)
        self.storage.clear()
        return counted

    def shown(self) -> set[SnapshotId]:
        """The snapshots that are listed, with nothing to complain about."""
        progress = Silent()
        found = {each.record.id for each in snapshots(self.client.open(), progress)}
        assert not progress.warnings
        return found

    def cached(self) -> list[Path]:
        return sorted(path for path in self.client.places.cache.glob("*/records/*/*") if path.is_file())


@pytest.fixture
def world() -> Iterator[World]:
    with temporary_directory() as base:
        yield World(base)


def test_an_unchanged_snapshot_asks_for_the_same_however_many_there_are(world: World) -> None:
    seen = []
    for count in (FEW, MANY):
        world.grow(count)
        world.calls()
        world.client.snapshot(world.tree)
        seen.append(world.calls())
    assert seen[0] == seen[1]
    assert seen[0].total() <= 8


def test_listing_snapshots_asks_for_new_ones_only(world: World) -> None:
    world.grow(MANY)
    world.client.without_cache()  # its own it would know
    world.calls()
    world.shown()
    assert world.calls()["get snapshots"] == MANY
    everything = set(snapshot_ids(world.client.storage))
    world.calls()
    assert world.shown() == everything
    again = world.calls()
    assert again == {"list config": 1, "get config": 1, "list snapshots": 1, "list amendments": 1}
    world.grow(1)
    world.calls()
    assert len(world.shown()) == MANY + 1
    assert world.calls() == again  # it made that one itself


def test_the_latest_is_found_without_reading_all_again(world: World) -> None:
    world.grow(MANY)
    world.shown()
    world.calls()
    assert choose(world.client.open(), "latest", EVERYTHING, Silent()).record.id in snapshot_ids(world.client.storage)
    assert world.calls()["get snapshots"] == 0


def test_amendments_are_read_once(world: World) -> None:
    world.grow(FEW)
    chosen = [*snapshots(world.client.open(), Silent())]
    for each in chosen:
        amend(world.client.open("write"), each, Change(add=("kept",)), world.client.around)
    world.shown()
    world.calls()
    assert all("kept" in each.tags for each in snapshots(world.client.open(), Silent()))
    assert world.calls()["get amendments"] == 0


def test_copies_are_sealed_and_of_nobody_else(world: World) -> None:
    world.grow(FEW)
    world.shown()
    assert len(world.cached()) == FEW
    for path in world.cached():
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700
        assert path.read_bytes() == world.client.storage.get(f"{names.SNAPSHOTS}{path.name}")
        assert b"changing" not in path.read_bytes()


def test_a_copy_that_was_changed_is_not_believed(world: World) -> None:
    world.grow(FEW)
    expected = world.shown()
    first, second, third = world.cached()
    first.write_bytes(first.read_bytes()[:-1] + b"?")
    second.write_bytes(third.read_bytes())
    third.write_bytes(b"")
    world.calls()
    assert world.shown() == expected
    assert world.calls()["get snapshots"] == 3
    assert world.shown() == expected
    assert world.calls()["get snapshots"] == 0


def test_what_is_gone_from_the_storage_is_gone_from_here(world: World) -> None:
    world.grow(FEW)
    gone, *kept = sorted(world.shown())
    world.client.storage.delete(names.snapshot(gone))
    assert sorted(world.shown()) == kept
    assert [path.name for path in world.cached()] == kept


def test_a_cache_that_can_not_be_written_is_done_without(world: World) -> None:
    world.grow(FEW)
    directory = world.client.places.cache_directory(world.client.open().key.repository_id)
    shutil.rmtree(directory / "records")
    (directory / "records").write_text("in the way")
    assert len(world.shown()) == FEW
    assert len(world.shown()) == FEW


def test_who_asks_for_one_record_gets_it_from_the_storage(world: World) -> None:
    world.grow(1)
    (found,) = world.shown()
    flip(world.client.storage, names.snapshot(found))
    with pytest.raises(Damaged):
        read_record(world.client.open(), found)
