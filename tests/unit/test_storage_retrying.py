"""The wrapper that tries again: what it tries, how long, and what it makes of answers that were lost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from random import Random

import pytest

from chunkstore.errors import Interrupted, InvalidArgument, ObjectMissing, StorageFull, StorageUnreachable
from chunkstore.storage import MemoryStorage, ObjectInfo, Storage, Waiting
from chunkstore.storage.faulty import Fault, FaultyStorage, Outcome, RecordingStorage, Verb
from chunkstore.storage.protocol import delete_many, extend_retention, locked_until
from chunkstore.storage.retrying import DEADLINE_BEFORE_SUCCESS_S, LONGEST_PAUSE_S, RetryingStorage
from tests.storage_contract import StorageContract, World

VERBS: tuple[Verb, ...] = ("put", "put_if_absent", "get", "list", "stat", "delete")


class Time:
    """Passes while somebody sleeps, and not otherwise."""

    def __init__(self, asked_after: float = float("inf")) -> None:
        self.now = 1000.0
        self.asked_after = asked_after
        self.told: list[str] = []

    @property
    def passed(self) -> float:
        return self.now - 1000

    def sleep(self, seconds: float) -> None:
        assert 0 < seconds <= 0.2
        self.now += seconds

    def waiting(self, seed: int = 1) -> Waiting:
        return Waiting(
            lambda: self.now,
            self.sleep,
            Random(seed).random,
            stop=lambda: self.passed >= self.asked_after,
            tell=self.told.append,
        )


def passing() -> StorageUnreachable:
    return StorageUnreachable("503 slow down", transient=True)


def faults(*verbs: Verb, count: int, outcome: Outcome = Outcome.FAILS, first: int = 1) -> list[Fault]:
    return [Fault(first + n, outcome, frozenset(verbs or VERBS), passing()) for n in range(count)]


def one_of_each(storage: Storage) -> list[object]:
    storage.put("a", b"12345")
    done: list[object] = [storage.put_if_absent("b", b"1234567"), storage.put_if_absent("b", b"other")]
    done += [storage.get("a", 1, 3), list(storage.list("")), storage.stat("b")]
    storage.delete("a")
    return [*done, list(storage.list(""))]


EXPECTED = one_of_each(MemoryStorage())


class TestRetryingStorage(StorageContract):
    """The contract, while every third call or so fails for a moment."""

    many = 300

    @pytest.fixture
    def world(self) -> World:
        inner, dice = MemoryStorage(time.time), Random(5)
        plan = [Fault(n, Outcome.FAILS, error=passing()) for n in range(2, 2000) if dice.random() < 0.3]
        storage = RetryingStorage(FaultyStorage(inner, plan), 300, Time().waiting())
        return World(storage, lambda: dict(inner._objects))


@pytest.mark.parametrize("outcome", [Outcome.FAILS, Outcome.ANSWER_LOST])
@pytest.mark.parametrize("at", range(1, 9))
def test_every_call_may_fail_or_lose_its_answer(at: int, outcome: Outcome) -> None:
    faulty = FaultyStorage(MemoryStorage(), [Fault(at, outcome, error=passing())])
    time = Time()
    assert one_of_each(RetryingStorage(faulty, 300, time.waiting())) == EXPECTED
    assert faulty.pending == ()
    assert len(time.told) == 1
    assert "503 slow down; trying again for up to" in time.told[0]


@pytest.mark.parametrize("verb", VERBS)
def test_many_failures_in_a_row_are_survived(verb: Verb) -> None:
    faulty = FaultyStorage(MemoryStorage(), faults(verb, count=8))
    time = Time()
    storage = RetryingStorage(faulty, 3000, time.waiting())
    with pytest.raises(ObjectMissing):
        storage.stat("missing") if verb != "stat" else storage.get("missing")  # an answer
    assert one_of_each(storage) == EXPECTED
    assert faulty.pending == ()
    assert len(time.told) == 1


def test_pauses_grow_and_are_not_longer_than_half_a_minute() -> None:
    times = []
    for seed in range(30):
        time = Time()
        inner = MemoryStorage()
        inner.put("a", b"")
        storage = RetryingStorage(FaultyStorage(inner, faults("get", count=12)), 1e9, time.waiting(seed))
        storage.stat("a")
        storage.get("a")
        times.append(time.passed)
    most = sum(min(LONGEST_PAUSE_S, 0.25 * 2**n) for n in range(1, 13))
    assert max(times) <= most + 1
    assert most / 4 < sum(times) / 30 < most * 3 / 4
    assert len(set(times)) == 30


def test_after_the_deadline_the_last_error_says_how_long_it_was_tried() -> None:
    inner = MemoryStorage()
    inner.put("a", b"")
    plan = [Fault(n, error=StorageUnreachable(f"error {n}", transient=True)) for n in range(2, 200)]
    time = Time()
    storage = RetryingStorage(FaultyStorage(inner, plan), 120, time.waiting())
    storage.stat("a")
    with pytest.raises(StorageUnreachable, match=r"^error \d+ \(tried \d+ times in \d+ s\)$") as caught:
        storage.get("a")
    assert not caught.value.transient
    assert isinstance(caught.value.__cause__, StorageUnreachable)
    assert 120 - LONGEST_PAUSE_S < time.passed <= 120


def test_a_storage_that_never_answered_is_given_up_sooner() -> None:
    time = Time()
    storage = RetryingStorage(FaultyStorage(MemoryStorage(), faults(count=200)), 300, time.waiting())
    with pytest.raises(StorageUnreachable, match="tried"):
        storage.get("a")
    assert time.passed <= DEADLINE_BEFORE_SUCCESS_S


def test_that_an_object_is_missing_is_an_answer() -> None:
    time = Time()
    storage = RetryingStorage(FaultyStorage(MemoryStorage(), faults(count=200, first=2)), 300, time.waiting())
    with pytest.raises(ObjectMissing):
        storage.get("a")
    with pytest.raises(StorageUnreachable, match="tried"):
        storage.get("a")
    assert time.passed > DEADLINE_BEFORE_SUCCESS_S


@pytest.mark.parametrize(
    "error", [StorageUnreachable("access denied"), StorageFull("full"), ObjectMissing("a"), ValueError("a mistake")]
)
@pytest.mark.parametrize("verb", VERBS)
def test_what_does_not_pass_is_not_tried_again(verb: Verb, error: Exception) -> None:
    inner = RecordingStorage(MemoryStorage())
    time = Time()
    faulty = FaultyStorage(inner, [Fault(1, verbs=frozenset((verb,)), error=error)])
    with pytest.raises(type(error)) as caught:
        one_of_each(RetryingStorage(faulty, 300, time.waiting()))
    assert caught.value is error
    assert time.passed == 0


def test_zero_seconds_mean_one_try() -> None:
    faulty = FaultyStorage(MemoryStorage(), faults(count=1))
    with pytest.raises(StorageUnreachable, match=r"\(tried once in 0 s\)"):
        RetryingStorage(faulty, 0, Time().waiting()).put("a", b"")


def test_who_asks_the_run_to_end_does_not_wait() -> None:
    time = Time(asked_after=2.0)
    storage = RetryingStorage(FaultyStorage(MemoryStorage(), faults(count=200)), 300, time.waiting())
    with pytest.raises(Interrupted):
        storage.put("a", b"")
    assert time.passed < 2.5


def test_after_that_what_works_still_works() -> None:
    """A run that was asked to end publishes what it has."""
    time = Time(asked_after=0)
    storage = RetryingStorage(MemoryStorage(), 300, time.waiting())
    assert one_of_each(storage) == EXPECTED


# Put-if-absent


def test_without_a_failure_an_object_with_the_same_content_is_somebody_elses() -> None:
    storage = RetryingStorage(MemoryStorage(), 300, Time().waiting())
    assert storage.put_if_absent("a", b"same") is True
    assert storage.put_if_absent("a", b"same") is False


@pytest.mark.parametrize("lost", [1, 2, 5])
def test_a_lost_answer_is_recognised_as_our_own_success(lost: int) -> None:
    inner = MemoryStorage()
    faulty = FaultyStorage(inner, faults("put_if_absent", count=lost, outcome=Outcome.ANSWER_LOST))
    storage = RetryingStorage(faulty, 300, Time().waiting())
    assert storage.put_if_absent("a", memoryview(b"ours")) is True
    assert inner.get("a") == b"ours"
    assert storage.put_if_absent("a", b"ours") is False


def test_after_a_lost_answer_somebody_elses_object_is_not_ours() -> None:
    inner = MemoryStorage()
    inner.put("a", b"theirs")
    faulty = FaultyStorage(inner, faults("put_if_absent", count=2, outcome=Outcome.ANSWER_LOST))
    assert RetryingStorage(faulty, 300, Time().waiting()).put_if_absent("a", b"ours") is False
    assert inner.get("a") == b"theirs"


def test_the_comparison_after_a_lost_answer_may_fail_for_a_moment_as_well() -> None:
    plan = faults("put_if_absent", count=1, outcome=Outcome.ANSWER_LOST) + faults("get", count=3)
    storage = RetryingStorage(FaultyStorage(MemoryStorage(), plan), 300, Time().waiting())
    assert storage.put_if_absent("a", b"ours") is True


def test_an_object_that_vanishes_before_it_is_compared_is_put_again() -> None:
    class Vanishing(MemoryStorage):
        def put_if_absent(self, name: str, data: object) -> bool:
            calls.append(name)
            if len(calls) == 1:
                raise passing()
            return len(calls) > 2  # once somebody's object is there, and is gone when it is looked at

    calls: list[str] = []
    assert RetryingStorage(Vanishing(), 300, Time().waiting()).put_if_absent("a", b"ours") is True
    assert len(calls) == 3


# Listings


class BreakingOff(MemoryStorage):
    """Each listing gives so many names, then breaks off; the last is whole."""

    def __init__(self, *given: int) -> None:
        super().__init__()
        self._given = [*given]

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        return self._some(super().list(prefix), self._given.pop(0) if self._given else None)

    def _some(self, infos: Iterator[ObjectInfo], count: int | None) -> Iterator[ObjectInfo]:
        for position, info in enumerate(infos):
            if position == count:
                raise passing()
            yield info


@pytest.mark.parametrize("given", [(0,), (3,), (0, 0, 4, 2, 9), (9, 8, 7, 0, 1)])
def test_a_listing_goes_on_after_the_last_name(given: tuple[int, ...]) -> None:
    inner = BreakingOff(*given)
    for number in range(12):
        inner.put(f"packs/{number:02}", b"x" * number)
    storage = RetryingStorage(inner, 300, Time().waiting())
    assert list(storage.list("packs/")) == [ObjectInfo(f"packs/{number:02}", number) for number in range(12)]
    assert inner._given == []


def test_progress_gives_new_patience() -> None:
    """Each piece of a listing may take as long as a call; a listing that stands still is given up."""
    inner = BreakingOff(*range(1, 40))
    for number in range(40):
        inner.put(f"packs/{number:02}", b"")
    time = Time()
    assert len(list(RetryingStorage(inner, 5, time.waiting()).list("packs/"))) == 40
    stuck = BreakingOff(*[3] * 100)
    for number in range(40):
        stuck.put(f"packs/{number:02}", b"")
    infos = RetryingStorage(stuck, 5, Time().waiting()).list("packs/")
    assert [next(infos).name for _ in range(3)] == ["packs/00", "packs/01", "packs/02"]
    with pytest.raises(StorageUnreachable, match="tried"):
        next(infos)


# What only some storages can


def test_deleting_many_is_tried_again() -> None:
    inner = MemoryStorage()
    for number in range(10):
        inner.put(f"a/{number}", b"")
    storage = RetryingStorage(FaultyStorage(inner, faults("delete", count=3, first=4)), 300, Time().waiting())
    delete_many(storage, (f"a/{number}" for number in range(10)))
    assert inner._objects == {}


def test_storages_without_locks_say_so() -> None:
    inner = MemoryStorage()
    inner.put("a", b"")
    for storage in (inner, RetryingStorage(inner, 300, Time().waiting())):
        assert locked_until(storage, "a") is None
        with pytest.raises(InvalidArgument, match="can not lock objects"):
            extend_retention(storage, "a", 2e9)


def test_the_location_is_that_of_the_storage() -> None:
    assert RetryingStorage(MemoryStorage(), 1, Time().waiting()).location == "memory:"
