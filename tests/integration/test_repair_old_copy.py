"""An older copy of the repository was brought back: machines that have seen the newer one refuse it, until somebody says so."""

from __future__ import annotations

import pytest

from chunkstore.errors import UntrustedRepository
from chunkstore.operations.repair.index import repair_index
from chunkstore.progress import Silent
from chunkstore.storage import MemoryStorage
from tests.engine import clone, describe, temporary_directory
from tests.pruning import EVERYTHING, make_history, pruned, waste


@pytest.mark.parametrize("remembered", ["cache", "state"])
def test_after_a_repair_of_the_index_it_is_used_again_however_old_it_is(remembered: str) -> None:
    with temporary_directory() as base:
        history = make_history(base, snapshots=3)
        old, trees = clone(history.storage, MemoryStorage()), dict(history.trees)
        for number in range(4):
            history.forget(history.ids()[0])
            assert pruned(history.client, EVERYTHING).finished
            history.snapshot(edit=number + 50)
        history.client = history.client.but(storage=old)
        history.trees = trees
        if remembered == "state":
            history.client.without_cache()
        with pytest.raises(UntrustedRepository, match="repair index"):
            history.client.snapshot(history.tree)
        with pytest.raises(UntrustedRepository, match="repair index"):
            history.client.restored(history.ids()[0])
        repair_index(history.client.open("prune"), history.client.around, Silent())
        taken = history.client.snapshot(history.tree)
        history.trees[taken.id] = describe(history.tree)
        assert history.client.restored(history.ids()[0]) == history.trees[history.ids()[0]]
        history.check()
        pruned(history.client)
        history.check()
        assert waste(history.client) == []
