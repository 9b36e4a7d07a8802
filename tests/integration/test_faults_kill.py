"""kill -9, for real and at any time: what was there is there, and the next run works."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from chunkstore.format import names
from chunkstore.ids import SnapshotId
from tests.engine import (
    KIB,
    ROOT,
    Client,
    Starter,
    Tree,
    broken_promises,
    chunk_ids,
    command,
    describe,
    edit_tree,
    indexed_packs,
    listed,
    local_client,
    make_tree,
    snapshot_ids,
    temporary_directory,
)
from tests.storages import REMOTE, Place, fresh_places

NAMES = re.compile(
    r"config/\d{16}|recipients/\d{16}|keys/[0-9a-f]+\.\d{4}|packs/([0-9a-f]{2})/\1[0-9a-f]{62}"
    r"|index/run-[0-9a-f]{32}-\d{6}|snapshots/[0-9a-f]{32}|sessions/[0-9a-f]{32}"
)


def start(*arguments: object) -> subprocess.Popen[str]:
    """A process that does one thing."""
    return subprocess.Popen(command(*arguments), cwd=ROOT, stdout=subprocess.PIPE, text=True)


def change(tree: Path, seed: int) -> None:
    edit_tree(tree, seed)
    (tree / f"much-{seed}").write_bytes(random.Random(seed).randbytes(600 * KIB))


def check_what_is_there(client: Client, trees: dict[SnapshotId, Tree]) -> None:
    for info in client.storage.list(""):
        assert NAMES.fullmatch(info.name), info.name
    assert client.all_restored(list(trees)) == trees


@pytest.mark.parametrize("options", [(), ("temporary-files",)], ids=["unnamed files", "temporary files"])
def test_killed_at_any_time(options: tuple[str, ...]) -> None:
    with temporary_directory() as base:
        location = base / "repository"
        client = local_client(location, base / "client", 2, temporary_files=bool(options))
        kill_snapshots(client, Place(lambda: client.storage, str(location)), *options)
        left = [path.name for path in (location / ".tmp").iterdir()] if (location / ".tmp").exists() else []
        print(f"{len(left)} temporary files left")


@pytest.mark.parametrize("kind", REMOTE)
def test_killed_at_any_time_while_it_talks_to_a_server(kind: str, request: pytest.FixtureRequest) -> None:
    place = fresh_places(kind, request)()
    with temporary_directory() as base:
        client = Client(place.open(), base / "client", workers=2, random_bytes=os.urandom)
        kill_snapshots(client, place, runs=3, hits=2, files=60, modules=[f"chunkstore.storage.{kind}", "boto3.session"])


def kill_snapshots(
    client: Client,
    place: Place,
    *options: str,
    runs: int = 10,
    hits: int = 6,
    files: int = 200,
    modules: Sequence[str] = (),
) -> None:
    """At least so many runs, of which at least so many were hit."""
    dice = random.Random(7)
    with contextlib.ExitStack() as stack:
        base = stack.enter_context(temporary_directory())
        tree = base / "tree"
        make_tree(tree, seed=1, files=files, largest=6 * KIB)
        client.create(frame_size=256 * KIB, pack_size=96 * KIB)
        trees = {client.snapshot(tree).id: describe(tree)}
        arguments = ("snapshot", place.url, client.base, tree, 2, *options)
        change(tree, 100)
        starter = stack.enter_context(Starter(place.environment, modules))
        starter.start(*arguments)
        began = time.perf_counter()
        assert starter.wait() == 0
        whole_run = time.perf_counter() - began
        (second,) = set(snapshot_ids(client.storage)) - set(trees)
        trees[second] = describe(tree)

        killed = committed = 0
        for kill in range(40):  # until enough were hit in time: how fast a run is differs from machine to machine
            if kill >= runs and killed >= hits:
                break
            if kill % 4 == 0:
                change(tree, kill)
            now = describe(tree)
            pid = starter.start(*arguments)
            time.sleep(dice.uniform(0, 1.3 * whole_run))
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            killed += starter.wait() == -signal.SIGKILL
            new = set(snapshot_ids(client.storage)) - set(trees)
            committed += len(new)
            check_what_is_there(client, trees | dict.fromkeys(new, now))
            trees = dict(list(trees.items())[:1]) | (dict.fromkeys(new, now) or dict(list(trees.items())[-1:]))
            ids = set(snapshot_ids(client.storage))
            for each in ids - set(trees):  # forgotten, so that the test does not restore more and more
                client.storage.delete(names.snapshot(each))
        last = client.snapshot(tree)
        assert client.restored_afresh(last.id) == describe(tree)
        check_what_is_there(client, trees)
        assert broken_promises(client) == []
        stored = chunk_ids(indexed_packs(client.open()))
        assert len(stored) == len(set(stored))
        print(f"\n{kill} runs of {whole_run:.2f} s, {killed} killed, {committed} committed")
        assert killed >= hits
        assert len(listed(client.storage, names.SESSIONS)) <= 13


def test_what_killed_runs_leave_in_the_cache_goes_away() -> None:
    """The next run that succeeds takes it away: a machine whose nightly run is killed must not fill its disk."""
    with temporary_directory() as base:
        tree = base / "tree"
        make_tree(tree, seed=1, files=8)
        client = local_client(base / "repository", base / "client", 0)
        client.create()
        client.snapshot(tree)
        with Starter() as starter:
            for _ in range(3):
                pid = starter.start("snapshot", base / "repository", base / "client", tree, 0, "kill-yourself")
                assert pid
                assert starter.wait() == -signal.SIGKILL
        client.snapshot(tree)
        left = sorted(
            path.suffix for path in client.places.cache.rglob("*") if path.suffix in (".new", ".ids", ".manifest")
        )
        assert left == [".ids", ".manifest"]


def test_temporary_files_of_the_killed_are_never_listed() -> None:
    """As a crash leaves them: whole, half and empty."""
    with temporary_directory() as base:
        tree = base / "tree"
        make_tree(tree, seed=1, files=8)
        client = local_client(base / "repository", base / "client", 0, temporary_files=True)
        client.create()
        taken = client.snapshot(tree)
        before = listed(client.storage)
        for number, data in enumerate((b"", b"CHUNKSTO", client.storage.get(before[-1]))):
            (base / "repository" / ".tmp" / f"{number:032x}").write_bytes(data)
        assert listed(client.storage) == before
        for prefix in ("packs/", "index/", "snapshots/", "sessions/", "config/"):
            assert [name for name in before if name.startswith(prefix)] == listed(client.storage, prefix)
        assert client.restored(taken.id) == describe(tree)
        again = client.snapshot(tree)
        assert client.all_restored_afresh([taken.id, again.id]) == dict.fromkeys((taken.id, again.id), describe(tree))


def test_two_processes_at_once_on_one_machine_and_one_repository() -> None:
    """They share state, index and last manifest."""
    with temporary_directory() as base:
        trees = [base / f"tree-{n}" for n in range(2)]
        client = local_client(base / "repository", base / "client", 2)
        client.create(frame_size=256 * KIB, pack_size=96 * KIB)
        for n, tree in enumerate(trees):
            make_tree(tree, seed=n, files=150)
        client.snapshot(trees[0])
        change(trees[0], 5)
        for _ in range(1):
            targets = [trees[0], trees[0], trees[1]]
            processes = [start("snapshot", base / "repository", base / "client", tree, 2) for tree in targets]
            ids = []
            for process in processes:
                out, _ = process.communicate(timeout=120)
                assert process.returncode == 0
                ids.append(SnapshotId(out.splitlines()[1].removeprefix("result ")))
            expected = {each: describe(tree) for each, tree in zip(ids, targets, strict=True)}
            assert client.all_restored_afresh(ids) == expected
            assert client.all_restored(ids) == expected
            change(trees[0], 6)
        assert broken_promises(client) == []
        assert listed(client.storage, names.SESSIONS) == []
        assert client.open().state.sequence == 4
