"""What a snapshot records of its sources: several names, holes, attributes, special files, streams."""

from __future__ import annotations

import os
import random
import stat
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from chunkstore.errors import Interrupted, SourceError
from chunkstore.format.entries import BLOCK_DEVICE, FIFO, FILE
from chunkstore.storage import MemoryStorage
from tests.engine import Client, Clock, Stored, temporary_directory
from tests.trees import IS_ROOT

KIB = 1024


@pytest.fixture
def client() -> Iterator[Client]:
    with temporary_directory() as base:
        client = Client(MemoryStorage(), base)
        client.create()
        yield client


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """On a disk: memory file systems keep fewer attributes."""
    (tmp_path / "tree").mkdir()
    return tmp_path / "tree"


def bytes_of(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


def under(stored: dict[bytes, Stored], root: Path) -> dict[str, Stored]:
    top = os.fsencode(root) + b"/"
    return {path[len(top) :].decode(): each for path, each in stored.items() if path.startswith(top)}


# -- several names


def test_names_of_one_file_are_recorded_as_such_and_read_once(client: Client, place: Path) -> None:
    (place / "sub").mkdir()
    (place / "b").write_bytes(bytes_of(1, 50 * KIB))
    os.link(place / "b", place / "a")
    os.link(place / "b", place / "sub" / "c")
    (place / "other").write_bytes(b"alone")
    taken = client.snapshot(place)
    found = under(client.stored(taken.id), place)
    assert (
        found["a"].entry.link == found["b"].entry.link == found["sub/c"].entry.link == (0, (place / "a").stat().st_ino)
    )
    assert found["other"].entry.link is None
    assert {found[name].content for name in ("a", "b", "sub/c")} == {bytes_of(1, 50 * KIB)}
    assert taken.result.statistics.bytes_read == 50 * KIB + 5
    assert taken.result.statistics.files == 4


def test_names_in_two_roots_belong_together(client: Client, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    (tmp_path / "one" / "a").write_bytes(bytes_of(2, 9 * KIB))
    os.link(tmp_path / "one" / "a", tmp_path / "two" / "b")
    taken = client.snapshot(tmp_path / "one", tmp_path / "two")
    stored = client.stored(taken.id)
    links = [stored[os.fsencode(tmp_path / name)].entry.link for name in ("one/a", "two/b")]
    assert links[0] is not None
    assert links[0] == links[1]
    assert taken.result.statistics.bytes_read == 9 * KIB


def test_a_name_more_or_less_is_seen_next_time(client: Client, place: Path) -> None:
    (place / "a").write_bytes(bytes_of(3, 6 * KIB))
    client.snapshot(place)
    os.link(place / "a", place / "b")
    second = under(client.stored(client.snapshot(place).id), place)
    assert second["a"].entry.link == second["b"].entry.link != None  # noqa: E711
    (place / "a").unlink()
    third = under(client.stored(client.snapshot(place).id), place)
    assert third["b"].entry.link is None
    assert third["b"].content == bytes_of(3, 6 * KIB)


def test_a_name_that_was_left_unchanged_beside_one_that_is_new_here(client: Client, place: Path) -> None:
    """The other name was outside of the last snapshot: nothing tells that it is new but the walk."""
    (place / "in").mkdir()
    (place / "out").mkdir()
    (place / "in" / "a").write_bytes(bytes_of(4, 6 * KIB))
    os.link(place / "in" / "a", place / "out" / "b")
    client.snapshot(place / "in")
    (place / "out" / "b").rename(place / "in" / "b")
    found = under(client.stored(client.snapshot(place / "in").id), place / "in")
    assert found["a"].entry.link == found["b"].entry.link
    assert found["a"].content == found["b"].content == bytes_of(4, 6 * KIB)


def test_the_second_snapshot_of_many_names_reads_nothing(client: Client, place: Path) -> None:
    for number in range(20):
        (place / f"{number}").write_bytes(bytes_of(number, 3000))
        os.link(place / f"{number}", place / f"{number}-too")
    first = client.snapshot(place)
    second = client.snapshot(place)
    assert second.result.statistics.bytes_read == 0
    assert second.record.content_root == first.record.content_root


# -- holes


def plant_sparse(path: Path, size: int, *parts: tuple[int, bytes]) -> None:
    with path.open("wb") as file:
        for offset, data in parts:
            file.seek(offset)
            file.write(data)
        file.truncate(size)


def test_of_a_sparse_file_the_data_alone_is_read_and_stored(client: Client, place: Path) -> None:
    parts = [(0, bytes_of(5, 8 * KIB)), (1 << 30, bytes_of(6, 100 * KIB)), ((1 << 40) - 4 * KIB, bytes_of(7, 4 * KIB))]
    plant_sparse(place / "large", 1 << 40, *parts)
    taken = client.snapshot(place)
    assert taken.result.statistics.bytes_read == 112 * KIB
    assert taken.result.statistics.bytes == 1 << 40
    second = client.snapshot(place)
    assert second.result.statistics.files_unchanged == 1


@pytest.mark.parametrize("size", [1, 255, 4 * KIB, 40 * KIB, 300 * KIB])
def test_a_file_that_is_one_hole(client: Client, place: Path, size: int) -> None:
    plant_sparse(place / "hole", size)
    found = under(client.stored(client.snapshot(place).id), place)["hole"]
    assert (found.entry.size, found.entry.chunks, found.entry.extents) == (size, 0, [])
    assert found.content == bytes(size)


def test_sparse_files_come_back_byte_for_byte(client: Client, place: Path) -> None:
    dice = random.Random(8)
    for number in range(12):
        parts = [(dice.randrange(80) * 4096, dice.randbytes(dice.randrange(1, 9000))) for _ in range(number)]
        plant_sparse(place / f"{number:02}", 90 * 4096 + number, *parts)
    taken = client.snapshot(place)
    found = under(client.stored(taken.id), place)
    for number in range(12):
        assert found[f"{number:02}"].content == (place / f"{number:02}").read_bytes()
    assert all(not each.entry.changed for each in found.values())


# -- attributes


def test_what_files_have_is_in_their_entries(client: Client, place: Path) -> None:
    (place / "file").write_bytes(b"content")
    (place / "directory").mkdir()
    for name in ("file", "directory"):
        os.setxattr(place / name, "user.colour", b"green")
        subprocess.run(["setfacl", "-m", "u:1234:r", place / name], check=True)
        subprocess.run(["chattr", "+d", place / name], check=True)
    found = under(client.stored(client.snapshot(place).id), place)
    for name in ("file", "directory"):
        entry = found[name].entry
        assert entry.xattrs[b"user.colour"] == b"green"
        assert b"system.posix_acl_access" in entry.xattrs
        assert entry.flags == 0x40


def test_a_new_attribute_is_seen_though_the_content_is_as_it_was(client: Client, place: Path) -> None:
    (place / "file").write_bytes(bytes_of(9, 5000))
    (place / "directory").mkdir()
    client.snapshot(place)
    os.setxattr(place / "file", "user.new", b"1")
    os.setxattr(place / "directory", "user.new", b"2")
    taken = client.snapshot(place)
    found = under(client.stored(taken.id), place)
    assert found["file"].entry.xattrs == {b"user.new": b"1"}
    assert found["directory"].entry.xattrs == {b"user.new": b"2"}
    assert taken.result.statistics.chunks_new <= 10  # of the manifest; the content is known


def test_owners_have_names(client: Client, place: Path) -> None:
    import grp
    import pwd

    (place / "file").write_bytes(b"x")
    status = (place / "file").stat()
    owners = under(client.stored(client.snapshot(place).id), place)["file"].owners
    assert owners.users[status.st_uid] == pwd.getpwuid(status.st_uid).pw_name
    assert owners.groups[status.st_gid] == grp.getgrgid(status.st_gid).gr_name


@pytest.mark.skipif(not IS_ROOT, reason="only root gives files away")
def test_owners_without_a_name_have_none(client: Client, place: Path) -> None:
    (place / "file").write_bytes(b"x")
    os.chown(place / "file", 54321, 54322)
    stored = under(client.stored(client.snapshot(place).id), place)["file"]
    assert (stored.entry.uid, stored.entry.gid) == (54321, 54322)
    assert 54321 not in stored.owners.users
    assert 54322 not in stored.owners.groups


def test_access_times_are_recorded_on_request_and_followed(client: Client, place: Path) -> None:
    path = place / "file"
    path.write_bytes(b"x")
    os.utime(path, ns=(10**18, 10**17))
    assert under(client.stored(client.snapshot(place).id), place)["file"].entry.atime_ns is None
    client.without_cache()
    first = client.snapshot(place, atime=True)
    assert under(client.stored(first.id), place)["file"].entry.atime_ns == 10**18
    second = client.snapshot(place, atime=True)
    assert second.record.content_root == first.record.content_root  # making snapshots reads without a trace
    os.utime(path, ns=(2 * 10**18, 10**17))
    third = client.snapshot(place, atime=True)
    assert under(client.stored(third.id), place)["file"].entry.atime_ns == 2 * 10**18
    assert third.result.statistics.bytes_read <= 1


# -- trust in times


class Ticks(Clock):
    """The time that files have, as far as a clock can have it: what is written now has times that can not be trusted."""

    def __call__(self) -> int:
        import time

        return time.time_ns()


def test_times_close_to_the_last_snapshot_are_not_trusted(client: Client, place: Path) -> None:
    client = client.but(clock=Ticks())
    path = place / "file"
    path.write_bytes(b"before")
    client.snapshot(place)
    status = path.stat()
    path.write_bytes(b"after!")  # as long as it was; and where clocks tick slowly, with the same times
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    found = under(client.stored(client.snapshot(place).id), place)
    assert found["file"].content == b"after!"


def test_force_reads_every_file_and_stores_nothing_twice(client: Client, place: Path) -> None:
    for number in range(5):
        (place / f"{number}").write_bytes(bytes_of(number, 4000))
    first = client.snapshot(place)
    assert client.snapshot(place).result.statistics.bytes_read == 0
    forced = client.snapshot(place, force=True)
    assert forced.result.statistics.bytes_read == 20_000
    assert forced.result.statistics.bytes_new == 0
    assert forced.result.statistics.files_unchanged == 5
    assert forced.record.content_root == first.record.content_root


# -- special files


def test_special_files_are_named_and_not_read(client: Client, place: Path) -> None:
    os.mkfifo(place / "pipe", 0o640)
    taken = client.snapshot(place)
    assert under(client.stored(taken.id), place)["pipe"].entry.kind == FIFO
    assert taken.result.statistics.specials == 1


def test_a_pipe_is_read_on_request(client: Client, place: Path) -> None:
    os.mkfifo(place / "pipe")
    data = bytes_of(10, 300 * KIB)
    writer = threading.Thread(target=lambda: (place / "pipe").write_bytes(data), daemon=True)
    writer.start()
    taken = client.snapshot(place, read_special=True)
    writer.join()
    found = under(client.stored(taken.id), place)["pipe"]
    assert (found.entry.kind, found.entry.size) == (FILE, len(data))
    assert found.content == data


def test_a_pipe_that_nobody_writes_to_can_be_given_up(client: Client, place: Path) -> None:
    os.mkfifo(place / "pipe")
    looks = iter(range(100))
    waiting = client.but(stop=lambda: next(looks) > 5)
    with pytest.raises(Interrupted):
        waiting.snapshot(place, read_special=True)


@pytest.mark.skipif(not IS_ROOT, reason="only root makes block devices")
def test_a_block_device_is_read_on_request_also_through_a_link_that_is_a_root(client: Client, place: Path) -> None:
    image = place.parent / "image"
    data = bytes_of(11, 512 * KIB)
    image.write_bytes(data)
    attached = subprocess.run(["losetup", "--find", "--show", image], capture_output=True, text=True)
    if attached.returncode:
        pytest.skip(f"no loop device to be had: {attached.stderr.strip()}")
    device = attached.stdout.strip()
    try:
        os.mknod(place / "disk", stat.S_IFBLK | 0o600, os.stat(device).st_rdev)
        (place / "link").symlink_to(place / "disk")
        plain = under(client.stored(client.snapshot(place).id), place)
        assert plain["disk"].entry.kind == BLOCK_DEVICE
        taken = client.snapshot(place / "disk", place / "link", read_special=True)
        found = under(client.stored(taken.id), place)
        assert found["disk"].content == found["link"].content == data
        assert found["link"].entry.kind == FILE
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)


# -- streams


class Given:
    """A stream of these pieces through a real pipe; at its end it says what it is told to."""

    def __init__(self, pieces: list[bytes], verdict: Exception | None = None) -> None:
        self._read, write = os.pipe()
        self._verdict = verdict
        self._thread = threading.Thread(target=self._fill, args=(write, pieces), daemon=True)
        self._thread.start()

    def _fill(self, write: int, pieces: list[bytes]) -> None:
        with os.fdopen(write, "wb", buffering=0) as file:
            for piece in pieces:
                file.write(piece)

    def fileno(self) -> int:
        return self._read

    def readinto(self, view: memoryview) -> int:
        return os.readv(self._read, [view])

    def end(self) -> None:
        self._thread.join()
        os.close(self._read)
        if self._verdict:
            raise self._verdict


@pytest.mark.parametrize("name", [b"stdin", b"/dumps/all of it.sql"])
@pytest.mark.parametrize("size", [0, 1, 5000, 400 * KIB])
def test_a_stream_is_stored_as_a_file(client: Client, name: bytes, size: int) -> None:
    data = bytes_of(12, size)
    taken = client.stream(name, Given([data[at : at + 7777] for at in range(0, size, 7777)]))
    path = b"/" + name.lstrip(b"/")
    stored = client.stored(taken.id)
    assert stored[path].content == data
    assert stored[path].entry.mode == 0o600
    assert taken.record.roots == (path,)
    assert taken.result.statistics.bytes_read == size
    again = client.stream(name, Given([data]))
    assert again.result.statistics.bytes_new == 0
    assert client.restored(again.id)


def test_a_stream_that_must_not_be_kept_makes_no_snapshot(client: Client) -> None:
    with pytest.raises(SourceError, match="no good"):
        client.stream(b"dump", Given([b"half of it"], SourceError("no good")))
    assert not list(client.storage.list("snapshots/"))
    assert not list(client.storage.list("sessions/"))


def test_a_stream_that_never_comes_can_be_given_up(client: Client) -> None:
    read, write = os.pipe()
    looks = iter(range(100))

    class Silent(Given):
        def __init__(self) -> None:
            self._read = read

    with pytest.raises(Interrupted):
        client.but(stop=lambda: next(looks) > 3).stream(b"dump", Silent())
    os.close(read)
    os.close(write)
