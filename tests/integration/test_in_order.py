"""Content in the order in which it is wanted: whatever the windows are, and whatever is damaged."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from chunkstore.errors import Damaged, PathNotFound
from chunkstore.format import names
from chunkstore.format.kinds import ObjectKind
from chunkstore.ids import ChunkId
from chunkstore.keys.derivation import ChunkKind
from chunkstore.operations.cat import cat
from chunkstore.operations.catalog import read_record
from chunkstore.operations.in_order import Step, in_order
from chunkstore.operations.opening import open_content
from chunkstore.operations.reading import Reading, reading
from chunkstore.progress import Silent
from chunkstore.repository.manifest_reader import ManifestReader
from chunkstore.storage import MemoryStorage
from tests.engine import Client, Taken, chunk_ids, flip, identity, indexed_packs, make_tree
from tests.one_of_each import HOLE, sparse
from tests.trees import noise, plant


@pytest.fixture
def client(tmp_path: Path) -> Client:
    client = Client(MemoryStorage(), tmp_path / "client")
    client.create()
    return client


@contextmanager
def opened(client: Client, taken: Taken) -> Iterator[tuple[Reading, ManifestReader]]:
    repository, progress = client.open(), Silent()
    signed = read_record(repository, taken.id)
    assert signed is not None
    with reading(repository, open_content(repository, identity), client.around, progress) as read:
        yield read, read.manifest(signed.record)


def content(client: Client) -> list[ChunkId]:
    return chunk_ids([info for info in indexed_packs(client.open()) if info.plane == ObjectKind.CONTENT_PACK])


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(("size", "count"), [(1, 1), (5_000, 7), (40_000, 10_000), (1 << 25, 10_000)])
def test_any_order_comes_back_as_it_was_asked_for(
    client: Client, tmp_path: Path, workers: int, size: int, count: int
) -> None:
    """With chunks several times, and with places without a chunk between them."""
    make_tree(tmp_path / "source", 3, files=40)
    taken = client.snapshot(tmp_path / "source")
    dice = random.Random(size)
    wanted: list[ChunkId | None] = [*content(client), *content(client), *[None] * 60]
    dice.shuffle(wanted)
    with opened(client, taken) as (read, _):
        reader = read.reader
        steps = [
            Step(at, chunk, reader.length(chunk) if chunk else 0, weight=dice.randrange(100))
            for at, chunk in enumerate(wanted)
        ]
        got = list(in_order(reader, steps, workers, size, count))
        assert [each.purpose for each in got] == list(range(len(wanted)))
        for chunk, each in zip(wanted, got, strict=True):
            assert each.data == (reader.read(ChunkKind.CONTENT, chunk) if chunk else b"")
            assert each.damage is None


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_no_more_than_two_windows_are_asked_for_ahead(client: Client, tmp_path: Path, workers: int) -> None:
    """Places without a chunk as well: they weigh, and there may be millions of them in a row."""
    make_tree(tmp_path / "source", 3, files=40)
    taken = client.snapshot(tmp_path / "source")
    asked = given = most = 0

    def steps() -> Iterator[Step[int]]:
        nonlocal asked, most
        for chunk in [*content(client)[:30], *[None] * 300, *content(client)[:30]]:
            asked += 1
            most = max(most, asked - given)
            yield Step(asked, chunk, reader.length(chunk) if chunk else 0)

    with opened(client, taken) as (read, _):
        reader = read.reader
        for got in in_order(reader, steps(), workers, 1 << 25, 10):
            given += 1
            assert got.purpose == given
    assert given == asked
    assert most <= 2 * 10 + 1


def test_damage_comes_in_its_place(client: Client, tmp_path: Path) -> None:
    make_tree(tmp_path / "source", 3, files=40)
    taken = client.snapshot(tmp_path / "source")
    info = next(info for info in indexed_packs(client.open()) if info.plane == ObjectKind.CONTENT_PACK)
    flip(client.storage, names.pack(info.pack_id), info.frames[0].offset + 5)
    lost, wanted = set(info.frames[0].ids), content(client)
    with opened(client, taken) as (read, _):
        steps = [Step(chunk, chunk, read.reader.length(chunk)) for chunk in wanted]
        got = list(in_order(read.reader, steps, 0))
    assert [each.purpose for each in got] == wanted
    assert {each.purpose for each in got if each.damage} == lost


def test_an_error_of_the_steps_comes_after_what_was_before_it(client: Client, tmp_path: Path) -> None:
    make_tree(tmp_path / "source", 3)
    taken = client.snapshot(tmp_path / "source")

    def steps() -> Iterator[Step[int]]:
        yield Step(1)
        yield Step(2)
        raise Damaged("here")

    with opened(client, taken) as (read, _):
        coming = in_order(read.reader, steps(), 0)
        assert [next(coming).purpose, next(coming).purpose] == [1, 2]
        with pytest.raises(Damaged, match="here"):
            next(coming)


def test_cat_writes_zeros_for_holes(client: Client, tmp_path: Path) -> None:
    root = tmp_path / "source"
    root.mkdir()
    sparse(root / "sparse", 7 * HOLE)
    with (root / "hole").open("wb") as file:
        file.truncate(3 * HOLE)
    plant(root, {b"large": noise(100_000), b"empty": b""})
    taken = client.snapshot(root)
    with opened(client, taken) as (read, manifest):
        for path in root.iterdir():
            pieces = list(cat(read.reader, manifest, os.fsencode(path), 0, Silent()))
            assert b"".join(pieces) == path.read_bytes()
        with pytest.raises(PathNotFound, match="is not a file"):
            next(cat(read.reader, manifest, os.fsencode(root), 0, Silent()))


def test_cat_of_a_large_hole_comes_in_small_pieces(client: Client, tmp_path: Path) -> None:
    root = tmp_path / "source"
    root.mkdir()
    sparse(root / "large", 9 << 30)
    taken = client.snapshot(root)
    size = 0
    with opened(client, taken) as (read, manifest):
        for piece in cat(read.reader, manifest, os.fsencode(root / "large"), 0, Silent()):
            assert len(piece) <= 1 << 20
            size += len(piece)
    assert size == 9 << 30
