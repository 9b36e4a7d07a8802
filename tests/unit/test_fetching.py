"""Fetching chunks of content: as many requests at once as the storage takes, the next window meanwhile, damage once more."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from chunkstore.format import names
from chunkstore.format.kinds import ObjectKind
from chunkstore.ids import ChunkId
from chunkstore.operations.fetching import Got, Want, fetch, fetch_windows
from chunkstore.repository.chunk_reader import ChunkReader
from chunkstore.storage import MemoryStorage
from tests.engine import KIB, Client, chunk_ids, indexed_packs
from tests.restoring import opened
from tests.trees import noise, plant

PATIENCE_S = 20.0
WORKERS = 2


class Distant(MemoryStorage):
    """Has so many connections. Each get of a content pack waits until `meet` are under way, or until it is in vain."""

    def __init__(self, connections: int = 2) -> None:
        super().__init__()
        self.connections = connections
        self.content: set[str] = set()
        self.asked: Counter[tuple[str, int]] = Counter()
        self.most = 0
        self.damage: Callable[[bytes], bytes] = bytes
        self._meet = 1
        self._met = self._under_way = 0
        self._turn = threading.Condition()

    def expect(self, meet: int) -> None:
        """From now on so many are waited for, once."""
        self._meet, self._met = meet, 0

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        if name not in self.content:
            return super().get(name, offset, length)
        with self._turn:
            self._under_way += 1
            self.asked[name, offset] += 1
            self.most = max(self.most, self._under_way)
            self._met = self._met or self._under_way >= self._meet
            self._turn.notify_all()
            self._met = self._turn.wait_for(lambda: self._met, PATIENCE_S) or True
            self._under_way -= 1
        return self.damage(super().get(name, offset, length))


@contextmanager
def reader_of(storage: Distant, base: Path, files: int) -> Iterator[tuple[ChunkReader, list[ChunkId]]]:
    """A repository of so many chunks of 64 KiB, each in a pack of its own, and all of these chunks."""
    client = Client(storage, base / "client", workers=WORKERS)
    client.create("fixed:64K", frame_size=64 * KIB, pack_size=64 * KIB)
    plant(base / "tree", {b"%03d" % number: noise(64 * KIB, number) for number in range(files)})
    client.snapshot(base / "tree")
    packs = [info for info in indexed_packs(client.open()) if info.plane == ObjectKind.CONTENT_PACK]
    chunks = chunk_ids(packs)
    assert len(packs) == len(chunks) == files
    with opened(client) as (reading, _):
        reading.reader.repository = client.open()  # without the wrapper that counts: it has no connections
        storage.content = {names.pack(info.pack_id) for info in packs}
        yield reading.reader, chunks


@pytest.mark.parametrize("connections", [1, 3, 5])
def test_as_many_ranges_are_under_way_as_there_are_connections(tmp_path: Path, connections: int) -> None:
    storage = Distant(connections)
    with reader_of(storage, tmp_path, 12) as (reader, chunks):
        storage.expect(connections)
        got = list(fetch(reader, [Want(chunk, None) for chunk in chunks], WORKERS))
    assert [each.damage for each in got] == [None] * 12
    assert storage.most == connections


def test_many_connections_do_not_take_memory_without_bound(tmp_path: Path) -> None:
    storage = Distant(64)
    with reader_of(storage, tmp_path, 20) as (reader, chunks):
        storage.expect(8)
        assert len(list(fetch(reader, [Want(chunk, None) for chunk in chunks], WORKERS))) == 20
    assert storage.most == 8


def test_the_next_window_is_fetched_while_this_one_is_used_and_no_further_one(tmp_path: Path) -> None:
    """Where nothing is taken back, at most two windows are asked for; and the second is, before the first is through."""
    storage, cut = Distant(4), [0]
    with reader_of(storage, tmp_path, 8) as (reader, chunks):

        def windows() -> Iterator[list[Want[int]]]:
            for number in range(4):
                cut[0] += 1
                yield [Want(chunk, number) for chunk in chunks[2 * number : 2 * number + 2]]

        storage.expect(4)  # of two windows: with one alone it would wait in vain
        seen: list[Got[int] | None] = []
        for got in fetch_windows(reader, windows(), WORKERS):
            seen.append(got)
            assert cut[0] <= 2 + seen.count(None)
        assert storage.most == 4
    assert [got and got.purpose for got in seen] == [0, 0, None, 1, 1, None, 2, 2, None, 3, 3, None]
    assert all(got is None or got.damage is None for got in seen)


@pytest.mark.parametrize("workers", [0, WORKERS])
def test_a_range_that_arrives_damaged_is_fetched_once_more(tmp_path: Path, workers: int) -> None:
    """Ranges come without a checksum: that one was damaged on its way shows when it is opened."""
    storage, spoilt = Distant(), [True]

    def once(data: bytes) -> bytes:
        first, spoilt[0] = spoilt[0], False
        return data[:1000] + bytes([data[1000] ^ 1]) + data[1001:] if first else data

    with reader_of(storage, tmp_path, 3) as (reader, chunks):
        storage.damage = once
        got = list(fetch(reader, [Want(chunk, None) for chunk in chunks], workers))
    assert [each.damage for each in got] == [None] * 3
    assert sorted(storage.asked.values()) == [1, 1, 2]


def test_what_is_damaged_where_it_is_stored_is_fetched_twice_and_said(tmp_path: Path) -> None:
    storage = Distant()
    with reader_of(storage, tmp_path, 2) as (reader, chunks):
        storage.damage = lambda data: data[:1000] + bytes([data[1000] ^ 1]) + data[1001:]
        got = list(fetch(reader, [Want(chunk, None) for chunk in chunks], WORKERS))
    assert {each.damage.object_name for each in got if each.damage} == storage.content
    assert sorted(storage.asked.values()) == [2, 2]
