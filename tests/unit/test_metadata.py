"""What a source's file has beside its `lstat`."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chunkstore.format.extras import MAX_XATTRS
from chunkstore.tree.metadata import Metadata
from tests.trees import IS_ROOT


@pytest.fixture
def place() -> Iterator[Path]:
    """On the disk that holds the project's tests: flags and attributes need a real file system."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="chunkstore-") as path:
        os.setxattr(path, "user.probe", b"1")
        yield Path(path)


class Reports:
    def __init__(self) -> None:
        self.problems: list[tuple[bytes, str]] = []

    def __call__(self, path: bytes, error: OSError) -> None:
        self.problems.append((path, error.strerror or str(error)))


def of(path: Path, **options: bool) -> dict[str, Any] | None:
    """By path, and by descriptor where that must be the same."""
    reports = Reports()
    metadata, name = Metadata(reports, **options), os.fsencode(path)
    status = os.lstat(path)
    found = metadata.of_path(name, status)
    if stat.S_ISREG(status.st_mode):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            found = metadata.of_file(descriptor, name, status)
        finally:
            os.close(descriptor)
    assert not reports.problems
    return found


def test_a_plain_file_has_nothing(place: Path) -> None:
    (place / "plain").write_bytes(b"x")
    assert of(place / "plain") is None


def test_extended_attributes_of_all_that_can_have_them(place: Path) -> None:
    file, directory, link = place / "file", place / "directory", place / "link"
    file.write_bytes(b"x")
    directory.mkdir()
    link.symlink_to("file")
    for path in (file, directory):
        os.setxattr(path, b"user.\xff name", b"\0 any \xff bytes")
        os.setxattr(path, b"user.a", b"")
        assert of(path) == {"xattrs": {b"user.a": b"", b"user.\xff name": b"\0 any \xff bytes"}}
    if IS_ROOT:
        os.setxattr(link, "trusted.of-the-link", b"itself", follow_symlinks=False)
        assert of(link) == {"xattrs": {b"trusted.of-the-link": b"itself"}}


def test_attributes_come_in_the_order_of_their_names(place: Path) -> None:
    path = place / "file"
    path.write_bytes(b"x")
    for name in ("user.z", "user.a", "user.m", "user.b"):
        os.setxattr(path, name, b"1")
    found = of(path)
    assert found is not None
    assert list(found["xattrs"]) == [b"user.a", b"user.b", b"user.m", b"user.z"]


def test_acls_are_attributes(place: Path) -> None:
    path = place / "directory"
    path.mkdir()
    subprocess.run(["setfacl", "-m", "u:1234:rx,d:g:4321:rwx", path], check=True)
    found = of(path)
    assert found is not None
    assert set(found["xattrs"]) == {b"system.posix_acl_access", b"system.posix_acl_default"}


def test_flags_of_files_and_directories(place: Path) -> None:
    (place / "file").write_bytes(b"x")
    (place / "directory").mkdir()
    for name in ("file", "directory"):
        subprocess.run(["chattr", "+dA", place / name], check=True)
        assert of(place / name) == {"flags": 0x40 | 0x80}


@pytest.mark.skipif(not IS_ROOT, reason="only root makes files immutable")
def test_an_immutable_file_says_so(place: Path) -> None:
    path = place / "file"
    path.write_bytes(b"x")
    subprocess.run(["chattr", "+i", path], check=True)
    try:
        assert of(path) == {"flags": 0x10}
    finally:
        subprocess.run(["chattr", "-i", path], check=True)


def test_names_of_one_file_have_one_number(place: Path) -> None:
    (place / "one").write_bytes(b"x")
    os.link(place / "one", place / "two")
    os.mkfifo(place / "pipe")
    os.link(place / "pipe", place / "pipe too")
    assert of(place / "one") == of(place / "two") == {"link": 0}
    assert of(place / "pipe") == {"link": 0}
    assert of(place) == {"xattrs": {b"user.probe": b"1"}}  # the links of a directory are its sub-directories


def test_devices_are_numbered_as_they_come(place: Path) -> None:
    metadata = Metadata(Reports())
    here, there = os.stat(place), os.stat("/proc")
    assert here.st_dev != there.st_dev
    assert [metadata.link_ordinal(each) for each in (there, here, there)] == [0, 1, 0]


@pytest.mark.skipif(not IS_ROOT, reason="only root makes devices")
def test_the_number_of_a_device(place: Path) -> None:
    os.mknod(place / "null", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    os.mknod(place / "disk", stat.S_IFBLK | 0o600, os.makedev(7, 300))
    assert of(place / "null") == {"device": [1, 3]}
    assert of(place / "disk") == {"device": [7, 300]}


def test_sockets_and_pipes_are_not_opened(place: Path) -> None:
    os.mkfifo(place / "pipe")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(place / "socket"))
    assert of(place / "pipe") is None
    assert of(place / "socket") is None


def test_access_times_on_request(place: Path) -> None:
    path = place / "file"
    path.write_bytes(b"x")
    os.utime(path, ns=(123_456_789, 5))
    assert of(path) is None
    assert of(path, atime=True) == {"atime": 123_456_789}


def test_looking_leaves_the_access_time_alone(place: Path) -> None:
    path = place / "directory"
    path.mkdir()
    os.utime(path, ns=(5, 10**18))
    of(path)
    assert os.stat(path).st_atime_ns == 5


def test_paths_longer_than_the_system_takes(place: Path) -> None:
    name = "d" * 200
    here = os.open(place, os.O_RDONLY)
    path = os.fsencode(place)
    for _ in range(25):
        os.mkdir(name, dir_fd=here)
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here, path = below, path + b"/" + name.encode()
    os.mkfifo("pipe", dir_fd=here)
    os.setxattr(here, "user.deep", b"1")
    if IS_ROOT:
        os.setxattr(f"/proc/self/fd/{here}/pipe", "trusted.deep", b"2")
    reports = Reports()
    metadata = Metadata(reports)
    assert metadata.of_path(path, os.fstat(here)) == {"xattrs": {b"user.deep": b"1"}}
    status = os.stat("pipe", dir_fd=here, follow_symlinks=False)
    assert metadata.of_path(path + b"/pipe", status) == ({"xattrs": {b"trusted.deep": b"2"}} if IS_ROOT else None)
    assert not reports.problems
    os.close(here)


def test_more_attributes_than_an_entry_holds_are_reported_and_left_out(tmp_path: Path) -> None:
    with_room = Path("/dev/shm")  # ext4 has room for one block of them
    path = with_room / f"chunkstore-{os.getpid()}"
    path.write_bytes(b"x")
    try:
        for number in range(MAX_XATTRS // 60_000 + 1):
            os.setxattr(path, f"trusted.{number}", bytes(60_000))
    except OSError:
        pytest.skip("this file system has no room for so many attributes")
    else:
        reports = Reports()
        assert Metadata(reports).of_path(os.fsencode(path), os.lstat(path)) is None
        assert [(each, "left out" in why) for each, why in reports.problems] == [(os.fsencode(path), True)]
    finally:
        path.unlink()


def test_file_systems_without_attributes_are_asked_once() -> None:
    reports = Reports()
    metadata = Metadata(reports)
    for name in ("/proc/version", "/proc/uptime"):
        descriptor = os.open(name, os.O_RDONLY)
        assert metadata.of_file(descriptor, os.fsencode(name), os.fstat(descriptor)) is None
        os.close(descriptor)
    assert not reports.problems
