"""Bandwidth limits: no more than the rate allows over any time, small objects do not wait, a wait can be ended."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

import pytest

from chunkstore.errors import Interrupted, InvalidArgument, ObjectMissing, StorageUnreachable
from chunkstore.storage import LimitedStorage, LocalStorage, MemoryStorage, StorageOptions, Waiting, open_storage
from chunkstore.storage.faulty import Fault, FaultyStorage, RecordingStorage
from tests.storage_contract import StorageContract, World

KIB = 1024
MIB = 1024 * KIB


@dataclass
class Time:
    """A clock that only sleeping moves on."""

    now: float = 1000.0
    longest: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def clock(self) -> float:
        with self.lock:
            return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        with self.lock:
            self.now += seconds
            self.longest = max(self.longest, seconds)

    def waiting(self) -> Waiting:
        return Waiting(self.clock, self.sleep, lambda: 0.5)


class TestLimitedStorage(StorageContract):
    """With rates that are soon reached, in a time that costs none."""

    many = 300

    @pytest.fixture
    def world(self) -> World:
        storage = MemoryStorage(time.time)
        limited = LimitedStorage(storage, 1 * MIB, 3 * MIB, Time().waiting())
        return World(limited, lambda: dict(storage._objects))


def test_uploads_keep_the_rate_from_the_first_second_on() -> None:
    told = Time()
    begin = told.now
    storage = LimitedStorage(MemoryStorage(), 100 * KIB, None, told.waiting())
    choice, moved = Random(1), 0
    for number in range(300):
        size = choice.choice([0, 1, 100, 4 * KIB, 70 * KIB, 300 * KIB])
        storage.put(f"packs/{number}", bytes(size)) if number % 2 else storage.put_if_absent(f"p/{number}", bytes(size))
        moved += size
        assert moved <= 100 * KIB * (told.now - begin + 1) * 1.001
    assert moved / (told.now - begin) == pytest.approx(100 * KIB, rel=0.03)


@pytest.mark.parametrize("length_is_known", [True, False])
def test_downloads_keep_the_rate_from_the_first_second_on(length_is_known: bool) -> None:
    told, inner = Time(), MemoryStorage()
    content = Random(1).randbytes(3 * MIB + 17)
    inner.put("packs/a", content)
    recording = RecordingStorage(inner)
    storage = LimitedStorage(recording, None, 500 * KIB, told.waiting())
    begin = told.now
    for _ in range(20):
        assert storage.get("packs/a", 0, len(content) if length_is_known else None) == content
    assert recording.bytes_got == 20 * len(content)
    assert recording.bytes_got / (told.now - begin) == pytest.approx(500 * KIB, rel=0.03)
    assert max(call.size for call in recording.calls) <= 500 * KIB


def test_the_rate_is_that_of_all_threads_together() -> None:
    told = Time()
    begin = told.now
    storage = LimitedStorage(MemoryStorage(), 200 * KIB, None, told.waiting())

    def work(number: int) -> None:
        for turn in range(10):
            storage.put(f"{number}/{turn}", bytes(64 * KIB))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # The clock runs for every sleeper, so that it can only be too early, never too late.
    assert told.now - begin >= 80 * 64 / 200 - 1 - 0.001


def test_a_pause_saves_up_one_second_and_no_more() -> None:
    told = Time()
    storage = LimitedStorage(MemoryStorage(), 100 * KIB, None, told.waiting())
    told.now += 3600
    begin = told.now
    storage.put("a", bytes(100 * KIB))
    assert told.now == begin
    storage.put("b", bytes(100 * KIB))
    assert told.now - begin == pytest.approx(1)


def test_small_objects_do_not_wait_for_what_they_might_have_been() -> None:
    told, inner = Time(), MemoryStorage()
    inner.put("a", b"small")
    recording = RecordingStorage(inner)
    storage = LimitedStorage(recording, None, 1, told.waiting())
    begin = told.now
    assert storage.get("a") == b"small"
    assert told.now == begin
    assert len(recording.calls) == 1


def test_a_range_that_reaches_past_the_end_is_paid_for_as_far_as_there_is_something() -> None:
    told, inner = Time(), MemoryStorage()
    inner.put("a", bytes(1000))
    storage = LimitedStorage(inner, None, 1000, told.waiting())
    begin = told.now
    for _ in range(10):
        storage.get("a", 900, 1000)
    assert told.now - begin == pytest.approx(0, abs=1.0)


def test_what_failed_is_not_paid_for() -> None:
    told, inner = Time(), MemoryStorage()
    storage = LimitedStorage(FaultyStorage(inner, [Fault(1)]), None, 1000, told.waiting())
    inner.put("a", bytes(1000))
    begin = told.now
    with pytest.raises(StorageUnreachable):
        storage.get("a", 0, 1000)
    with pytest.raises(ObjectMissing):
        storage.get("b", 0, 1000)
    storage.get("a", 0, 1000)
    assert told.now == begin


def test_names_are_refused_before_anything_waits() -> None:
    told = Time()
    storage = LimitedStorage(MemoryStorage(), 1, 1, told.waiting())
    begin = told.now
    with pytest.raises(InvalidArgument):
        storage.put("A", bytes(1000))
    with pytest.raises(InvalidArgument):
        storage.get("A", 0, 1000)
    assert told.now == begin


def test_who_is_asked_to_end_does_not_sit_out_a_long_wait() -> None:
    told, asked = Time(), [False]
    waiting = replace(told.waiting(), stop=lambda: asked[0])
    inner = MemoryStorage()
    storage = LimitedStorage(inner, 1000, None, waiting)
    storage.put("a", bytes(1000))
    asked[0] = True
    begin = told.now
    with pytest.raises(Interrupted):
        storage.put("b", bytes(1_000_000))
    assert told.now - begin <= waiting.slice_seconds
    storage.put("c", bytes(100))  # what is done is still written down
    assert sorted(info.name for info in inner.list("")) == ["a", "c"]
    assert told.longest <= waiting.slice_seconds


def test_real_time(tmp_path: Path) -> None:
    """Loosely: a busy machine makes it only slower."""
    waiting = Waiting(time.monotonic, time.sleep, lambda: 0.5)
    storage = open_storage(str(tmp_path), options=StorageOptions(limit_upload=1 * MIB), waiting=waiting)
    begin = time.monotonic()
    for number in range(6):
        storage.put(f"a/{number}", bytes(256 * KIB))
    assert time.monotonic() - begin >= 0.45
    assert isinstance(storage, LimitedStorage)


def test_storages_without_limits_are_not_wrapped(tmp_path: Path) -> None:
    assert isinstance(open_storage(str(tmp_path), options=StorageOptions(connections=9)), LocalStorage)
