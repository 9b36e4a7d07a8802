"""A run that was taken for dead, and whose packs are gone, still publishes its index object; nobody relies on what that says."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from chunkstore.format import names
from chunkstore.operations.repair.index import repair_index
from chunkstore.progress import Silent
from tests.engine import WatchedStorage, describe, make_tree, temporary_directory
from tests.pruning import History, make_history, pruned


@pytest.fixture
def history() -> Iterator[History]:
    with temporary_directory() as base:
        made = make_history(base)
        made.forget(*made.ids()[:4])
        yield made


def snapshot_while(history: History, meddle: object) -> None:
    """A snapshot; `meddle` is called once, just before its first index object is put."""
    called = 0

    def before(verb: str, name: str) -> None:
        nonlocal called
        if not called and verb == "put_if_absent" and name.startswith(names.RUNS):
            called += 1
            meddle()  # type: ignore[operator]

    (history.tree / "new").write_bytes(os.urandom(90_000))
    watched = history.client.but(storage=WatchedStorage(history.storage, before=before), random_bytes=os.urandom)
    taken = watched.snapshot(history.tree)
    assert called
    history.trees[taken.id] = describe(history.tree)


def test_while_another_process_of_the_same_machine_knows_the_new_index_already(
    history: History, tmp_path: Path
) -> None:
    """They share one local index: the rows of the dead run must not come into it after what it says about them."""
    other = tmp_path / "other"
    make_tree(other, 77)

    def meddle() -> None:
        assert pruned(history.client.copy(tmp_path / "pruner").but(random_bytes=os.urandom)).fenced == 1
        sibling = history.client.but(random_bytes=os.urandom).snapshot(other)
        history.trees[sibling.id] = describe(other)

    snapshot_while(history, meddle)
    history.check()


def test_after_its_packs_came_into_an_index_that_was_made_anew(history: History, tmp_path: Path) -> None:
    def meddle() -> None:
        pruner = history.client.copy(tmp_path / "pruner").but(random_bytes=os.urandom)
        repair_index(pruner.open("prune"), pruner.around, Silent())
        assert pruned(pruner).fenced == 1

    snapshot_while(history, meddle)
    history.check()


def test_an_index_object_that_arrives_damaged_once_is_asked_for_again(history: History, tmp_path: Path) -> None:
    spoiled: list[str] = []

    class Once(WatchedStorage):
        def get(self, name: str, offset: int = 0, length: int | None = None) -> bytes:
            data = super().get(name, offset, length)
            if name.startswith(names.RUNS) and not spoiled:
                spoiled.append(name)
                return data[:-1] + bytes([data[-1] ^ 1])
            return data

    other = tmp_path / "other"
    make_tree(other, 77)
    machine = history.client.copy(tmp_path / "machine").without_cache().but(random_bytes=os.urandom)
    taken = machine.but(storage=Once(history.storage)).snapshot(other)
    assert spoiled
    history.trees[taken.id] = describe(other)
    assert machine.all_restored(history.ids()) == history.trees
    pruned(machine)
    history.check()
