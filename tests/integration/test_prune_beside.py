"""A whole prune goes by at any call at which somebody else reads what a prune clears away: old plans, marks, indexes, packs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chunkstore.format import names
from chunkstore.operations.forget.found import find_all
from chunkstore.operations.prune.pruning import examine
from chunkstore.operations.stats.counting import stats
from chunkstore.progress import Silent
from chunkstore.storage import MemoryStorage
from tests.engine import KIB, Client, WatchedStorage, broken_promises, temporary_directory
from tests.pruning import EVERYTHING, History, make_history, pruned

Work = Callable[[History, Client], None]


@pytest.fixture(scope="module")
def history() -> Iterator[History]:
    """A prune was there, and another one has something to do."""
    with temporary_directory() as base:
        made = make_history(base, 3, files=6, largest=6 * KIB, frame_size=8 * KIB, pack_size=16 * KIB)
        made.forget(made.ids()[0])
        assert pruned(made.client).number == 1
        made.snapshot(edit=50)
        made.forget(made.ids()[0])
        yield made


def _snapshot(history: History, client: Client) -> None:
    taken = client.snapshot(history.tree)
    assert client.but(storage=history.storage).restored_afresh(taken.id) == history.trees[history.ids()[-1]]


def _examine(history: History, client: Client) -> None:
    assert examine(client.open("prune"), EVERYTHING, client.around, Silent()).snapshots == 2


def _stats(history: History, client: Client) -> None:
    found = stats(client.open(), list, frozenset(), client.around, Silent())
    assert found.complete
    assert found.snapshots == 2


def _forget(history: History, client: Client) -> None:
    assert {each.id for each in find_all(client.open("prune"), client.around, Silent()).candidates} == set(
        history.ids()
    )


@pytest.mark.parametrize("work", [_snapshot, _examine, _stats, _forget])
def test_nobody_minds(history: History, work: Work, tmp_path: Path) -> None:
    number = 0
    while _with_a_prune_at(history, work, number, tmp_path / f"{number}"):
        number += 1
    assert number > 1


def _with_a_prune_at(history: History, work: Work, number: int, base: Path) -> bool:
    """Whether there was such a call: the one of this number at which something is read."""
    mine = history.left_on(MemoryStorage(), base / "mine")
    mine.client.without_cache()
    other = mine.client.copy(base / "other")
    left = [number]

    def prune_then(verb: str, name: str) -> None:
        if verb == "get" and not name.startswith((names.PACKS, "config/", "recipients/")):
            left[0] -= 1
            if left[0] == -1:
                assert pruned(other).number == 2

    work(mine, mine.client.but(storage=WatchedStorage(mine.storage, prune_then)))
    assert broken_promises(mine.client) == []
    return left[0] < 0
