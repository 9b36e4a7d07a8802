"""Listings that lie, objects that are damaged, forged or gone: a prune stops or stays safe, says why, and goes on after a repair."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chunkstore.errors import (
    Damaged,
    InvalidArgument,
    PruneRefused,
    StorageError,
    StorageUnreachable,
    UntrustedRepository,
)
from chunkstore.format import names
from chunkstore.format.kinds import ObjectKind
from chunkstore.format.records import SnapshotRecord, encode_record, record_body
from chunkstore.format.runs import Plan, encode_plan
from chunkstore.ids import ChunkId, SnapshotId
from chunkstore.operations.catalog import read_record
from chunkstore.operations.repair.exclude import exclude, excluded_content
from chunkstore.operations.repair.index import repair_index
from chunkstore.progress import Silent
from chunkstore.storage import ObjectInfo, Storage
from tests.engine import KIB, Client, WatchedStorage, flip, listed, put_plan, temporary_directory
from tests.pruning import EVERYTHING, History, make_history, objects, only, pruned, usage, waste

FAR = 10**16 - 1


@pytest.fixture
def history() -> Iterator[History]:
    with temporary_directory() as base:
        made = make_history(base, snapshots=5, files=10, largest=12 * KIB)
        made.forget(made.ids()[0])
        pruned(made.client)
        made.snapshot(edit=77)
        made.forget(*made.ids()[:2])
        yield made


def refused(client: Client, match: str) -> None:
    """The prune stops, and nothing is deleted and nothing left open that would hinder anybody."""
    before = objects(client.storage)
    with pytest.raises(PruneRefused, match=match):
        pruned(client)
    packs = {name for name in before if not name.startswith(names.PLANS)}
    assert packs <= set(listed(client.storage)), "something was deleted"


def give_up(client: Client, name: str) -> None:
    """What `chunkstore repair exclude` does."""
    repository = client.open("prune")
    assert excluded_content(repository, name) == client.storage.get(name)
    exclude(repository, name, client.around, Silent())


def rebuild(client: Client, **how: bool) -> int:
    """What `chunkstore repair index` does: how many packs are in the new index."""
    return repair_index(client.open("prune"), client.around, Silent(), **how).packs


def finish(history: History) -> None:
    """Now all is well again."""
    pruned(history.client)
    history.check()
    history.snapshot(edit=5)
    history.check()
    pruned(history.client)
    assert waste(history.client) == []


# -- listings that lie


class Lying(WatchedStorage):
    """Lists what a function leaves of each listing."""

    def __init__(self, inner: Storage, change: Callable[[str, list[ObjectInfo]], list[ObjectInfo]]) -> None:
        super().__init__(inner)
        self._change = change

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        return iter(self._change(prefix, [*super().list(prefix)]))


def prune_with(history: History, change: Callable[[str, list[ObjectInfo]], list[ObjectInfo]]) -> None:
    """A prune that sees such listings: it may stop, or go on; whatever it does, nothing is lost."""
    liar = history.client.but(storage=Lying(history.storage, change))
    with contextlib.suppress(PruneRefused, StorageError, UntrustedRepository):
        pruned(liar)
    history.check()


@pytest.mark.parametrize("prefix", [names.PACKS, names.SNAPSHOTS, names.RUNS, names.GENERATIONS, names.SESSIONS])
def test_a_listing_that_returns_nothing(history: History, prefix: str) -> None:
    prune_with(history, lambda asked, found: [] if asked == prefix else found)
    finish(history)


@pytest.mark.parametrize("prefix", [names.PACKS, names.SNAPSHOTS, names.RUNS])
@pytest.mark.parametrize("missing", [0, -1])
def test_a_listing_that_misses_an_object(history: History, prefix: str, missing: int) -> None:
    def change(asked: str, found: list[ObjectInfo]) -> list[ObjectInfo]:
        if asked == prefix and found:
            del found[missing]
        return found

    prune_with(history, change)
    finish(history)


@pytest.mark.parametrize("asked", [names.SNAPSHOTS, "snapshots/[0-9a-f]"])
def test_a_snapshot_that_one_listing_has_and_another_has_not_stops_it(history: History, asked: str) -> None:
    def change(prefix: str, found: list[ObjectInfo]) -> list[ObjectInfo]:
        return found[1:] if re.fullmatch(asked, prefix) else found

    liar = history.client.without_cache().but(storage=Lying(history.storage, change))
    with pytest.raises(PruneRefused, match="did not list"):
        pruned(liar)
    history.check()


def test_a_snapshot_that_this_machine_made_and_no_listing_has_is_asked_for(history: History) -> None:
    made = names.snapshot(history.snapshot(edit=9))
    liar = history.client.but(
        storage=Lying(history.storage, lambda asked, found: [info for info in found if info.name != made])
    )
    with pytest.raises(PruneRefused, match="did not list"):
        pruned(liar)
    history.check()


def test_a_listing_out_of_order_is_not_believed(history: History) -> None:
    liar = history.client.but(storage=Lying(history.storage, lambda asked, found: found[::-1]))
    with pytest.raises(StorageError, match="out of order"):
        pruned(liar)
    history.check()


@pytest.mark.parametrize("prefix", [names.PACKS, names.SNAPSHOTS, names.RUNS, names.PLANS])
def test_a_listing_that_fails_half_way(history: History, prefix: str) -> None:
    class Failing(WatchedStorage):
        def list(self, asked: str) -> Iterator[ObjectInfo]:
            for number, info in enumerate(super().list(asked)):
                if asked == prefix and number:
                    raise StorageUnreachable("the connection broke off")
                yield info

    history.snapshot(edit=78)
    put_plan(history.client.open("prune"), 5, [])
    with pytest.raises(StorageUnreachable):
        pruned(history.client.but(storage=Failing(history.storage)))
    history.check()
    finish(history)


# -- damaged objects


def newest(history: History, prefix: str) -> str:
    return listed(history.storage, prefix)[-1]


def test_a_damaged_record_stops_it_until_it_is_given_up(history: History) -> None:
    victim = history.ids()[0]
    name = names.snapshot(victim)
    flip(history.storage, name)
    history.client.without_cache()
    refused(history.client, f"repair exclude {name}")
    give_up(history.client, name)
    assert read_record(history.client.open(), victim) is None
    del history.trees[victim]
    finish(history)


def test_the_id_of_a_tombstone_that_was_given_up_stays_used_up(history: History) -> None:
    from tests.engine import put_tombstone

    dead = SnapshotId("7" * 32)
    put_tombstone(history.client.open("prune"), dead)
    flip(history.storage, names.snapshot(dead))
    refused(history.client, "repair exclude")
    give_up(history.client, names.snapshot(dead))
    assert read_record(history.client.open(), dead) is None
    finish(history)


def test_a_damaged_run_index_stops_it_until_the_index_is_made_anew(history: History) -> None:
    flip(history.storage, newest(history, names.RUNS))
    history.client.without_cache()
    refused(history.client, "repair index")
    assert rebuild(history.client) == len(listed(history.storage, names.PACKS))
    finish(history)


def test_a_lost_run_index_stops_it_until_the_index_is_made_anew(history: History) -> None:
    for name in listed(history.storage, names.RUNS):
        history.storage.delete(name)
    history.client.without_cache()
    refused(history.client, "repair index|can not be read")
    rebuild(history.client)
    finish(history)


@pytest.mark.parametrize("prefix", [names.GENERATIONS, names.SEGMENTS])
def test_a_damaged_generation_or_segment(history: History, prefix: str) -> None:
    flip(history.storage, newest(history, prefix))
    history.client.without_cache()
    refused(history.client, "repair index")
    rebuild(history.client)
    finish(history)


@pytest.mark.parametrize("prefix", [names.SEGMENTS])
def test_a_lost_segment(history: History, prefix: str) -> None:
    history.storage.delete(newest(history, prefix))
    history.client.without_cache()
    with pytest.raises(Damaged, match="repair index"):
        pruned(history.client)
    rebuild(history.client)
    finish(history)


def test_rubbish_as_a_generation_with_an_impossible_number(history: History) -> None:
    history.storage.put(names.generation(FAR), b"rubbish")
    refused(history.client, "repair index")
    rebuild(history.client)
    finish(history)


def test_rubbish_as_a_plan_with_an_impossible_number(history: History) -> None:
    name = names.plan(FAR)
    history.storage.put(name, b"rubbish")
    refused(history.client, f"repair exclude {name}")
    give_up(history.client, name)
    assert name not in listed(history.storage)
    finish(history)


def test_a_damaged_plan_is_given_up_and_whoever_knew_it_goes_by_that(history: History) -> None:
    with usage(history.client) as counted:
        packs = [pack.pack_id for pack in counted.packs()]
    number = 2
    put_plan(history.client.open("prune"), number, packs)
    flip(history.storage, names.plan(number))
    refused(history.client, "repair exclude")
    give_up(history.client, names.plan(number))
    assert names.generation(number) in listed(history.storage)
    history.check()
    finish(history)


def test_a_damaged_mark_is_given_up(history: History) -> None:
    name = newest(history, names.PLANS)
    assert name.endswith(names.DONE)
    flip(history.storage, name)
    refused(history.client, "repair exclude")
    give_up(history.client, name)
    finish(history)


def test_damaged_references_stop_it_until_the_snapshot_is_forgotten(history: History) -> None:
    victim = history.ids()[-1]
    found = read_record(history.client.open(), victim)
    assert found
    with usage(history.client):
        index = history.client.index()
        place = index.locate(found.record.reference_root)
        assert place
        frame = index.frame(place.frame)
        index.close()
    assert frame
    name = names.pack(frame.pack_id)
    flip(history.storage, name, frame.offset + frame.stored // 2)
    refused(history.client, "can not be read")
    history.forget(victim)
    for each in history.ids():  # others may have something in that frame too
        if read_or_none(history.client, each) is None:
            history.forget(each)
    if history.trees:
        pruned(history.client)
        assert history.client.all_restored_afresh(history.ids()) == history.trees


def read_or_none(client: Client, snapshot: SnapshotId) -> object | None:
    try:
        return client.restored_afresh(snapshot)
    except (Damaged, AssertionError):
        return None


def test_a_damaged_pack_is_not_repacked_and_not_deleted(tmp_path: Path) -> None:
    """Its bytes are not what its name says: what can still be read in it stays where it is."""
    history = make_history(tmp_path)
    history.forget(*history.ids()[:4])
    with usage(history.client) as counted:
        partly = [pack for pack in counted.packs() if 0 < counted.pack_used[pack.no] < counted.pack_frames[pack.no]]
    assert partly
    name = names.pack(partly[0].pack_id)
    flip(history.storage, name, partly[0].size - 1)
    done = pruned(history.client)
    assert done.damaged == [name]
    assert name in listed(history.storage)


def test_a_lost_pack_stops_it(history: History) -> None:
    with usage(history.client) as counted:
        needed = next(pack for pack in counted.packs() if counted.pack_used[pack.no])
    history.storage.delete(names.pack(needed.pack_id))
    refused(history.client, "chunkstore check")


def test_a_lost_pack_that_nobody_needs_leaves_the_index(history: History) -> None:
    with usage(history.client) as counted:
        unused = [pack for pack in counted.packs() if not counted.pack_used[pack.no]]
    assert unused
    history.storage.delete(names.pack(unused[0].pack_id))
    finish(history)


# -- forged by who has the index key of a client


def test_a_forged_record_makes_nothing_go(history: History) -> None:
    repository = history.client.open("prune")
    forged = SnapshotId("8" * 32)
    found = read_record(repository, history.ids()[0])
    assert found
    fields = {name: getattr(found.record, name) for name in SnapshotRecord.__dataclass_fields__}
    record = SnapshotRecord(**{**fields, "id": forged, "reference_root": ChunkId(b"\1" * 32)})
    body = encode_record(record_body(record), None)
    assert repository.create(ObjectKind.SNAPSHOT, names.snapshot(forged), body, os.urandom)
    refused(history.client, "can not be read|in no index")
    history.storage.delete(names.snapshot(forged))
    finish(history)


def test_a_forged_plan_that_names_everything_makes_nothing_go(history: History) -> None:
    with usage(history.client) as counted:
        packs = frozenset(pack.pack_id for pack in counted.packs())
    plan = Plan(9, 1, packs, packs, packs, 0)
    repository = history.client.open("prune")
    assert repository.create(ObjectKind.PLAN, names.plan(9), encode_plan(plan), os.urandom)
    pruned(history.client)
    history.check()
    finish(history)


# -- what repair does not do


@pytest.mark.parametrize("prefix", [names.SNAPSHOTS, names.PLANS])
def test_what_can_be_read_is_never_excluded(history: History, prefix: str) -> None:
    name = next(each for each in listed(history.storage, prefix))
    with pytest.raises(InvalidArgument, match="not damaged"):
        excluded_content(history.client.open("prune"), name)


@pytest.mark.parametrize("prefix", [names.RUNS, names.GENERATIONS, names.PACKS, "config/", "keys/", "recipients/"])
def test_other_objects_are_never_excluded(history: History, prefix: str) -> None:
    name = newest(history, prefix)
    flip(history.storage, name) if prefix != "config/" else None
    with pytest.raises(InvalidArgument):
        excluded_content(history.client.open("prune"), name)


def test_a_new_index_leaves_out_packs_that_are_damaged(history: History) -> None:
    with usage(history.client) as counted:
        victim = next(pack for pack in counted.packs() if not counted.pack_used[pack.no])
    name = names.pack(victim.pack_id)
    flip(history.storage, name, victim.size // 2)
    before = len(listed(history.storage, names.PACKS))
    assert rebuild(history.client, whole=True) == before - 1
    finish(history)


def test_a_new_index_of_a_whole_repository_changes_nothing(history: History, tmp_path: Path) -> None:
    with usage(history.client) as counted:
        chunks = counted.chunks
    rebuild(history.client)
    with usage(history.client.copy(tmp_path / "fresh").without_cache()) as counted:
        assert counted.chunks == chunks
    history.check()
    finish(history)


def test_a_new_index_is_made_while_a_plan_is_open(history: History) -> None:
    with usage(history.client) as counted:
        packs = [pack.pack_id for pack in counted.packs()]
    put_plan(history.client.open("prune"), 2, packs)
    flip(history.storage, newest(history, names.GENERATIONS))
    history.client.without_cache()
    rebuild(history.client)
    history.check()
    finish(history)


def test_options_are_not_shared() -> None:
    assert only(EVERYTHING, delete=False).delete is False
    assert EVERYTHING.delete is True
