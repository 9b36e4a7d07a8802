"""The storage fails, loses an answer, or the pruner dies, at every single call of a prune; whoever comes next finishes it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from chunkstore.errors import PruneRefused, StorageError
from chunkstore.format import names
from chunkstore.storage import MemoryStorage
from chunkstore.storage.faulty import Fault, FaultyStorage, Outcome, RecordingStorage, SimulatedCrash
from tests.engine import KIB, WatchedStorage, broken_promises, clone, indexed_packs, listed, temporary_directory
from tests.pruning import History, make_history, pruned, usage, waste


@pytest.fixture(scope="module")
def history() -> Iterator[History]:
    """Dead packs, packs to repack, an orphan and an old generation: everything that a prune has to do with."""
    with temporary_directory() as base:
        made = make_history(base, 3, files=6, largest=6 * KIB, frame_size=8 * KIB, pack_size=16 * KIB)
        pruned(made.client)
        for number in range(2):
            made.snapshot(edit=number + 50)
        made.forget(*made.ids()[:4])
        orphan = made.storage.get(listed(made.storage, names.PACKS)[0])
        import hashlib

        spoiled = orphan + b"x"
        digest = hashlib.sha256(spoiled).hexdigest()
        made.storage.put(f"packs/{digest[:2]}/{digest}", spoiled)
        yield made


def calls_of_a_prune(history: History, base: Path) -> int:
    recorded = RecordingStorage(clone(history.storage))
    pruned(history.client.copy(base / "counted").but(storage=recorded))
    return len(recorded.calls)


def check_what_is_left(left: History, base: Path) -> None:
    """All is whole, a snapshot can be made, and somebody else's prune leaves nothing that could go."""
    assert broken_promises(left.client) == []
    other = History(left.client.copy(base / "checker"), left.tree, left.trees)
    other.snapshot()
    pruned(other.client)
    assert broken_promises(other.client) == []
    assert waste(other.client) == []


OUTCOMES = [
    pytest.param(Outcome.ANSWER_LOST, marks=pytest.mark.exhaustive),
    Outcome.CRASH_AFTER,
    pytest.param(Outcome.FAILS, marks=pytest.mark.exhaustive),
    pytest.param(Outcome.CRASH_BEFORE, marks=pytest.mark.exhaustive),
]


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_a_fault_at_every_call(history: History, outcome: Outcome) -> None:
    at = 0
    while True:
        at += 1
        with temporary_directory() as base:
            left = history.left_on(MemoryStorage(), base / "left")
            faulty = FaultyStorage(left.storage, [Fault(at, outcome)])
            try:
                pruned(left.client.but(storage=faulty))
            except (StorageError, SimulatedCrash, PruneRefused):
                assert not faulty.pending
            check_what_is_left(left, base)
            if at % 9 == 1:  # the slow look: everything is restored
                left.check()
            if faulty.pending:
                break
    assert at > 30


def test_two_crashes_of_different_pruners(history: History) -> None:
    with temporary_directory() as base:
        calls = calls_of_a_prune(history, base)
    for first in range(3, calls, 9):
        for second in range(2, calls, 17):
            with temporary_directory() as base:
                left = history.left_on(MemoryStorage(), base / "left")
                for number, at in enumerate((first, second)):
                    client = left.client.copy(base / f"pruner-{number}")
                    faulty = FaultyStorage(left.storage, [Fault(at, Outcome.CRASH_AFTER)])
                    try:
                        pruned(client.but(storage=faulty))
                    except SimulatedCrash:
                        continue
                check_what_is_left(left, base)


def test_no_pack_is_deleted_while_an_index_that_counts_names_it(history: History) -> None:
    """Looked at behind the storage's back, before every single deletion."""
    with temporary_directory() as base:
        left = history.left_on(MemoryStorage(), base / "left")
        looked = 0

        def before(verb: str, name: str) -> None:
            nonlocal looked
            if verb == "delete" and name.startswith(names.PACKS):
                looked += 1
                with (
                    temporary_directory() as fresh,
                    usage(left.client.copy(fresh / "fresh").without_cache()) as counted,
                ):
                    assert name not in {names.pack(pack.pack_id) for pack in counted.packs()}

        pruned(left.client.but(storage=WatchedStorage(left.storage, before=before)))
        assert looked > 3
        left.check()


def test_a_pruner_that_stops_anywhere_while_another_finishes_does_no_harm_when_it_wakes(history: History) -> None:
    """The one is held before its n-th call, the other does all there is to do, snapshots are made, the one goes on."""
    with temporary_directory() as base:
        calls = calls_of_a_prune(history, base)
    for at in range(2, calls, 3):
        with temporary_directory() as base:
            left = history.left_on(MemoryStorage(), base / "left")
            other = History(left.client.copy(base / "other"), left.tree, left.trees)
            count = 0

            def before(verb: str, name: str, at: int = at, other: History = other) -> None:
                nonlocal count
                count += 1
                if count == at:
                    pruned(other.client)
                    other.snapshot()
                    pruned(other.client)

            try:
                pruned(left.client.but(storage=WatchedStorage(left.storage, before=before)))
            except PruneRefused as e:
                raise AssertionError(f"held at call {at}: {e}") from e
            check_what_is_left(other, base)


def test_the_index_stays_readable_with_what_run_indexes_alone_say(history: History) -> None:
    assert indexed_packs(history.client.open()), "the history has run indexes besides a generation"
