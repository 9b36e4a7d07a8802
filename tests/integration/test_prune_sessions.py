"""A prune waits for who is alive, ends who is dead, and no clock decides whether data survives."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest

from chunkstore.errors import Interrupted, PruneRefused
from chunkstore.format import names
from chunkstore.format.config import encode_config
from chunkstore.format.kinds import ObjectKind
from chunkstore.format.runs import Session, encode_session
from chunkstore.ids import SnapshotId
from chunkstore.operations.catalog import read_record
from chunkstore.operations.prune.pruning import examine
from chunkstore.progress import Silent
from chunkstore.storage import MemoryStorage
from tests.engine import HOUR, YEAR, Clock, WatchedStorage, describe, listed, put_tombstone, temporary_directory
from tests.pruning import EVERYTHING, History, make_history, no_pause, objects, only, pruned, waste

PATIENT = only(EVERYTHING, stale_after_ns=HOUR)
LONG_DEAD = 3 * HOUR


@pytest.fixture
def history() -> Iterator[History]:
    with temporary_directory() as base:
        made = make_history(base)
        made.forget(*made.ids()[:4])
        yield made


SOMEBODY = SnapshotId("5" * 32)


def put_session(history: History, beat: int, session: SnapshotId = SOMEBODY) -> SnapshotId:
    """A run of another machine that is under way, or was."""
    repository = history.client.open("prune")
    body = encode_session(Session(session, b"c" * 16, "elsewhere", beat, beat))
    name = names.session(session)
    repository.storage.put(name, repository.seal(ObjectKind.SESSION, name, body, os.urandom))
    return session


def has_ended(history: History, session: SnapshotId) -> bool:
    return names.snapshot(session) in listed(history.storage)


def test_a_session_that_is_alive_is_waited_for(history: History) -> None:
    session = put_session(history, history.client.clock())
    waited: list[float] = []

    def pause(seconds: float) -> None:
        waited.append(seconds)
        assert listed(history.storage, names.PLANS), "writers must know what to do without"
        if len(waited) == 3:
            assert put_tombstone(history.client.open("prune"), session)

    packs = listed(history.storage, names.PACKS)
    done = pruned(history.client, PATIENT, pause)
    assert len(waited) == 3
    assert done.finished
    assert len(listed(history.storage, names.PACKS)) < len(packs)
    history.check()


def test_patience_ends_and_the_next_prune_goes_on(history: History) -> None:
    session = put_session(history, history.client.clock())
    packs = listed(history.storage, names.PACKS)
    first = pruned(history.client, only(PATIENT, patience_ns=0))
    assert not first.finished
    assert [each.host for each in first.waiting] == ["elsewhere"]
    assert listed(history.storage, names.PACKS) == packs
    assert not has_ended(history, session)
    history.snapshot(edit=3)  # writers do not wait
    put_tombstone(history.client.open("prune"), session)
    history.storage.delete(names.session(session))
    second = pruned(history.client, only(PATIENT, patience_ns=0))
    assert second.finished
    pruned(history.client)
    history.check()
    assert waste(history.client) == []


def test_a_session_without_a_sign_of_life_is_fenced_and_its_object_goes(history: History) -> None:
    session = put_session(history, history.client.clock() - LONG_DEAD)
    done = pruned(history.client, PATIENT)
    assert done.fenced == 1
    assert read_record(history.client.open(), session) is None
    assert listed(history.storage, names.SESSIONS) == []
    history.check()
    assert waste(history.client) == []


def test_a_session_object_that_went_without_a_record_is_fenced_all_the_same(history: History) -> None:
    """An order to commit may still be under way: only what stands in its place ends it for certain."""
    session = put_session(history, history.client.clock())
    done = pruned(history.client, PATIENT, lambda seconds: history.storage.delete(names.session(session)))
    assert done.finished
    assert read_record(history.client.open(), session) is None
    assert has_ended(history, session)


def test_the_session_object_of_a_run_that_committed_is_left_to_its_writer(history: History) -> None:
    committed = history.ids()[-1]
    put_session(history, history.client.clock() - LONG_DEAD, committed)
    pruned(history.client, PATIENT)
    assert listed(history.storage, names.SESSIONS) == [names.session(committed)]
    history.check()


def test_a_session_that_can_not_be_read_does_not_block(history: History) -> None:
    name = names.session(SnapshotId("6" * 32))
    history.storage.put(name, b"rubbish")
    assert pruned(history.client, PATIENT).finished
    assert name not in listed(history.storage)
    history.check()


@dataclass
class Meddling:
    """A prune that takes a run for dead while it is at work."""

    history: History
    fenced: int = 0

    def storage(self, when: Callable[[str, str], bool]) -> WatchedStorage:
        def before(verb: str, name: str) -> None:
            if not self.fenced and when(verb, name):
                with temporary_directory() as base:
                    pruner = self.history.client.copy(base / "pruner")
                    self.fenced += pruned(pruner).fenced

        return WatchedStorage(self.history.storage, before=before)


@pytest.mark.parametrize("prefix", [names.PACKS, names.RUNS, names.SNAPSHOTS])
def test_a_run_that_was_taken_for_dead_goes_on_and_loses_nothing(history: History, prefix: str) -> None:
    meddling = Meddling(history)
    storage = meddling.storage(lambda verb, name: verb.startswith("put") and name.startswith(prefix))
    (history.tree / "new").write_bytes(os.urandom(50_000))
    taken = history.client.but(storage=storage).snapshot(history.tree)
    assert meddling.fenced == 1
    history.trees[taken.id] = describe(history.tree)
    history.check()
    pruned(history.client)
    history.check()
    assert waste(history.client) == []


# -- clocks


@pytest.mark.parametrize("wrong", [-10 * YEAR, -HOUR, HOUR, 10 * YEAR])
def test_a_writer_whose_clock_is_wrong_is_judged_by_the_clock_of_the_storage(wrong: int) -> None:
    with temporary_directory() as base:
        history = make_history(base, snapshots=3)
        clock = Clock(now=2_000_000_000 * 10**9)
        timed = MemoryStorage(lambda: clock.now / 1e9)
        left = history.left_on(timed, base / "left")
        left.client = left.client.but(clock=clock)
        left.forget(left.ids()[0])
        alive = put_session(left, max(clock.now + wrong, 0))
        done = pruned(left.client, only(PATIENT, patience_ns=0))
        assert [each.id for each in done.waiting] == [alive], "a run that has just given a sign of life was fenced"
        clock.now += 2 * HOUR
        assert pruned(left.client, only(PATIENT, patience_ns=0)).fenced == 1
        left.check()


@pytest.mark.parametrize("wrong", [-10 * YEAR, 10 * YEAR])
def test_a_pruner_whose_clock_is_wrong_fences_nobody_who_is_alive(wrong: int) -> None:
    with temporary_directory() as base:
        history = make_history(base, snapshots=3)
        timed = MemoryStorage(lambda: 2_000_000_000.0)
        left = history.left_on(timed, base / "left")
        left.forget(left.ids()[0])
        alive = put_session(left, 2_000_000_000 * 10**9)
        wrongly = left.client.but(clock=Clock(now=2_000_000_000 * 10**9 + wrong))
        done = pruned(wrongly, only(PATIENT, patience_ns=0))
        assert [each.id for each in done.waiting] == [alive]
        left.check()


@pytest.mark.parametrize("wrong", [-10 * YEAR, 10 * YEAR])
def test_with_any_clock_data_survives(history: History, wrong: int) -> None:
    wrongly = history.client.but(clock=Clock(now=1_900_000_000 * 10**9 + wrong))
    pruned(wrongly, PATIENT)
    history.check()
    taken = wrongly.snapshot(history.tree)
    history.trees[taken.id] = describe(history.tree)
    pruned(history.client, PATIENT)
    history.check()


def test_asking_the_storage_for_its_time_leaves_nothing_behind(history: History) -> None:
    put_session(history, history.client.clock() - LONG_DEAD)
    pruned(history.client, PATIENT)
    assert [name for name in listed(history.storage, names.PLANS) if "clock" in name] == []


# -- without put-if-absent


def unconditional(history: History) -> None:
    """From now on the config says that put-if-absent does not work there."""
    repository = history.client.open("prune")
    config = replace(repository.config, number=1, conditional_writes=False)
    assert repository.create(ObjectKind.CONFIG, names.config(1), encode_config(config), os.urandom)


def test_where_nobody_can_fence_a_prune_refuses_while_there_is_a_session(history: History) -> None:
    unconditional(history)
    session = put_session(history, 0)
    before = objects(history.storage)
    with pytest.raises(PruneRefused, match="repair sessions"):
        pruned(history.client)
    assert objects(history.storage) == before
    history.storage.delete(names.session(session))
    assert pruned(history.client).finished
    history.check()


def test_where_nobody_can_fence_a_session_that_comes_later_is_never_fenced(history: History) -> None:
    unconditional(history)
    session = SnapshotId("5" * 32)

    def begin(verb: str, name: str) -> None:
        if verb == "put_if_absent" and name.startswith(names.PLANS):
            put_session(history, 0, session)

    watched = history.client.but(storage=WatchedStorage(history.storage, after=begin))
    done = pruned(watched, only(EVERYTHING, patience_ns=0))
    assert [each.id for each in done.waiting] == [session]
    assert not has_ended(history, session)
    history.check()


# -- being asked to stop, and being looked at


def test_a_prune_that_waits_can_be_ended(history: History) -> None:
    put_session(history, history.client.clock())
    stopped = history.client.but(stop=lambda: True)
    with pytest.raises(Interrupted):
        pruned(stopped, PATIENT)
    history.check()


def test_a_look_says_who_would_be_waited_for_and_that_a_plan_is_open(history: History) -> None:
    session = put_session(history, history.client.clock())
    pruned(history.client, only(PATIENT, patience_ns=0))
    found = examine(history.client.open("prune"), PATIENT, history.client.around, Silent())
    assert found.open_plan == 1
    assert [each.id for each in found.sessions] == [session]
    put_tombstone(history.client.open("prune"), session)
    pruned(history.client, PATIENT, no_pause)
    assert examine(history.client.open("prune"), PATIENT, history.client.around, Silent()).open_plan is None
