"""The programs that compare trees for us see each kind of difference: else their silence would say nothing."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.everything import differences, missing_tools, plant, unseal
from tests.trees import IS_ROOT

pytestmark = pytest.mark.skipif(bool(missing_tools()), reason=f"not installed: {', '.join(missing_tools())}")


def flip(path: Path) -> None:
    times = path.stat()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def part(path: Path) -> None:
    """The same file, but no other name of it any more."""
    status, data = path.stat(), path.read_bytes()
    path.unlink()
    path.write_bytes(data)
    path.chmod(status.st_mode & 0o7777)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def fill(path: Path) -> None:
    status, data = path.stat(), path.read_bytes()
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


ALTERATIONS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "a byte": ("size-100000", flip),
    "a time by a nanosecond": ("size-16384", lambda path: os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))),
    "a link's time": ("link out", lambda path: os.utime(path, ns=(0, 5), follow_symlinks=False)),
    "a mode": ("mode-0644", lambda path: path.chmod(0o645)),
    "an attribute": ("attributes/file", lambda path: os.setxattr(path, "user.plain", b"valuE")),
    "an attribute more": ("attributes", lambda path: os.setxattr(path, "user.more", b"")),
    "an ACL": ("acl/file", lambda path: subprocess.run(["setfacl", "-m", "u:1235:r", path], check=True)),
    "a default ACL": ("acl/directory", lambda path: subprocess.run(["setfacl", "-k", path], check=True)),
    "a flag": ("flags", lambda path: subprocess.run(["chattr", "-d", path], check=True)),
    "a name of a file less": ("a third name", part),
    "a hole less": ("sparse-data-first", fill),
    "a file less": ("size-1", Path.unlink),
    "a directory less": ("deep/er/../../setgid", Path.rmdir),
}
if IS_ROOT:
    ALTERATIONS["an owner"] = ("size-0", lambda path: os.chown(path, 1, 0))
    ALTERATIONS["a link's attribute"] = (
        "link to nothing",
        lambda path: os.removexattr(path, "trusted.link", follow_symlinks=False),
    )
    ALTERATIONS["the number of a device"] = (
        "character",
        lambda path: (path.unlink(), os.mknod(path, 0o020666, os.makedev(1, 5))),
    )


@pytest.fixture(scope="module")
def two():  # type: ignore[no-untyped-def]
    with tempfile.TemporaryDirectory(prefix="chunkstore-", ignore_cleanup_errors=True) as directory:
        place = Path(directory)
        plant(place / "one")
        subprocess.run(["rsync", "-aHAXS", f"{place}/one/", f"{place}/other/"], check=True)
        subprocess.run(["chattr", "+d", place / "other" / "flags"], check=True)
        try:
            yield place
        finally:
            unseal(place / "one")


def test_each_kind_of_difference_shows(two: Path) -> None:
    unseal(two / "one")  # rsync knows no flags
    before = differences(two / "one", two / "other")
    assert set(before) <= {"holes", "rsync", "find"}, before
    unseen = []
    for what, (name, alter) in ALTERATIONS.items():
        alter(two / "other" / name)
        after = differences(two / "one", two / "other")
        if after == before:
            unseen.append(what)
        before = after
    assert unseen == []
