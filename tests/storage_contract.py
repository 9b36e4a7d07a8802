"""What every storage and every wrapper has to do, also looked at behind the storage's back.

A test module makes a class for each storage, inherits from `StorageContract` and gives it a `world`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from random import Random

import pytest

from chunkstore.errors import InvalidArgument, ObjectMissing
from chunkstore.storage import Buffer, ObjectInfo, Storage

MIB = 1024 * 1024

ALLOWED = "abcdefghijklmnopqrstuvwxyz0123456789._-"
GOOD_NAMES = [
    "a",
    "-",
    "_",
    "0",
    "a.",
    "a..",
    "a..b",
    "-.-",
    "config/1",
    "packs/ab/" + "0123456789abcdef" * 4,
    "four/b/c/d",
    "x" * 128,
    "/".join(["y" * 128] * 4),
    *(f"chars/x{character}x" for character in ALLOWED),
    *(f"first/{character}" for character in ALLOWED if character != "."),
    f"all/{ALLOWED}",
]
BAD_NAMES = [
    "",
    ".",
    "..",
    "/",
    "/a",
    "a/",
    "a//b",
    "a/./b",
    "a/../b",
    "../a",
    "a/..",
    ".tmp/a",
    "a/.hidden",
    "A",
    "a/B",
    "a b",
    "a\n",
    "a\0",
    "\0",
    "a\\b",
    "a:b",
    "a*",
    "é",
    "ſ",
    "٣",
    "a/b/c/d/e",
    "x" * 129,
    "a/" + "x" * 129,
    "\udcff",
]
BAD_PREFIXES = ["/", "//", ".", "..", "a//", "a/.", "../", "A", "a/b/c/d/", "a\0", "*", "x" * 129]


@dataclass(frozen=True, slots=True)
class World:
    """A storage, and a way to see all that it really keeps, anything left over included."""

    storage: Storage
    everything: Callable[[], dict[str, bytes]]


def in_threads(actions: Sequence[Callable[[], None]]) -> None:
    """Run all at once; an error in any of them is raised here."""
    barrier = threading.Barrier(len(actions))
    errors: list[BaseException] = []

    def run(action: Callable[[], None]) -> None:
        try:
            barrier.wait()
            action()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(action,)) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for error in errors:
        raise error


def names(infos: Iterator[ObjectInfo]) -> list[str]:
    return [info.name for info in infos]


class StorageContract:
    """Inherit, and define the fixture `world`."""

    many = 3000
    """How many objects the long listing has."""
    fillers = 1
    """How many threads store them: more where each takes a while."""
    races = 5
    """How many races there are for one name."""

    @pytest.fixture
    def storage(self, world: World) -> Storage:
        return world.storage

    # Objects

    @pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 5 * MIB], ids=str)
    def test_what_is_put_is_there(self, world: World, size: int) -> None:
        data = Random(size).randbytes(size)
        world.storage.put("packs/ab/one", data)
        assert world.storage.get("packs/ab/one") == data
        assert world.storage.stat("packs/ab/one") == ObjectInfo("packs/ab/one", size)
        assert world.storage.put_if_absent("packs/ab/two", data) is True
        assert world.storage.get("packs/ab/two") == data
        assert world.everything() == {"packs/ab/one": data, "packs/ab/two": data}

    def test_an_object_of_64_mib(self, storage: Storage) -> None:
        data = Random(64).randbytes(64 * MIB)
        assert storage.put_if_absent("packs/ab/large", data) is True
        assert storage.stat("packs/ab/large").size == 64 * MIB
        assert storage.get("packs/ab/large", 20 * MIB - 1, 5 * MIB) == data[20 * MIB - 1 : 25 * MIB - 1]
        assert storage.get("packs/ab/large", 63 * MIB) == data[63 * MIB :]
        assert storage.get("packs/ab/large") == data

    @pytest.mark.parametrize(
        "data",
        [
            b"0123456789",
            bytearray(b"0123456789"),
            memoryview(b"0123456789"),
            memoryview(bytearray(b"__0123456789__"))[2:-2],
            memoryview(b"0123456789").cast("H"),
        ],
        ids=["bytes", "bytearray", "memoryview", "slice", "pairs"],
    )
    def test_any_buffer_is_stored(self, storage: Storage, data: Buffer) -> None:
        storage.put("a", data)
        assert storage.put_if_absent("b", data) is True
        assert storage.get("a") == storage.get("b") == b"0123456789"

    def test_a_buffer_may_be_used_again(self, storage: Storage) -> None:
        buffer = bytearray(b"first")
        storage.put("a", buffer)
        assert storage.put_if_absent("b", memoryview(buffer)) is True
        buffer[:] = b"other"
        assert storage.get("a") == storage.get("b") == b"first"

    def test_put_replaces(self, world: World) -> None:
        for data in (b"a longer one", b"short", b"", b"the last one"):
            world.storage.put("sessions/1", data)
            assert world.storage.get("sessions/1") == data
            assert world.everything() == {"sessions/1": data}

    def test_put_if_absent_never_replaces(self, world: World) -> None:
        storage = world.storage
        first = b"the first one"
        assert storage.put_if_absent("snapshots/1", first) is True
        assert storage.put_if_absent("snapshots/1", b"another") is False
        assert storage.put_if_absent("snapshots/1", first) is False
        assert storage.put_if_absent("snapshots/1", b"") is False
        assert world.everything() == {"snapshots/1": first}

    def test_put_if_absent_and_empty_objects(self, storage: Storage) -> None:
        assert storage.put_if_absent("a", b"") is True
        assert storage.put_if_absent("a", b"") is False
        assert storage.get("a") == b""

    def test_put_if_absent_after_delete(self, storage: Storage) -> None:
        storage.put("a", b"1")
        storage.delete("a")
        assert storage.put_if_absent("a", b"2") is True
        assert storage.get("a") == b"2"

    def test_delete_is_idempotent(self, world: World) -> None:
        world.storage.delete("never/there")
        world.storage.put("packs/ab/1", b"1")
        world.storage.put("packs/ab/2", b"2")
        world.storage.delete("packs/ab/1")
        world.storage.delete("packs/ab/1")
        world.storage.delete("packs/ab/1/below")
        assert world.everything() == {"packs/ab/2": b"2"}

    def test_missing_objects(self, storage: Storage) -> None:
        storage.put("packs/ab/1", b"1")
        for name in ("a", "packs/ab/2", "packs/cd/1", "packs", "packs/ab", "packs/ab/1/1"):
            with pytest.raises(ObjectMissing) as caught:
                storage.get(name)
            assert caught.value.object_name == name
            with pytest.raises(ObjectMissing):
                storage.get(name, 5, 0)
            with pytest.raises(ObjectMissing):
                storage.stat(name)

    def test_what_is_only_a_directory_is_not_deleted(self, storage: Storage) -> None:
        storage.put("packs/ab/1", b"1")
        storage.delete("packs/ab")
        storage.delete("packs")
        assert names(storage.list("")) == ["packs/ab/1"]

    # Ranges

    def test_ranges_at_every_edge(self, storage: Storage) -> None:
        data = b"0123456789"
        storage.put("a", data)
        for offset, length in product(range(13), [None, *range(13), 2**40]):
            expected = data[offset:] if length is None else data[offset : offset + length]
            assert storage.get("a", offset, length) == expected, (offset, length)
        assert storage.get("a", 2**62) == storage.get("a", 2**62, 2**62) == b""

    def test_ranges_of_a_large_object(self, storage: Storage) -> None:
        data = Random(1).randbytes(5 * MIB)
        storage.put("a", data)
        for offset, length in ((0, 1), (MIB - 1, MIB + 2), (5 * MIB - 1, 1), (5 * MIB - 1, 2), (3 * MIB, 9 * MIB)):
            assert storage.get("a", offset, length) == data[offset : offset + length]
        assert storage.get("a", 4 * MIB) == data[4 * MIB :]

    def test_negative_ranges_are_refused(self, storage: Storage) -> None:
        storage.put("a", b"0123456789")
        for offset, length in ((-1, None), (0, -1), (-1, -1), (-10, 10)):
            with pytest.raises(InvalidArgument):
                storage.get("a", offset, length)

    # Names

    def test_good_names(self, world: World) -> None:
        for number, name in enumerate(GOOD_NAMES):
            content = str(number).encode()
            if number % 2:
                world.storage.put(name, content)
            else:
                assert world.storage.put_if_absent(name, content) is True
        expected = {name: str(number).encode() for number, name in enumerate(GOOD_NAMES)}
        assert world.everything() == expected
        assert {name: world.storage.get(name) for name in GOOD_NAMES} == expected
        assert names(world.storage.list("")) == sorted(GOOD_NAMES)
        for name in GOOD_NAMES:
            assert name in names(world.storage.list(name))
            world.storage.delete(name)
        assert world.everything() == {}

    def test_bad_names_are_refused(self, world: World) -> None:
        storage = world.storage
        actions: list[Callable[[str], object]] = [
            lambda name: storage.put(name, b""),
            lambda name: storage.put_if_absent(name, b""),
            storage.get,
            storage.stat,
            storage.delete,
        ]
        for action, name in product(actions, BAD_NAMES):
            with pytest.raises(InvalidArgument, match="a-z 0-9") as caught:
                action(name)
            assert repr(name) in str(caught.value)
        assert world.everything() == {}

    def test_bad_prefixes_are_refused_at_once(self, storage: Storage) -> None:
        for prefix in BAD_PREFIXES:
            with pytest.raises(InvalidArgument, match="a-z 0-9") as caught:
                storage.list(prefix)
            assert repr(prefix) in str(caught.value)

    # Listings

    def test_listing_by_prefix(self, storage: Storage) -> None:
        for name in ("packs/ab/1", "packs/ab/2", "packs/a0/1", "packs/b/1", "pack", "packs-old", "index/1"):
            storage.put(name, name.encode())
        assert names(storage.list("")) == [
            "index/1",
            "pack",
            "packs-old",
            "packs/a0/1",
            "packs/ab/1",
            "packs/ab/2",
            "packs/b/1",
        ]
        assert names(storage.list("pack"))[0] == "pack"
        assert len(names(storage.list("pack"))) == 6
        assert names(storage.list("packs/")) == ["packs/a0/1", "packs/ab/1", "packs/ab/2", "packs/b/1"]
        assert names(storage.list("packs/a")) == ["packs/a0/1", "packs/ab/1", "packs/ab/2"]
        assert names(storage.list("packs/ab/")) == ["packs/ab/1", "packs/ab/2"]
        assert names(storage.list("packs/ab/2")) == ["packs/ab/2"]
        for nothing in ("packs/ab/3", "packs/c", "packs/c/", "snapshots/", "index/1/", "x"):
            assert names(storage.list(nothing)) == []

    def test_listing_of_nothing(self, world: World) -> None:
        assert names(world.storage.list("")) == []
        assert names(world.storage.list("packs/")) == []
        assert world.everything() == {}

    def test_listing_is_sorted_by_whole_names(self, storage: Storage) -> None:
        """Where a directory's name and a file's begin alike, `/` counts like any other character."""
        unsorted = ["a0", "a/b", "a-b", "a.b", "a_", "a/b-c", "a/c/d", "a/c-d", "a/c.d", "ab", "b/-", "b-/x"]
        for name in unsorted:
            storage.put(name, b"")
        assert names(storage.list("")) == sorted(unsorted)
        assert names(storage.list("a")) == sorted(name for name in unsorted if name.startswith("a"))
        assert names(storage.list("a/")) == sorted(name for name in unsorted if name.startswith("a/"))

    def test_listing_of_many(self, storage: Storage) -> None:
        expected = [ObjectInfo(f"packs/{number % 7:02x}/{number:064x}", number % 5) for number in range(self.many)]
        expected.sort(key=lambda info: info.name)

        def fill(part: Sequence[ObjectInfo]) -> None:
            for info in part:
                storage.put_if_absent(info.name, b"x" * info.size)

        in_threads([lambda part=expected[start :: self.fillers]: fill(part) for start in range(self.fillers)])  # type: ignore[misc]
        assert list(storage.list("packs/")) == expected
        assert list(storage.list("packs/03/")) == [info for info in expected if "/03/" in info.name]

    def test_objects_may_be_deleted_while_they_are_listed(self, storage: Storage) -> None:
        for number in range(50):
            storage.put(f"packs/{number % 3}/{number}", b"")
        for info in storage.list("packs/"):
            storage.delete(info.name)
        assert names(storage.list("")) == []

    # Times

    def test_objects_have_the_time_at_which_they_were_stored(self, storage: Storage) -> None:
        before = time.time()
        for name in ("packs/ab/1", "packs/ab/2", "snapshots/1"):
            storage.put_if_absent(name, name.encode())
        for info in storage.list(""):
            assert info.modified is not None
            # To the second, and each server has its own clock.
            assert before - 5 <= info.modified <= time.time() + 5
            again = storage.stat(info.name).modified
            assert again is not None
            assert abs(again - info.modified) < 1.5

    def test_an_object_stored_again_has_a_new_time(self, storage: Storage) -> None:
        storage.put("sessions/1", b"0")
        first = storage.stat("sessions/1").modified
        assert first is not None
        for _ in range(100):
            time.sleep(0.03)
            storage.put("sessions/1", b"1")
            modified = storage.stat("sessions/1").modified
            assert modified is not None
            assert modified >= first
            if modified > first:
                break
        else:
            pytest.fail("the time stays the same")
        assert [info.modified for info in storage.list("sessions/")] == [pytest.approx(modified, abs=1.5)]

    # Many at once

    def test_concurrent_writers(self, world: World) -> None:
        """32 threads, into directories that do not exist yet."""
        contents = {f"packs/{number % 4:02x}/{number}": Random(number).randbytes(20_000) for number in range(64)}
        items = list(contents.items())

        def writer(number: int) -> None:
            for name, data in items[2 * number : 2 * number + 2]:
                if number % 2:
                    world.storage.put(name, data)
                else:
                    assert world.storage.put_if_absent(name, data) is True

        in_threads([lambda number=number: writer(number) for number in range(32)])  # type: ignore[misc]
        assert world.everything() == contents
        assert names(world.storage.list("")) == sorted(contents)

    def test_put_if_absent_has_one_winner(self, world: World) -> None:
        for turn in range(self.races):
            name = f"snapshots/{turn}"
            winners: list[bytes] = []

            def racer(number: int, name: str = name, winners: list[bytes] = winners) -> None:
                data = Random(number).randbytes(10_000 + number)
                if world.storage.put_if_absent(name, data):
                    winners.append(data)
                else:
                    # Who loses can read the winner at once, and whole.
                    assert len(world.storage.get(name)) >= 10_000

            in_threads([lambda number=number: racer(number) for number in range(32)])  # type: ignore[misc]
            assert len(winners) == 1
            assert world.everything()[name] == winners[0]
        assert len(world.everything()) == self.races

    def test_readers_never_see_a_torn_object(self, world: World) -> None:
        storage = world.storage
        contents = [bytes([number]) * (100_000 + 1000 * number) for number in range(4)]
        storage.put("sessions/1", contents[0])
        finished = threading.Event()

        def writer() -> None:
            try:
                for turn in range(60):
                    storage.put("sessions/1", contents[turn % 4])
            finally:
                finished.set()

        def reader() -> None:
            while not finished.is_set():
                assert storage.get("sessions/1") in contents
                assert storage.stat("sessions/1").size in {len(content) for content in contents}
                assert names(storage.list("sessions/")) == ["sessions/1"]

        in_threads([writer, reader, reader, reader])
        assert world.everything() == {"sessions/1": contents[3]}

    def test_readers_see_a_whole_object_or_none(self, world: World) -> None:
        storage = world.storage
        content = Random(5).randbytes(200_000)
        finished = threading.Event()

        def writer() -> None:
            try:
                for turn in range(60):
                    if turn % 2:
                        storage.put("a/b", content)
                    else:
                        assert storage.put_if_absent("a/b", content) is True
                    storage.delete("a/b")
            finally:
                finished.set()

        def reader() -> None:
            while not finished.is_set():
                try:
                    assert storage.get("a/b") == content
                except ObjectMissing:
                    continue
                assert [info.size for info in storage.list("a/")] in ([], [len(content)])

        in_threads([writer, reader, reader])
        assert world.everything() == {}

    # Messages

    def test_the_location_is_a_text(self, storage: Storage) -> None:
        assert isinstance(storage.location, str)
        assert storage.location
