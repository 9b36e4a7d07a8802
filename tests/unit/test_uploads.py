"""Packs on their way to a storage: as many at once as it has connections, within a bound, and before their index."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from random import Random

import pytest

from chunkstore.format import names
from chunkstore.storage import LimitedStorage, MemoryStorage, Storage, Waiting
from chunkstore.storage.protocol import DEFAULT_CONNECTIONS, Buffer, connections
from chunkstore.storage.retrying import RetryingStorage
from tests.engine import KIB, Client, WatchedStorage, describe, run_indexes
from tests.trees import noise, plant

MIB = 1024 * KIB
PATIENCE_S = 30.0
WAITING = Waiting(time.monotonic, time.sleep, lambda: 0.1)


class Distant(WatchedStorage):
    """Has so many connections. Puts of packs take long: they end when `meet` are under way, the last one first."""

    def __init__(self, inner: Storage, connections: int, meet: int = 1) -> None:
        super().__init__(inner)
        self.connections = connections
        self._meet = meet
        self._turn = threading.Condition()
        self._begun = self._under_way = self.most = 0
        self.met = self._in_vain = False
        self.stored: list[str] = []

    def put(self, name: str, data: Buffer) -> None:
        if not name.startswith(names.PACKS):
            self._inner.put(name, data)
            return
        with self._turn:
            self._begun += 1
            mine = self._begun
            self._under_way += 1
            self.most = max(self.most, self._under_way)
            self.met = self.met or self._under_way == self._meet
            self._turn.notify_all()
            if not self._in_vain:
                self._in_vain = not self._turn.wait_for(lambda: self.met, PATIENCE_S)
            if mine == 1:
                self._turn.wait_for(lambda: self._under_way == 1 or self._begun > self._meet, PATIENCE_S)
        self._inner.put(name, data)
        with self._turn:
            self._under_way -= 1
            self.stored.append(name)
            self._turn.notify_all()

    def put_if_absent(self, name: str, data: Buffer) -> bool:
        if name.startswith("index/"):
            with self._turn:
                self.stored.append(name)
        return self._inner.put_if_absent(name, data)


def client_of(storage: Storage, base: Path, pack_size: int, **changes: int) -> Client:
    client = Client(storage, base / "client", workers=2, packs_per_index_object=4)
    client.create(frame_size=64 * KIB, pack_size=pack_size)
    return client.but(**changes)


@pytest.mark.parametrize("count", [1, 3, 5])
def test_as_many_packs_are_on_their_way_as_there_are_connections(tmp_path: Path, count: int) -> None:
    client = client_of(MemoryStorage(), tmp_path, 256 * KIB)
    plant(tmp_path / "tree", {b"%03d" % number: noise(64 * KIB, number) for number in range(60)})
    distant = Distant(client.storage, count, meet=count)
    taken = client.but(storage=distant).snapshot(tmp_path / "tree")
    assert distant.met
    assert distant.most == count
    assert client.restored_afresh(taken.id) == describe(tmp_path / "tree")


def test_many_connections_do_not_take_memory_without_bound(tmp_path: Path) -> None:
    """Two packs of 64 MiB are more than what may be on its way; not one for each connection."""
    client = client_of(MemoryStorage(), tmp_path, 64 * MIB)
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "large").write_bytes(Random(1).randbytes(200 * MIB))
    distant = Distant(client.storage, 64, meet=2)
    client.but(storage=distant).snapshot(tmp_path / "tree")
    assert distant.most == 2


def test_an_index_object_comes_after_all_its_packs(tmp_path: Path) -> None:
    """Also when the first of them takes longest (I-1)."""
    client = client_of(MemoryStorage(), tmp_path, 128 * KIB)
    plant(tmp_path / "tree", {b"%03d" % number: noise(64 * KIB, number) for number in range(60)})
    distant = Distant(client.storage, 3, meet=3)
    taken = client.but(storage=distant).snapshot(tmp_path / "tree")
    indexes = run_indexes(client.open())
    assert len(indexes) > 2
    stored: set[str] = set()
    for name in distant.stored:
        if name in indexes:
            assert {names.pack(info.pack_id) for info in indexes[name].packs} <= stored
        stored.add(name)
    assert client.restored_afresh(taken.id) == describe(tmp_path / "tree")


def test_without_workers_nothing_is_on_its_way(tmp_path: Path) -> None:
    client = client_of(MemoryStorage(), tmp_path, 128 * KIB, workers=0)
    plant(tmp_path / "tree", {b"%03d" % number: noise(64 * KIB, number) for number in range(12)})
    distant = Distant(client.storage, 5)
    client.but(storage=distant).snapshot(tmp_path / "tree")
    assert distant.most == 1


def test_wrappers_have_the_connections_of_what_they_wrap() -> None:
    memory = MemoryStorage()
    distant = Distant(memory, 7)
    assert connections(memory) == DEFAULT_CONNECTIONS
    assert connections(RetryingStorage(distant, 1.0, WAITING)) == 7
    assert connections(LimitedStorage(distant, 10, None, WAITING)) == 7
    assert connections(LimitedStorage(memory, None, 10, WAITING)) == DEFAULT_CONNECTIONS
