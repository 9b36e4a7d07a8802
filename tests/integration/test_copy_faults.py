"""Copies when something goes wrong: damage in the source, faults at every call, other writers and pruners meanwhile."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from chunkstore.errors import StorageError
from chunkstore.format import names
from chunkstore.operations.copy.copying import Fate
from chunkstore.storage import Storage
from chunkstore.storage.faulty import Fault, FaultyStorage, Outcome, SimulatedCrash
from tests.copying import MIB, OTHER, Both, both, fresh_client, listed_snapshots, usual_pair
from tests.engine import (
    HOUR,
    KIB,
    Client,
    Tree,
    WatchedStorage,
    broken_promises,
    chunk_ids,
    clone,
    describe,
    edit_tree,
    flip,
    indexed_packs,
    listed,
    make_tree,
    pack_id_of,
    put_plan,
    put_tombstone,
    snapshot_ids,
    temporary_directory,
)


@pytest.fixture
def pair(tmp_path: Path) -> Both:
    return both(tmp_path / "machine", fresh_client(tmp_path / "a", 1), fresh_client(tmp_path / "b", 2, **OTHER))


@pytest.fixture
def usual(tmp_path: Path) -> Both:
    return usual_pair(tmp_path)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    make_tree(tmp_path / "tree", seed=1)
    return tmp_path / "tree"


# -- what goes wrong in the source


def packs_of(client: Client) -> list[str]:
    return [info.name for info in client.storage.list(names.PACKS)]


def test_a_snapshot_with_a_damaged_file_is_not_copied_and_the_others_are(pair: Both, tree: Path) -> None:
    bad = pair.source.snapshot(tree / "b")
    content = max(pair.source.storage.list(names.PACKS), key=lambda info: info.size).name
    good = pair.source.snapshot(tree / "a")
    flip(pair.source.storage, content)
    done = pair.copy()
    assert {each.snapshot.record.id: each.fate for each in done.outcomes} == {
        bad.id: Fate.DAMAGED,
        good.id: Fate.COPIED,
    }
    (failed,) = (each for each in done.outcomes if each.fate == Fate.DAMAGED)
    assert str(tree / "b") in failed.problem
    assert content in failed.problem
    assert failed.copy is None
    assert [each.record.original.snapshot for each in listed_snapshots(pair.destination) if each.record.original] == [
        good.id
    ]
    assert not [*pair.destination.storage.list(names.SESSIONS)]
    assert broken_promises(pair.destination) == []


@pytest.mark.parametrize("large", [False, True])
def test_a_missing_pack_is_damage(usual: Both, tmp_path: Path, large: bool) -> None:
    (tmp_path / "file").write_bytes(random.Random(1).randbytes(9 * MIB if large else 900 * KIB))
    usual.source.snapshot(tmp_path / "file")
    usual.source.storage.delete(max(usual.source.storage.list(names.PACKS), key=lambda info: info.size).name)
    (outcome,) = usual.copy().outcomes
    assert outcome.fate == Fate.DAMAGED
    assert outcome.problem.startswith(f"{tmp_path / 'file'}: ")


def test_a_damaged_manifest_is_damage(pair: Both, tree: Path) -> None:
    pair.source.snapshot(tree)
    for name in packs_of(pair.source):
        for at in range(2000, len(pair.source.storage.get(name)), 500):
            flip(pair.source.storage, name, at)
    (outcome,) = pair.copy().outcomes
    assert outcome.fate == Fate.DAMAGED
    assert listed_snapshots(pair.destination) == []


# -- faults at every call


@dataclass(frozen=True)
class World:
    """A source with two snapshots, of which the destination has the first."""

    pair: Both
    trees: list[Tree]


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with temporary_directory() as base:
        tree = base / "tree"
        make_tree(tree, seed=1, files=10, largest=8 * KIB)
        source = fresh_client(base / "a", 1, pack_size=8 * KIB)
        pair = both(base / "machine", source, fresh_client(base / "b", 2, **{**OTHER, "pack_size": 8 * KIB}))
        source.snapshot(tree)
        trees = [describe(tree)]
        pair.copy()
        edit_tree(tree, 2)
        edit_tree(tree, 3)
        source.snapshot(tree)
        yield World(pair, [*trees, describe(tree)])


def copied_trees(client: Client) -> list[Tree]:
    """What the snapshots restore to, from the storage alone."""
    ids = [each.record.id for each in listed_snapshots(client)]
    restored = client.all_restored_afresh(ids)
    return [restored[each] for each in ids]


def sweep(world: World, base: Path, outcome: Outcome, which: str, every: int) -> int:
    """How many points there were; after each all that is there restores, and the next copy completes it."""
    points, at = 0, 1
    while True:
        here = world.pair.moved(base / f"{at}").but(destination=clone(world.pair.destination.storage))
        faulty = FaultyStorage(getattr(here, which).storage, [Fault(at, outcome)])
        try:
            here.but(**{which: faulty}).copy()  # type: ignore[arg-type]
        except (StorageError, SimulatedCrash):
            assert not faulty.pending
        if faulty.pending:
            return points
        there = copied_trees(here.destination)
        assert there == world.trees[: len(there)]
        assert len(there) >= 1
        done = here.copy()
        assert set(done.fates) <= {Fate.COPIED, Fate.THERE}
        assert copied_trees(here.destination) == world.trees
        assert broken_promises(here.destination) == []
        ids = chunk_ids(indexed_packs(here.destination.open()))
        assert len(ids) == len(set(ids)), "a chunk was stored again that an index object named"
        assert set(here.copy().fates) == {Fate.THERE}
        shutil.rmtree(base / f"{at}")
        points += 1
        at += every


OUTCOMES = [
    outcome if outcome is Outcome.CRASH_AFTER else pytest.param(outcome, marks=pytest.mark.exhaustive)
    for outcome in Outcome
]


@pytest.mark.parametrize("outcome", OUTCOMES, ids=lambda outcome: outcome.name)
def test_every_call_to_the_destination(world: World, outcome: Outcome, tmp_path: Path) -> None:
    points = sweep(world, tmp_path, outcome, "destination", every=1)
    print(f"\nsweep {outcome.name}: {points} points")
    assert points >= 15


@pytest.mark.parametrize(
    "outcome",
    [Outcome.FAILS, pytest.param(Outcome.CRASH_BEFORE, marks=pytest.mark.exhaustive)],
    ids=lambda outcome: outcome.name,
)
def test_every_call_to_the_source(world: World, outcome: Outcome, tmp_path: Path) -> None:
    points = sweep(world, tmp_path, outcome, "source", every=1)
    assert points >= 8


# -- others meanwhile


def at_first_pack(storage: Storage, action: object) -> WatchedStorage:
    """Do something when the first pack is put, once."""
    done: list[bool] = []

    def before(verb: str, name: str) -> None:
        if verb == "put" and name.startswith(names.PACKS) and not done:
            done.append(True)
            action()  # type: ignore[operator]

    return WatchedStorage(storage, before=before)


def test_a_snapshot_into_the_destination_meanwhile(pair: Both, tree: Path, tmp_path: Path) -> None:
    pair.source.snapshot(tree)
    other = pair.destination.but(base=tmp_path / "b")
    taken = []
    watched = at_first_pack(pair.destination.storage, lambda: taken.append(other.snapshot(tree).id))
    (copied,) = pair.but(destination=watched).copy().copies.values()
    assert pair.destination.all_restored_afresh([*taken, copied]) == dict.fromkeys([*taken, copied], describe(tree))
    assert broken_promises(pair.destination) == []


def test_a_copy_that_a_prune_took_for_dead_goes_on_under_another_id(pair: Both, tree: Path) -> None:
    pair.source.snapshot(tree)
    fenced = []

    def fence() -> None:
        (session,) = listed(pair.destination.storage, names.SESSIONS)
        fenced.append(session.removeprefix(names.SESSIONS))
        assert put_tombstone(pair.destination.open(), fenced[0])  # type: ignore[arg-type]

    (copied,) = pair.but(destination=at_first_pack(pair.destination.storage, fence)).copy().copies.values()
    assert copied != fenced[0]
    assert pair.destination.restored_afresh(copied) == describe(tree)
    assert listed(pair.destination.storage, names.SESSIONS) == []
    ids = chunk_ids(indexed_packs(pair.destination.open()))
    assert len(ids) == len(set(ids))


def test_what_an_open_plan_condemns_is_stored_again(pair: Both, tree: Path) -> None:
    """Also where the map says that it was copied before."""
    pair.source.snapshot(tree)
    pair.copy()
    condemned = listed(pair.destination.storage, names.PACKS)
    put_plan(pair.destination.open("write"), 1, [pack_id_of(name) for name in condemned])
    pair.source.snapshot(tree, tags=("again",))
    copied = [*pair.copy().copies.values()][1]
    for name in condemned:
        pair.destination.storage.delete(name)
    assert pair.destination.restored_afresh(copied) == describe(tree)


def test_two_copies_at_a_time_may_both_copy_a_snapshot_and_harm_nothing(pair: Both, tree: Path, tmp_path: Path) -> None:
    pair.source.snapshot(tree)
    other = pair.moved(tmp_path / "other machine")
    watched = at_first_pack(pair.destination.storage, other.copy)
    pair.but(destination=watched).copy()
    assert len(snapshot_ids(pair.destination.storage)) == 2
    assert copied_trees(pair.destination) == [describe(tree)] * 2
    assert broken_promises(pair.destination) == []
    assert pair.copy().fates == [Fate.THERE]


def test_the_session_beats_while_a_copy_takes_long(pair: Both, tree: Path) -> None:
    pair.source.snapshot(tree)
    beats = []

    def after(verb: str, name: str) -> None:
        if verb == "put" and name.startswith(names.SESSIONS):
            beats.append(name)

    slow = pair.but(destination=WatchedStorage(pair.destination.storage, after=after))
    clock = slow.destination.clock
    clock.step = HOUR // 60  # type: ignore[attr-defined]
    slow.copy()
    assert len(beats) > 2
