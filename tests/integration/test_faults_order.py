"""The order of publication (I-1, I-4), looked at behind the storage's back after every single call."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from chunkstore.format import names
from chunkstore.storage import MemoryStorage, Storage
from chunkstore.storage.faulty import RecordingStorage
from tests.engine import (
    KIB,
    Client,
    WatchedStorage,
    broken_promises,
    describe,
    edit_tree,
    listed,
    make_tree,
    put_plan,
    run_indexes,
    temporary_directory,
)
from tests.storages import Fresh, elsewhere


class Watchman:
    """Looks after every call that changes something whether what was promised holds."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.looks = 0
        self.broken: list[str] = []
        self.seen: list[tuple[str, str]] = []

    def __call__(self, verb: str, name: str) -> None:
        self.seen.append((verb, name))
        if verb in ("get", "stat", "list"):
            return
        self.looks += 1
        self.broken += [f"after {verb} {name}: {each}" for each in broken_promises(self._client)]


@pytest.mark.parametrize("workers", [0, 2])
def test_what_is_published_is_whole_at_any_moment(workers: int) -> None:
    looks = watch(MemoryStorage(), workers, files=18, snapshots=3)
    print(f"\nlooked behind the storage {looks} times, {workers} workers")
    assert looks > 30  # how many depends on which of two threads is first


@elsewhere
def test_what_is_published_on_a_disk_or_a_server_is_whole_at_any_moment(fresh: Fresh) -> None:
    """With fewer files: each look reads all there is."""
    assert watch(fresh().open(), workers=2, files=3, snapshots=2) > 10


def watch(storage: Storage, workers: int, files: int, snapshots: int) -> int:
    """How often somebody looked while snapshots were made; nothing was broken at any time."""
    with temporary_directory() as base:
        tree = base / "tree"
        make_tree(tree, seed=1, files=files, largest=max(files, 8) * KIB)
        client = Client(storage, base / "client", workers=workers)
        client.create(pack_size=8 * 1024)
        watchman = Watchman(client.but(workers=0))
        watched = client.but(storage=WatchedStorage(client.storage, after=watchman))
        taken = []
        for seed in range(snapshots):
            ids = [watched.snapshot(tree).id]
            if seed == 1:  # nothing can be taken over blindly, and the last run's chunks are not relied on
                everything = [info.pack_id for run in run_indexes(client.open()).values() for info in run.packs]
                put_plan(client.open(), 1, everything)
                ids.append(watched.snapshot(tree).id)
            taken.append((ids, describe(tree)))
            edit_tree(tree, seed)
        assert watchman.broken == []
        for ids, tree_then in taken:
            assert all(tree == tree_then for tree in client.all_restored_afresh(ids).values())
    return watchman.looks


def test_the_watchman_sees_what_is_broken() -> None:
    """A test of the test: a pack that is missing, one that is cut off, an index object that is missing."""
    with temporary_directory() as base:
        tree = base / "tree"
        make_tree(tree, seed=1, files=6)
        client = Client(MemoryStorage(), base / "client")
        client.create()
        client.snapshot(tree)
        assert broken_promises(client) == []
        pack, run = listed(client.storage, names.PACKS)[0], listed(client.storage, names.RUNS)[0]
        for name, data in ((pack, None), (pack, client.storage.get(pack)[:-1]), (run, None)):
            whole = client.storage.get(name)
            client.storage.delete(name)
            if data is not None:
                client.storage.put(name, data)
            assert broken_promises(client)
            client.storage.put(name, whole)
        assert broken_promises(client) == []


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("workers", [0, 2])
def test_the_first_and_the_last_calls(workers: int, cache: bool) -> None:
    """Session, plans, runs, generations; at the end packs, index object, record, session."""
    with temporary_directory() as base:
        client, tree = _edited(base, workers)
        if not cache:
            client.without_cache()
        recorded = RecordingStorage(client.storage)
        taken = client.but(storage=recorded).snapshot(tree)
    calls = [(call.verb, call.name) for call in recorded.calls if not call.name.startswith(names.CONFIG)]
    session, record = names.session(taken.id), names.snapshot(taken.id)
    assert calls[:4] == [
        ("put", session),
        ("list", names.PLANS),
        ("list", names.RUNS),
        ("list", names.GENERATIONS),
    ]
    assert calls[-2:] == [("put_if_absent", record), ("delete", session)]
    stored = [position for position, (_, name) in enumerate(calls) if name.startswith(names.PACKS)]
    published = [
        position
        for position, (verb, name) in enumerate(calls)
        if verb != "get" and name.startswith(f"{names.RUNS}{taken.id}")
    ]
    assert stored[-1] < published[-1] < len(calls) - 2
    assert len(stored) > 3
    assert len(published) > 1
    # Nobody else's object is changed, nothing is deleted but the session.
    changed = {name for verb, name in calls if verb in ("put", "put_if_absent", "delete")}
    assert all(taken.id in name or name.startswith(names.PACKS) for name in changed)


@pytest.mark.parametrize("workers", [0, 2])
def test_the_session_exists_from_before_the_plans_are_listed_until_after_the_commit(workers: int) -> None:
    with temporary_directory() as base:
        client, tree = _edited(base, workers)
        inner, without, lock = client.storage, [], threading.Lock()

        def look(verb: str, name: str) -> None:
            with lock:
                if not listed(inner, names.SESSIONS):
                    without.append((verb, name))

        taken = client.but(storage=WatchedStorage(inner, before=look)).snapshot(tree)
        assert listed(inner, names.SESSIONS) == []
    without = [(verb, name) for verb, name in without if not name.startswith(names.CONFIG)]
    assert without == [
        ("put", names.session(taken.id)),
    ]


def _edited(base: Path, workers: int) -> tuple[Client, Path]:
    """A client, and a tree that was edited since its snapshot."""
    tree = base / "tree"
    make_tree(tree, seed=1)
    client = Client(MemoryStorage(), base / "client", workers=workers)
    client.create(pack_size=8 * 1024)
    client.snapshot(tree)
    for seed in range(3):
        edit_tree(tree, seed)
    return client, tree
