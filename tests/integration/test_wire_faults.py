"""The network to an S3 server fails in every way: each run ends right or with a clear error, and nothing committed is lost.

A real SeaweedFS behind a proxy that spoils requests and answers. Everything is checked afterwards past the proxy.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from secrets import token_hex

import pytest

from chunkstore.errors import ChunkstoreError, Damaged, StorageError, StorageUnreachable
from chunkstore.ids import SnapshotId
from chunkstore.storage import MemoryStorage, Storage, StorageOptions, Waiting
from chunkstore.storage.retrying import RetryingStorage
from tests.engine import (
    KIB,
    Client,
    Tree,
    broken_promises,
    describe,
    edit_tree,
    listed,
    make_tree,
    snapshot_ids,
    temporary_directory,
)
from tests.fault_proxy import FaultProxy, Rule, Trouble, proxied
from tests.s3_server import FIRST_BUCKET, SeaweedFS

pytest.importorskip("boto3")

each_kind = pytest.mark.exhaustive
"""Of trouble by itself. All kinds one after the other, and those that take time, are in every run."""
FOR_EVER = 10**9
OFTEN = 4
"""Once more than botocore tries by itself."""
READ_TIMEOUT_S = 2.0
DEADLINE_S = 60.0
"""So long that whatever passes is sat out, however busy this machine is."""


@dataclass(frozen=True)
class Base:
    """A client of a repository with one snapshot of a tree that has been edited since; in memory."""

    client: Client
    storage: MemoryStorage
    tree: Path
    first: SnapshotId
    was: Tree
    now: Tree


@dataclass(frozen=True)
class World:
    """The same in a place of its own in a bucket: `client` goes through the proxy, `behind` does not."""

    base: Base
    proxy: FaultProxy
    client: Client
    behind: Client
    prefix: str

    def spoil(self, *rules: Rule) -> None:
        """Rules whose targets are kinds of objects: `packs/`, `snapshots/`."""
        self.proxy.spoil(*(replace(rule, target=f"{self.prefix}{rule.target}") for rule in rules))

    def with_little_patience(self) -> Client:
        return self.client.but(storage=through(self.proxy.endpoint, self.prefix, 1.5))

    def check(self, made: Sequence[SnapshotId]) -> None:
        """The first snapshot and those of the edited tree are there, no other, and restore to what they were."""
        assert sorted(snapshot_ids(self.behind.storage)) == sorted([self.base.first, *made])
        assert not broken_promises(self.behind)
        trees = self.behind.all_restored_afresh([self.base.first, *made])
        assert trees[self.base.first] == self.base.was
        assert all(trees[each] == self.base.now for each in made)


def through(endpoint: str, prefix: str, deadline: float) -> Storage:
    from chunkstore.storage.s3 import S3Storage
    from chunkstore.storage.s3_client import make_client

    client = make_client("s3://test", StorageOptions(endpoint_url=endpoint), read_timeout=READ_TIMEOUT_S)
    storage = S3Storage(client, FIRST_BUCKET, prefix)
    return RetryingStorage(storage, deadline, Waiting(time.monotonic, time.sleep, lambda: 0.1))


@pytest.fixture(scope="module")
def base() -> Iterator[Base]:
    with temporary_directory() as scratch:
        tree, storage = scratch / "tree", MemoryStorage()
        make_tree(tree, seed=1, files=10)
        client = Client(storage, scratch / "client")
        client.create(pack_size=16 * KIB)
        first, was = client.snapshot(tree).id, describe(tree)
        edit_tree(tree, seed=2)
        edit_tree(tree, seed=3)
        yield Base(client, storage, tree, first, was, describe(tree))


@pytest.fixture
def world(base: Base, seaweed: SeaweedFS, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    for name, value in seaweed.access().environment.items():
        if value is not None:
            monkeypatch.setenv(name, value)
    prefix = f"wire-{token_hex(6)}/"
    with proxied(seaweed.endpoint) as proxy, temporary_directory() as scratch:
        direct = through(seaweed.endpoint, prefix, DEADLINE_S)
        for name in listed(base.storage):
            direct.put(name, base.storage.get(name))
        client = base.client.copy(scratch / "client")
        behind = client.but(storage=direct)
        yield World(base, proxy, client.but(storage=through(proxy.endpoint, prefix, DEADLINE_S)), behind, prefix)


WRITING: dict[str, Callable[[int], Rule]] = {
    "503": lambda times: Rule(Trouble.STATUS, status=503, times=times),
    "500": lambda times: Rule(Trouble.STATUS, status=500, times=times),
    "reset before": lambda times: Rule(Trouble.RESET_BEFORE, times=times),
    "reset in the request": lambda times: Rule(Trouble.RESET_IN_REQUEST, at=1000, times=times),
    "lost answer": lambda times: Rule(Trouble.LOST_ANSWER, times=times),
    "corrupt request": lambda times: Rule(Trouble.CORRUPT_REQUEST, at=700, times=times),
}
READING: dict[str, Callable[[int], Rule]] = {
    "503": lambda times: Rule(Trouble.STATUS, status=503, times=times),
    "500": lambda times: Rule(Trouble.STATUS, status=500, times=times),
    "reset before": lambda times: Rule(Trouble.RESET_BEFORE, times=times),
    "lost answer": lambda times: Rule(Trouble.LOST_ANSWER, times=times),
    "truncated answer": lambda times: Rule(Trouble.TRUNCATED_ANSWER, at=200, times=times),
    "reset in the answer": lambda times: Rule(Trouble.RESET_IN_ANSWER, at=200, times=times),
}
MEANEST = ("503", "lost answer")
KINDS_WRITTEN = ("sessions/", "packs/", "index/", "snapshots/")


@each_kind
@pytest.mark.parametrize(("trouble", "times"), [*((trouble, OFTEN) for trouble in WRITING), ("lost answer", 1)])
def test_a_snapshot_gets_over_trouble_with_writing(world: World, trouble: str, times: int) -> None:
    """In the midst of the packs, and for each other kind of object."""
    rule = replace(WRITING[trouble](times), method="PUT")
    world.spoil(*(replace(rule, target=kind, skip=2 * (kind == "packs/")) for kind in KINDS_WRITTEN))
    made = world.client.snapshot(world.base.tree)
    assert not world.proxy.pending
    world.check([made.id])


@each_kind
@pytest.mark.parametrize("trouble", READING)
def test_a_snapshot_gets_over_trouble_with_reading(world: World, trouble: str) -> None:
    rule = READING[trouble](OFTEN)
    world.client.without_cache()
    world.spoil(replace(rule, method="GET", target="config/"), replace(rule, method="GET", target="index/"))
    world.proxy.spoil(replace(rule, method="GET", target="list-type=2", skip=1))
    made = world.client.snapshot(world.base.tree)
    assert not world.proxy.pending
    world.check([made.id])


@each_kind
@pytest.mark.parametrize("trouble", READING)
def test_a_restore_gets_over_trouble(world: World, trouble: str) -> None:
    rule = READING[trouble](OFTEN)
    world.client.without_cache()
    world.spoil(replace(rule, method="GET", target="packs/", skip=2), replace(rule, method="GET", target="index/"))
    assert world.client.restored(world.base.first) == world.base.was
    assert not world.proxy.pending
    world.check([])


def test_a_restore_does_not_believe_corrupted_ranges(world: World) -> None:
    """No checksum comes with a range: only the seal of what is in it tells."""
    world.spoil(Rule(Trouble.CORRUPT_ANSWER, method="GET", target="packs/", skip=2, at=500, times=FOR_EVER))
    tree, done = world.client.restore(world.base.first)
    assert done.problems
    assert all("not authentic" in problem for problem in map(str, done.problems))
    files = {path: entry for path, entry in world.base.was.items() if entry[0] == "file"}
    assert all(files[path] == entry for path, entry in tree.items() if entry[0] == "file")
    world.proxy.heal()
    assert world.client.restored(world.base.first) == world.base.was


@each_kind
@pytest.mark.parametrize("skip", range(4))
def test_what_was_corrupted_once_on_its_way_is_fetched_again(world: World, skip: int) -> None:
    """A frame of the tree or of content: its seal tells, and the object behind it is whole."""
    world.spoil(Rule(Trouble.CORRUPT_ANSWER, method="GET", target="packs/", skip=skip, at=5000))
    assert world.client.without_cache().restored(world.base.first) == world.base.was
    assert not world.proxy.pending


@contextmanager
def clear_error() -> Iterator[None]:
    with pytest.raises(StorageUnreachable) as caught:
        yield
    message = str(caught.value)
    assert "s3://" in message
    assert "tried" in message
    assert "key" not in message.lower() or "keys" in message
    assert "Signature=" not in message


@each_kind
@pytest.mark.parametrize(
    ("trouble", "kind"),
    [(trouble, kind) for trouble in WRITING for kind in KINDS_WRITTEN if kind == "packs/" or trouble in MEANEST],
)
def test_a_snapshot_that_can_not_be_written_says_so(world: World, trouble: str, kind: str) -> None:
    """Whatever becomes of it, the next one is right. With the answer, the record itself may be there already."""
    skip = 2 if kind == "packs/" else 0
    world.spoil(replace(WRITING[trouble](FOR_EVER), method="PUT", target=kind, skip=skip))
    with clear_error():
        world.with_little_patience().snapshot(world.base.tree)
    world.proxy.heal()
    left = [each for each in snapshot_ids(world.behind.storage) if each != world.base.first]
    assert len(left) == (trouble == "lost answer" and kind == "snapshots/")
    world.check(left)
    made = world.client.snapshot(world.base.tree)
    world.check([*left, made.id])


@each_kind
@pytest.mark.parametrize("trouble", READING)
def test_a_restore_that_can_not_read_says_so(world: World, trouble: str) -> None:
    world.spoil(replace(READING[trouble](FOR_EVER), method="GET", target="packs/", skip=3))
    done = None
    try:
        tree, done = world.with_little_patience().restore(world.base.first)
    except StorageError:
        tree = {}
    assert done is None or done.problems
    assert tree != world.base.was
    world.proxy.heal()
    world.check([])


@each_kind
@pytest.mark.parametrize("at", [0, 150, 300, 10**6])
def test_a_corrupted_listing_deceives_nobody(world: World, at: int) -> None:
    """Without TLS nothing protects it. What it hides is stored again; what it invents is missed."""
    world.client.without_cache()
    world.proxy.spoil(Rule(Trouble.CORRUPT_ANSWER, method="GET", target="list-type=2", at=at, times=FOR_EVER))
    made = []
    with suppress(ChunkstoreError):
        made = [world.with_little_patience().snapshot(world.base.tree).id]
    world.proxy.heal()
    made = made or [each for each in snapshot_ids(world.behind.storage) if each != world.base.first]
    world.check(made)


def test_a_corrupted_config_is_not_believed(world: World) -> None:
    world.spoil(Rule(Trouble.CORRUPT_ANSWER, method="GET", target="config/", at=60))
    made = []
    with suppress(Damaged):
        made = [world.client.snapshot(world.base.tree).id]
    world.check(made)


@pytest.mark.parametrize("kind", ["packs/", "snapshots/"])
def test_a_server_that_falls_silent_is_asked_again(world: World, kind: str) -> None:
    world.spoil(Rule(Trouble.STALL, method="PUT", target=kind, seconds=2 * READ_TIMEOUT_S))
    made = world.client.snapshot(world.base.tree)
    assert not world.proxy.pending
    world.check([made.id])


def test_a_server_that_falls_silent_in_a_restore_is_asked_again(world: World) -> None:
    world.spoil(Rule(Trouble.STALL, method="GET", target="packs/", skip=1, seconds=2 * READ_TIMEOUT_S))
    assert world.client.restored(world.base.first) == world.base.was
    assert not world.proxy.pending


def test_a_slow_line_is_only_slow(world: World) -> None:
    world.spoil(Rule(Trouble.THROTTLE, target="packs/", rate=64 * KIB, times=4))
    made = world.client.snapshot(world.base.tree)
    world.check([made.id])
    world.spoil(Rule(Trouble.THROTTLE, target="packs/", rate=32 * KIB, times=4))
    assert world.client.restored(made.id) == world.base.now


def test_everything_at_once(world: World) -> None:
    """Many small troubles one after the other, with workers."""
    for turn, (name, make) in enumerate([*WRITING.items(), *READING.items()]):
        method = "PUT" if name in WRITING else "GET"
        world.spoil(replace(make(2), method=method, skip=turn % 4))
    made = world.client.but(workers=2).snapshot(world.base.tree)
    world.check([made.id])
    world.proxy.heal()


def test_the_proxy_counts(world: World) -> None:
    world.proxy.forget()
    world.client.snapshot(world.base.tree)
    counts = world.proxy.counts(f"{FIRST_BUCKET}/{world.prefix}")
    assert counts["PUT", "snapshots"] == 1
    assert counts["PUT", "sessions"] == 1
    assert counts["DELETE", "sessions"] == 1
    assert counts["PUT", "packs"] >= 1
    assert counts["LIST", "index"] == 2
    assert {verb for verb, _ in counts} == {"PUT", "GET", "LIST", "DELETE"}
    assert sum(each.sent for each in world.proxy.passed) > 10 * KIB
