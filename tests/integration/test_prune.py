"""Prune deletes what no snapshot needs, and nothing else."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator

import pytest

from chunkstore.errors import PruneRefused, StorageFull, StorageUnreachable
from chunkstore.format import names
from chunkstore.operations.prune.pruning import examine
from chunkstore.operations.prune.values import PruneOptions
from chunkstore.progress import Silent
from chunkstore.storage import MemoryStorage, Storage
from chunkstore.storage.faulty import RecordingStorage
from chunkstore.storage.protocol import Buffer
from tests.engine import KIB, Client, clone, describe, listed, put_plan, repack, temporary_directory
from tests.pruning import EVERYTHING, History, make_history, objects, only, pruned, usage, waste


@pytest.fixture
def history() -> Iterator[History]:
    with temporary_directory() as base:
        yield make_history(base)


def stored(storage: Storage, prefix: str = names.PACKS) -> int:
    return sum(info.size for info in storage.list(prefix))


# -- what goes and what stays


def test_what_only_forgotten_snapshots_needed_goes_and_the_rest_stays(history: History) -> None:
    before = stored(history.storage)
    history.forget(*history.ids()[:4])
    done = pruned(history.client)
    assert done.finished
    assert done.deleted.packs > 0
    assert stored(history.storage) == before - done.deleted.size + done.written.size
    history.check()
    assert waste(history.client) == []


def test_a_second_prune_finds_nothing_to_do(history: History) -> None:
    history.forget(history.ids()[0], history.ids()[3])
    pruned(history.client)
    before = objects(history.storage)
    assert pruned(history.client).number is None
    assert objects(history.storage) == before


def test_with_nothing_forgotten_no_chunk_goes(history: History) -> None:
    with usage(history.client) as before:
        chunks = before.chunks
    pruned(history.client)
    with usage(history.client) as after:
        assert after.chunks == chunks
    history.check()


def test_the_next_snapshot_stores_again_what_had_gone_and_nothing_else(history: History) -> None:
    last = history.ids()[-1]
    history.forget(*history.ids()[:-1])
    pruned(history.client)
    recorded = RecordingStorage(history.storage)
    again = history.client.but(storage=recorded).snapshot(history.tree)
    assert recorded.bytes_put < stored(history.storage) / 3, "unchanged data was uploaded again"
    assert again.warnings == []
    history.trees[again.id] = history.trees[last]
    history.check()


def test_much_unused_is_repacked_and_little_is_left_alone(history: History) -> None:
    history.forget(*history.ids()[:4])
    with usage(history.client) as before:
        unused = sum(before.pack_frames) - sum(before.pack_used)
        used = sum(before.pack_used)
    assert unused > 0
    lazy = pruned(history.client, only(EVERYTHING, max_unused=1.0))
    assert lazy.written.packs == 0
    with usage(history.client) as between:
        left = sum(between.pack_frames) - sum(between.pack_used)
    assert 0 < left <= used
    assert pruned(history.client).written.packs > 0
    with usage(history.client) as after:
        assert sum(after.pack_frames) == sum(after.pack_used)
    history.check()


def test_at_most_so_much_is_copied(history: History) -> None:
    history.forget(*history.ids()[:4])
    done = pruned(history.client, only(EVERYTHING, max_repack=0))
    assert done.written.packs == 0
    history.check()


def test_what_may_stay_unused_can_be_said_in_bytes(history: History) -> None:
    history.forget(*history.ids()[:4])
    assert pruned(history.client, only(EVERYTHING, max_unused_size=1 << 40)).written.packs == 0
    assert pruned(history.client, only(EVERYTHING, max_unused_size=0)).written.packs > 0
    history.check()


def test_packs_of_small_runs_are_merged_and_not_copied_again_and_again() -> None:
    with temporary_directory() as base:
        history = make_history(base, snapshots=2, pack_size=512 * KIB)
        copied, most = 0, 0
        for _number in range(24):
            (history.tree / "b" / "note").write_bytes(os.urandom(2000))
            history.snapshot()
            done = pruned(history.client, only(EVERYTHING, max_unused=1.0))
            copied += done.written.size
            most = max(most, len(listed(history.storage, names.PACKS)))
        assert most < 24, "small packs pile up"
        assert copied < 12 * stored(history.storage), "the same bytes are copied again and again"
        history.check()


def test_index_objects_are_compacted() -> None:
    with temporary_directory() as base:
        history = make_history(base, snapshots=18)
        assert len(listed(history.storage, names.RUNS)) >= 18
        pruned(history.client)
        assert len(listed(history.storage, "index/")) <= 3
        history.check()


def test_chunks_that_two_clients_stored_at_once_are_kept_once(history: History) -> None:
    repository = history.client.open("prune")
    with temporary_directory() as base:
        other = history.client.copy(base / "other").but(storage=clone(history.storage))
        (history.tree / "both").write_bytes(os.urandom(20_000))
        history.snapshot()
        second = other.snapshot(history.tree).id
    for name, data in objects(other.storage).items():  # what the second one wrote without seeing the first
        if name not in listed(history.storage):
            history.storage.put(name, data)
    history.trees[second] = history.trees[history.ids()[-1]]
    with usage(history.client) as before:
        assert before.copies > 0
        assert before.copies_raw <= before.raw, "at most one copy more"
    pruned(history.client)
    with usage(history.client) as after:
        assert after.copies == 0
    assert repository.storage is history.storage
    history.check()


@pytest.mark.parametrize("seed", range(6))
def test_of_what_several_clients_stored_at_once_one_prune_leaves_nothing_in_vain(seed: int) -> None:
    """Their frames overlap in part: those that are kept hold what is in others, too, and the others then go at once."""
    dice = random.Random(seed)
    shared = [dice.randbytes(dice.randrange(1, 3000)) for _ in range(60)]
    others = []
    with temporary_directory() as base:
        history = make_history(base / "first", snapshots=1, frame_size=4 * KIB)
        for number in range(5):
            other = history.client.copy(base / f"client-{number}").but(storage=clone(history.storage))
            tree = base / f"tree-{number}"
            tree.mkdir()
            for each in dice.sample(shared, 30):
                (tree / f"{dice.randrange(1 << 30)}").write_bytes(each)
            others.append((other.snapshot(tree).id, describe(tree), other))
        for taken, tree_was, other in others:
            for name, data in objects(other.storage).items():
                if name not in listed(history.storage):
                    history.storage.put(name, data)
            history.trees[taken] = tree_was
        with usage(history.client) as before:
            assert before.copies > 0
        pruned(history.client)
        assert waste(history.client) == []
        assert pruned(history.client).number is None
        history.check()


def test_orphans_of_a_run_that_broke_off_go(history: History) -> None:
    repository = history.client.open("prune")
    with usage(history.client) as counted:
        pack = next(counted.packs())
    from chunkstore.format.pack import read_pack

    name = names.pack(pack.pack_id)
    orphan = repack(repository, read_pack(history.storage.get(name), pack.pack_id, name, repository.key))
    done = pruned(history.client)
    assert names.pack(orphan.pack_id) not in listed(history.storage)
    assert done.deleted.packs == 1
    history.check()


def test_frames_with_little_in_use_are_named_as_sparse() -> None:
    with temporary_directory() as base:
        history = make_history(base, snapshots=1, frame_size=128 * KIB, pack_size=512 * KIB)
        kept = (history.tree / "b" / "small-one").name
        (history.tree / "b" / kept).write_bytes(os.urandom(1500))
        for number in range(40):
            (history.tree / "a" / f"gone-{number}").write_bytes(os.urandom(3000))
        history.snapshot()
        for number in range(40):
            (history.tree / "a" / f"gone-{number}").unlink()
        history.snapshot()
        history.forget(history.ids()[1])
        pruned(history.client)
        from chunkstore.operations.prune.generation import newest_generation

        assert newest_generation(history.client.open()).sparse
        history.check()
        history.snapshot(edit=7)
        history.check()


# -- looking only


def test_a_look_changes_nothing_and_says_what_a_prune_then_does(history: History) -> None:
    history.forget(*history.ids()[:4])
    before = objects(history.storage)
    found = examine(history.client.open("prune"), EVERYTHING, history.client.around, Silent())
    assert objects(history.storage) == before
    done = pruned(history.client)
    assert done.deleted.packs == found.dead.packs + found.repack.packs + found.orphans.packs
    assert done.deleted.size == found.dead.size + found.repack.size + found.orphans.size
    assert found.snapshots == 2
    assert abs(done.deleted.size - done.written.size - found.reclaimable) <= found.reclaimable


# -- what comes in the way


class FullStorage(MemoryStorage):
    """Has room for so many bytes."""

    room = 1 << 40

    def put(self, name: str, data: Buffer) -> None:
        self._need(name, data)
        super().put(name, data)

    def put_if_absent(self, name: str, data: Buffer) -> bool:
        self._need(name, data)
        return super().put_if_absent(name, data)

    def _need(self, name: str, data: Buffer) -> None:
        if stored(self, "") + len(data) > self.room:
            raise StorageFull("no room")


def test_on_a_full_disk_it_frees_before_it_needs_room(history: History) -> None:
    full = FullStorage()
    with temporary_directory() as base:
        left = history.left_on(full, base / "left")
        left.forget(*left.ids()[:-1])
        full.room = stored(full, "") + 40 * KIB  # enough for a plan and an index, not for a pack
        first = pruned(left.client)
        assert first.deleted.size > 0
        pruned(left.client)
        left.check()
        assert waste(left.client) == []


class LockedStorage(MemoryStorage):
    """Nothing below `packs/` can be deleted until a time."""

    until = 0.0

    def delete(self, name: str) -> None:
        assert not name.startswith(names.PACKS) or self.until == 0, "a locked object was to be deleted"
        super().delete(name)

    def may_lock(self) -> bool:
        return True

    def locked_until(self, name: str) -> float | None:
        return self.until if name.startswith(names.PACKS) and self.until else None

    def extend_retention(self, name: str, until: float) -> None:
        self.until = until


def test_what_is_locked_stays_and_is_named_and_goes_when_the_lock_ends(history: History) -> None:
    locked = LockedStorage()
    with temporary_directory() as base:
        left = history.left_on(locked, base / "left")
        left.forget(*left.ids()[:-1])
        locked.until = left.client.clock() / 1e9 + 1000
        done = pruned(left.client)
        assert done.deleted.packs == 0
        assert done.locked
        assert {until for _, until in done.locked} == {locked.until}
        left.check()
        left.snapshot(edit=5)
        left.check()
        locked.until = 0.0
        assert pruned(left.client).deleted.packs >= len(done.locked)
        left.check()
        assert waste(left.client) == []


class AppendOnly(MemoryStorage):
    """Deletes nothing, but for sessions."""

    def delete(self, name: str) -> None:
        if not name.startswith(names.SESSIONS):
            raise StorageUnreachable(f"no right to delete {name}")
        super().delete(name)


def test_an_append_only_repository_is_compacted_without_deleting(history: History) -> None:
    only_append = AppendOnly()
    with temporary_directory() as base:
        left = history.left_on(only_append, base / "left")
        before = set(listed(only_append))
        for number in range(3):
            left.snapshot(edit=2 * number)
            left.snapshot(edit=2 * number + 1)
            assert pruned(left.client, only(EVERYTHING, delete=False)).number == number + 1
            left.check()
        assert before <= set(listed(only_append))
        recorded = RecordingStorage(only_append)
        reader = left.client.copy(base / "fresh").without_cache().but(storage=recorded)
        with usage(reader):
            pass
        runs = [call for call in recorded.calls if call.verb == "get" and call.name.startswith(names.RUNS)]
        assert runs == [], "a compacted run index was read"


def test_compacting_does_not_touch_what_a_real_prune_has_begun(history: History) -> None:
    with usage(history.client) as counted:
        packs = [pack.pack_id for pack in counted.packs()]
    put_plan(history.client.open("prune"), 1, packs[:3])
    with pytest.raises(PruneRefused, match="under way"):
        pruned(history.client, only(EVERYTHING, delete=False))
    pruned(history.client)
    history.check()


def test_a_plan_is_never_believed(history: History) -> None:
    """Somebody's plan that names everything: only what is in use nowhere goes."""
    history.forget(history.ids()[0])
    with usage(history.client) as counted:
        packs = [pack.pack_id for pack in counted.packs()]
    put_plan(history.client.open("prune"), 1, packs)
    done = pruned(history.client)
    assert done.spared > 0
    history.check()
    pruned(history.client)
    history.check()
    assert waste(history.client) == []


def test_without_a_snapshot_nothing_is_done(history: History) -> None:
    history.forget(*history.ids())
    before = objects(history.storage)
    with pytest.raises(PruneRefused, match="there is no snapshot"):
        pruned(history.client)
    assert objects(history.storage) == before


def test_on_several_threads(history: History) -> None:
    history.forget(*history.ids()[:4])
    pruned(history.client.but(workers=3))
    history.check()
    assert waste(history.client) == []


def test_a_client_without_caches_prunes(history: History) -> None:
    history.forget(*history.ids()[:4])
    pruned(history.client.without_cache())
    history.check()
    assert waste(history.client) == []


def test_default_options_leave_at_most_a_twentieth(history: History) -> None:
    history.forget(*history.ids()[:4])
    pruned(history.client, PruneOptions())
    with usage(history.client) as counted:
        used, every = sum(counted.pack_used), sum(counted.pack_frames)
    assert every - used <= 0.05 * used


def test_the_local_index_shrinks_with_the_repository(history: History) -> None:
    history.forget(*history.ids()[:-1])
    before = Client.index(history.client)
    count = before.chunk_count()
    before.close()
    pruned(history.client)
    after = history.client.index()
    assert after.chunk_count() < count
    after.close()
