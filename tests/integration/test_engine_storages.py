"""The engine on storages of every kind: machines that join, and what goes over the line and when.

Snapshots, restores, verification and faults on all kinds are with the other tests of each (`everywhere`, `elsewhere`).
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chunkstore.chunking import parse_chunker
from chunkstore.errors import UntrustedRepository
from chunkstore.format import names
from chunkstore.format.kinds import ObjectKind
from chunkstore.ids import RepositoryId
from chunkstore.operations.catalog import snapshots
from chunkstore.operations.init import InitOptions, init, join
from chunkstore.progress import Silent
from chunkstore.storage import Storage, StorageOptions
from chunkstore.storage.protocol import Buffer
from chunkstore.storage.retrying import RetryingStorage
from tests.engine import (
    KIB,
    RECIPIENT,
    Client,
    WatchedStorage,
    broken_promises,
    describe,
    edit_tree,
    identity,
    indexed_packs,
    listed,
    make_tree,
    temporary_directory,
    waiting,
)
from tests.fault_proxy import proxied
from tests.restoring import restored
from tests.s3_server import FIRST_BUCKET, SeaweedFS
from tests.storages import Fresh, elsewhere, everywhere
from tests.trees import noise, plant

MIB = 1024 * KIB
PATIENCE_S = 60.0


@pytest.fixture
def base() -> Iterator[Path]:
    with temporary_directory() as path:
        yield path


@elsewhere
def test_a_machine_joins_and_both_go_on(fresh: Fresh, base: Path) -> None:
    place, tree = fresh(), base / "tree"
    first = Client(place.open(), base / "first", workers=2)
    repository_id = first.create().key.repository_id
    make_tree(tree, seed=1)
    trees = {first.snapshot(tree).id: describe(tree)}
    second = Client(place.open(), base / "second", workers=2, random_bytes=os.urandom)
    with pytest.raises(UntrustedRepository):
        join(second.storage, RepositoryId(bytes(32)), lambda _: True, identity, second.around)
    join(second.storage, repository_id, lambda _: False, identity, second.around)
    before = set(listed(place.open(), names.PACKS))
    again = second.snapshot(tree)
    assert again.result.statistics.bytes_new == 0
    trees[again.id] = describe(tree)
    for turn, client in enumerate((first, second, first)):
        edit_tree(tree, seed=turn)
        trees[client.snapshot(tree).id] = describe(tree)
    assert before <= set(listed(place.open(), names.PACKS))
    for client in (first, second):
        assert {each.record.id for each in snapshots(client.open(), Silent())} == trees.keys()
        assert client.all_restored(list(trees)) == trees
    assert broken_promises(first) == []


@everywhere
def test_machines_that_write_at_the_same_time(fresh: Fresh, base: Path) -> None:
    """Each on connections of its own, in a thread; none sees less than what was committed."""
    place = fresh()
    storage = place.open()
    owner = Client(storage, base / "owner")
    repository_id = owner.create(pack_size=8 * KIB).key.repository_id
    trees: dict[str, object] = {}

    def work(number: int) -> None:
        own = storage if not place.url else place.open()
        client = Client(own, base / f"client-{number}", workers=1, random_bytes=os.urandom)
        join(client.storage, repository_id, lambda _: False, identity, client.around)
        tree = base / f"tree-{number}"
        make_tree(tree, seed=number % 2, files=8)
        for seed in range(2):
            trees[client.snapshot(tree).id] = describe(tree)
            edit_tree(tree, seed)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(trees) == 6
    assert owner.all_restored([each.record.id for each in snapshots(owner.open(), Silent())]) == trees
    assert listed(storage, names.SESSIONS) == []
    assert broken_promises(owner) == []


# -- what goes over the line


@pytest.mark.parametrize("pack_size", [16 * MIB, 40 * MIB])
def test_one_small_file_costs_less_than_3_mib_whatever_the_pack_size(
    seaweed: SeaweedFS, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, base: Path, pack_size: int
) -> None:
    """All bodies of all answers, for a machine that knows nothing yet; with default sizes of chunks and frames."""
    place = request.getfixturevalue("s3_places")()
    client = Client(place.open(), base / "client", workers=2)
    made = init(
        client.storage,
        [RECIPIENT],
        identity,
        InitOptions(parse_chunker("pyfastcdc"), pack_size=pack_size),
        client.around,
    )
    tree = base / "tree"
    small = {b"%03d" % number: noise(3 * KIB, number) for number in range(200)}
    plant(tree, {b"large": noise(20 * MIB, 1), b"many": small, b"other": noise(22 * MIB, 2)})
    taken = client.snapshot(tree)
    content = [info for info in indexed_packs(client.open()) if info.plane == ObjectKind.CONTENT_PACK]
    assert max(info.size for info in content) >= pack_size
    for name, value in place.environment.items():
        monkeypatch.setenv(name, value)
    prefix = place.url.removeprefix(f"s3://{FIRST_BUCKET}/")
    with proxied(seaweed.endpoint) as proxy:
        other = Client(_through(proxy.endpoint, prefix), base / "other", workers=2)
        join(other.storage, made.key.repository_id, lambda _: False, identity, other.around)
        for name in ("000", "117"):
            other.without_cache()
            proxy.forget()
            done = restored(other, taken, base / f"out-{name}", path=tree / "many" / name).done
            assert (done.files, done.problems) == (1, [])
            received = sum(each.received for each in proxy.passed)
            print(f"\n{received / MIB:.2f} MiB in {len(proxy.passed)} requests, packs of {pack_size / MIB:.0f} MiB")
            assert 0 < received < 3 * MIB
            found = [path for path in (base / f"out-{name}").rglob(name) if path.is_file()]
            assert [path.read_bytes() for path in found] == [small[name.encode()]]


def _through(endpoint: str, prefix: str) -> Storage:
    from chunkstore.storage.s3 import S3Storage
    from chunkstore.storage.s3_client import make_client

    client = make_client("s3://test", StorageOptions(endpoint_url=endpoint))
    return RetryingStorage(S3Storage(client, FIRST_BUCKET, prefix), PATIENCE_S, waiting())


class MeetingStorage(WatchedStorage):
    """The first call that is of the kind waits until a second one has begun: `met` says whether it came meanwhile."""

    def __init__(self, inner: Storage, verb: str, of_the_kind: Callable[[str], bool]) -> None:
        super().__init__(inner)
        self._verb = verb
        self._of_the_kind = of_the_kind
        self._turn = threading.Lock()
        self._second = threading.Event()
        self.counted: Counter[str] = Counter()
        self.met = False

    def put(self, name: str, data: Buffer) -> None:
        self._meet("put", name)
        self._inner.put(name, data)

    def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
        self._meet("get", name)
        return self._inner.get(name, offset, length)

    def _meet(self, verb: str, name: str) -> None:
        if verb != self._verb or not self._of_the_kind(name):
            return
        with self._turn:
            self.counted[name] += 1
            first = self.counted.total() == 1
        if first:
            self.met = self._second.wait(PATIENCE_S)
        else:
            self._second.set()


@everywhere
def test_uploads_overlap_with_reading_and_compressing(fresh: Fresh, base: Path) -> None:
    """Before a pack is stored, another one has been read, compressed, sealed, and put on its way."""
    client = Client(fresh().open(), base / "client", workers=2)
    client.create(frame_size=64 * KIB, pack_size=256 * KIB)
    tree = base / "tree"
    plant(tree, {b"%03d" % number: noise(64 * KIB, number) for number in range(24)})
    meeting = MeetingStorage(client.storage, "put", lambda name: name.startswith(names.PACKS))
    taken = client.but(storage=meeting).snapshot(tree)
    assert meeting.met
    assert len(meeting.counted) >= 5
    assert client.restored_afresh(taken.id) == describe(tree)


@everywhere
def test_a_restore_fetches_several_ranges_at_once_and_neighbours_in_one(fresh: Fresh, base: Path) -> None:
    client = Client(fresh().open(), base / "client", workers=2)
    client.create(frame_size=64 * KIB, pack_size=1 * MIB)
    tree = base / "tree"
    plant(tree, {b"%03d" % number: noise(64 * KIB, number) for number in range(48)})
    taken = client.snapshot(tree)
    content = [info for info in indexed_packs(client.open()) if info.plane == ObjectKind.CONTENT_PACK]
    packs = {names.pack(info.pack_id) for info in content}
    assert len(packs) >= 3
    meeting = MeetingStorage(client.storage, "get", lambda name: name in packs)
    assert client.but(storage=meeting).restored_afresh(taken.id) == describe(tree)
    assert meeting.met
    assert meeting.counted.keys() == packs
    frames = sum(len(info.frames) for info in content)
    print(f"\n{meeting.counted.total()} requests for {frames} frames in {len(packs)} packs")
    assert meeting.counted.total() < frames / 2
