"""The wrappers that inject faults and record calls."""

from __future__ import annotations

import threading

import pytest

from chunkstore.errors import ObjectMissing, StorageFull, StorageUnreachable
from chunkstore.storage import MemoryStorage, Storage
from chunkstore.storage.faulty import (
    VERBS,
    WRITING_VERBS,
    Call,
    Fault,
    FaultyStorage,
    Outcome,
    RecordingStorage,
    SimulatedCrash,
)


def one_of_each(storage: Storage) -> None:
    """Six calls, one of each verb, in the order of `ORDER`."""
    storage.put("a", b"12345")
    storage.put_if_absent("b", b"1234567")
    storage.get("a", 1, 3)
    list(storage.list(""))
    storage.stat("b")
    storage.delete("a")


ORDER = ["put", "put_if_absent", "get", "list", "stat", "delete"]


def state(storage: Storage) -> list[str]:
    return [info.name for info in storage.list("")]


def test_the_verbs_are_all_there() -> None:
    assert set(ORDER) == VERBS
    assert {"put", "put_if_absent", "delete"} == WRITING_VERBS


@pytest.mark.parametrize("at", range(1, 7))
def test_the_call_fails_without_being_done(at: int) -> None:
    inner = MemoryStorage()
    recorded = RecordingStorage(inner)
    storage = FaultyStorage(recorded, [Fault(at)])
    with pytest.raises(StorageUnreachable, match="injected"):
        one_of_each(storage)
    assert [call.verb for call in recorded.calls] == ORDER[: at - 1]
    assert storage.calls == at
    assert storage.pending == ()
    storage.put("later", b"")
    assert "later" in state(inner)


@pytest.mark.parametrize("at", range(1, 7))
def test_the_answer_is_lost(at: int) -> None:
    recorded = RecordingStorage(MemoryStorage())
    storage = FaultyStorage(recorded, [Fault(at, Outcome.ANSWER_LOST, error=StorageFull("full"))])
    with pytest.raises(StorageFull):
        one_of_each(storage)
    assert [call.verb for call in recorded.calls] == ORDER[:at]
    assert storage.pending == ()


@pytest.mark.parametrize("outcome", [Outcome.CRASH_BEFORE, Outcome.CRASH_AFTER])
@pytest.mark.parametrize("at", range(1, 7))
def test_a_crash_is_for_ever(at: int, outcome: Outcome) -> None:
    recorded = RecordingStorage(MemoryStorage())
    storage = FaultyStorage(recorded, [Fault(at, outcome)])
    with pytest.raises(SimulatedCrash):
        one_of_each(storage)
    assert storage.crashed
    done = ORDER[: at - 1] if outcome is Outcome.CRASH_BEFORE else ORDER[:at]
    assert [call.verb for call in recorded.calls] == done
    for action in (
        lambda: storage.put("x", b""),
        lambda: storage.put_if_absent("x", b""),
        lambda: storage.get("b"),
        lambda: storage.list(""),
        lambda: storage.stat("b"),
        lambda: storage.delete("b"),
    ):
        with pytest.raises(SimulatedCrash):
            action()
    assert [call.verb for call in recorded.calls] == done


def test_a_crash_is_no_exception_that_is_caught_by_mistake() -> None:
    assert not issubclass(SimulatedCrash, Exception)


def test_some_verbs_only() -> None:
    storage = FaultyStorage(MemoryStorage(), [Fault(2, verbs=frozenset({"put", "delete"}))])
    storage.put("a", b"")
    storage.get("a")
    storage.put_if_absent("b", b"")
    with pytest.raises(StorageUnreachable):
        storage.delete("a")
    storage.delete("a")
    assert storage.calls == 5


def test_several_faults_each_happen_once() -> None:
    plan = [Fault(1), Fault(3), Fault(2, verbs=frozenset({"stat"})), Fault(99)]
    storage = FaultyStorage(MemoryStorage(), plan)
    outcomes = []
    for action in (
        lambda: storage.put("a", b""),
        lambda: storage.put("a", b""),
        lambda: storage.put("b", b""),
        lambda: storage.stat("a"),
        lambda: storage.stat("a"),
        lambda: storage.stat("a"),
    ):
        try:
            action()
            outcomes.append("done")
        except StorageUnreachable:
            outcomes.append("failed")
    assert outcomes == ["failed", "done", "failed", "done", "failed", "done"]
    assert storage.pending == (plan[3],)


def test_a_listing_whose_end_is_lost() -> None:
    inner = MemoryStorage()
    for name in ("a", "b"):
        inner.put(name, b"")
    listing = FaultyStorage(inner, [Fault(1, Outcome.ANSWER_LOST)]).list("")
    assert [next(listing).name, next(listing).name] == ["a", "b"]
    with pytest.raises(StorageUnreachable):
        next(listing)


def test_a_crash_breaks_off_listings_that_are_under_way() -> None:
    inner = MemoryStorage()
    for name in ("a", "b"):
        inner.put(name, b"")
    storage = FaultyStorage(inner, [Fault(1, Outcome.CRASH_BEFORE, verbs=frozenset({"put"}))])
    listing = storage.list("")
    assert next(listing).name == "a"
    with pytest.raises(SimulatedCrash):
        storage.put("c", b"")
    with pytest.raises(SimulatedCrash):
        next(listing)


def test_errors_of_the_storage_itself_pass() -> None:
    storage = FaultyStorage(MemoryStorage())
    with pytest.raises(ObjectMissing):
        storage.get("a")
    assert not storage.crashed
    assert storage.location == "memory:"


def test_one_call_is_hit_when_many_threads_call() -> None:
    inner = MemoryStorage()
    storage = FaultyStorage(inner, [Fault(50)])
    failures: list[int] = []

    def work(number: int) -> None:
        for turn in range(20):
            try:
                storage.put(f"{number}/{turn}", b"")
            except StorageUnreachable:
                failures.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(failures) == 1
    assert len(state(inner)) == 159


def test_recorded_calls() -> None:
    storage = RecordingStorage(MemoryStorage())
    one_of_each(storage)
    storage.put_if_absent("b", b"12")
    with pytest.raises(ObjectMissing):
        storage.get("missing")
    assert storage.calls == (
        Call("put", "a", 5),
        Call("put_if_absent", "b", 7),
        Call("get", "a", 3),
        Call("list", "", 0),
        Call("stat", "b", 7),
        Call("delete", "a", 0),
        Call("put_if_absent", "b", 2),
        Call("get", "missing", 0),
    )
    assert (storage.bytes_put, storage.bytes_got) == (14, 3)


def test_recorded_calls_can_be_forgotten() -> None:
    storage = RecordingStorage(MemoryStorage())
    one_of_each(storage)
    storage.clear()
    assert storage.calls == ()
    assert (storage.bytes_put, storage.bytes_got) == (0, 0)
