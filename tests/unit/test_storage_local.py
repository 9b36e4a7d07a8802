"""What the contract can not ask of every storage: files, modes, full and read-only disks, crashes."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from chunkstore.errors import ObjectMissing, StorageFull, StorageUnreachable
from chunkstore.storage import Buffer, LimitedStorage, LocalStorage, Waiting, entries, local, publishing
from chunkstore.storage.local import WAYS
from chunkstore.storage.publishing import NotSupported, Target, Way, by_link, by_rename, by_unnamed_file
from chunkstore.storage.retrying import RetryingStorage

MIB = 1024 * 1024
NO_WAITING = Waiting(lambda: 0.0, lambda seconds: None, lambda: 0.0)


def files_below(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


def mount(*arguments: str) -> bool:
    """Whether it worked; only root can, and only on Linux."""
    try:
        return subprocess.run(["mount", *arguments], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 1 MiB."""
    root = tmp_path / "disk"
    root.mkdir()
    if not mount("-t", "tmpfs", "-o", "size=1m", "chunkstore-test", str(root)):
        pytest.skip("can not mount a tmpfs: needs root on Linux")
    try:
        yield root
    finally:
        subprocess.run(["umount", str(root)], check=True)


@pytest.fixture(params=WAYS, ids=lambda way: way.__name__)
def way(request: pytest.FixtureRequest, tmp_path: Path) -> Way:
    """Each way to publish that this system offers."""
    way: Way = request.param
    try:
        LocalStorage(tmp_path / "probe", create=True, ways=(way,)).put_if_absent("a", b"")
    except StorageUnreachable:
        pytest.skip("not offered by this system")
    return way


# Files and directories


def test_modes_and_places(tmp_path: Path) -> None:
    storage = LocalStorage.create(tmp_path / "new" / "store")
    storage.put("packs/ab/1", b"1")
    storage.put_if_absent("packs/ab/2", b"2")
    storage.put("packs/ab/1", b"replaced")
    root = tmp_path / "new" / "store"
    assert (root / "packs" / "ab" / "1").read_bytes() == b"replaced"
    directories = [root.parent, root, root / "packs", root / "packs" / "ab", root / ".tmp"]
    assert [mode(directory) for directory in directories] == [0o700] * 5
    assert [mode(root / "packs" / "ab" / name) for name in "12"] == [0o600] * 2


def test_creating_leaves_what_is_there_as_it_is(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    LocalStorage.create(tmp_path).put("a", b"1")
    assert mode(tmp_path) == 0o755
    assert LocalStorage.create(tmp_path).get("a") == b"1"


def test_new_objects_need_no_temporary_file(tmp_path: Path) -> None:
    if not hasattr(os, "O_TMPFILE"):
        pytest.skip("needs O_TMPFILE")
    storage = LocalStorage(tmp_path, ways=(by_unnamed_file,))
    storage.put("a", b"1")
    storage.put_if_absent("b", b"2")
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


def test_temporary_and_foreign_files_are_not_listed(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    storage.put("packs/ab/1", b"1")
    for foreign in (".tmp/0123", "packs/.hidden", "packs/ab/UPPER", "packs/ab/a b", "lost+found/x", "a/b/c/d/e"):
        (tmp_path / foreign).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / foreign).write_bytes(b"foreign")
    (tmp_path / "packs" / "ab" / "dangling").symlink_to("nothing")
    os.mkfifo(tmp_path / "packs" / "ab" / "fifo")
    assert [info.name for info in storage.list("")] == ["packs/ab/1"]
    assert [info.name for info in storage.list("packs/ab/")] == ["packs/ab/1"]
    (tmp_path / "\udcff").write_bytes(b"foreign")
    wrapped = LimitedStorage(RetryingStorage(storage, 0, NO_WAITING), 1, 1, NO_WAITING)
    assert sorted(entries(wrapped)) == sorted(storage.entries()) == ["a/", "lost+found/", "packs/", "\udcff"]


def test_directories_that_somebody_removed_are_made_again(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    storage.put("packs/ab/1", b"1")
    storage.delete("packs/ab/1")
    (tmp_path / "packs" / "ab").rmdir()
    storage.put("packs/ab/1", b"2")
    assert storage.get("packs/ab/1") == b"2"


def test_many_storages_on_one_directory(tmp_path: Path) -> None:
    first, second = LocalStorage(tmp_path), LocalStorage(tmp_path)
    assert first.put_if_absent("snapshots/1", b"first") is True
    assert second.put_if_absent("snapshots/1", b"second") is False
    assert second.get("snapshots/1") == b"first"


# Roots that are not there


def test_a_missing_root_is_not_an_empty_storage(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path / "unmounted")
    for action in (
        lambda: storage.put("a", b""),
        lambda: storage.put_if_absent("a/b", b""),
        lambda: storage.get("a"),
        lambda: storage.stat("a/b"),
        lambda: storage.delete("a"),
        lambda: list(storage.list("")),
        lambda: list(storage.list("packs/")),
    ):
        with pytest.raises(StorageUnreachable, match="unmounted: there is no such directory"):
            action()
    assert os.listdir(tmp_path) == []


def test_a_root_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    for storage in (LocalStorage(tmp_path / "file"), LocalStorage(tmp_path / "file", create=True)):
        for action in (
            lambda storage=storage: storage.put("a", b""),
            lambda storage=storage: storage.get("a"),
            lambda storage=storage: storage.stat("a"),
            lambda storage=storage: storage.delete("a"),
            lambda storage=storage: list(storage.list("packs/")),
        ):
            with pytest.raises(StorageUnreachable, match="file: not a directory"):
                action()
    with pytest.raises(StorageUnreachable, match="file: Not a directory"):
        LocalStorage.create(tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"content"


def test_a_root_that_goes_away(tmp_path: Path) -> None:
    root = tmp_path / "store"
    storage = LocalStorage.create(root)
    storage.put("a", b"1")
    (root / "a").unlink()
    root.rmdir()
    with pytest.raises(StorageUnreachable):
        storage.put("a", b"2")
    assert os.listdir(tmp_path) == []


# Refusals of the system


def test_what_stands_in_the_way(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    storage.put("a", b"a file")
    storage.put("d/b", b"in a directory")
    for name, reason in (("a/b", "Not a directory"), ("d", "directory")):
        with pytest.raises(StorageUnreachable, match=reason) as caught:
            storage.put(name, b"")
        assert str(tmp_path / name) in str(caught.value)
        assert isinstance(caught.value.__cause__, OSError)
    assert files_below(tmp_path) == {"a": b"a file", "d/b": b"in a directory"}


def test_no_permission(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    storage = LocalStorage(tmp_path / "store")
    storage.put("packs/1", b"1")
    was_root = os.geteuid() == 0
    (tmp_path / "store").chmod(0)
    if was_root:
        os.seteuid(65534)
    try:
        for action in (
            lambda: storage.get("packs/1"),
            lambda: storage.stat("packs/1"),
            lambda: storage.put("packs/1", b"2"),
            lambda: storage.put_if_absent("packs/2", b"2"),
            lambda: storage.delete("packs/1"),
            lambda: list(storage.list("packs/")),
        ):
            with pytest.raises(StorageUnreachable, match="Permission denied"):
                action()
    finally:
        if was_root:
            os.seteuid(0)
        (tmp_path / "store").chmod(0o700)
    assert storage.get("packs/1") == b"1"


def test_a_read_only_storage_can_be_read(tiny_disk: Path) -> None:
    storage = LocalStorage(tiny_disk)
    storage.put("packs/ab/1", b"1")
    assert mount("-o", "remount,ro", str(tiny_disk))
    storage = LocalStorage(tiny_disk)
    assert storage.get("packs/ab/1") == b"1"
    assert storage.stat("packs/ab/1").size == 1
    assert [info.name for info in storage.list("")] == ["packs/ab/1"]
    for action in (
        lambda: storage.put("packs/ab/1", b"2"),
        lambda: storage.put("packs/cd/1", b"2"),
        lambda: storage.put_if_absent("packs/ab/2", b"2"),
        lambda: storage.delete("packs/ab/1"),
    ):
        with pytest.raises(StorageUnreachable, match="Read-only file system"):
            action()


def test_a_full_disk(tiny_disk: Path, way: Way) -> None:
    storage = LocalStorage(tiny_disk, ways=(way,))
    small = Random(1).randbytes(100_000)
    storage.put("packs/ab/small", small)
    for action in (
        lambda: storage.put_if_absent("packs/ab/large", bytes(3 * MIB)),
        lambda: storage.put("packs/ab/large", bytes(3 * MIB)),
        lambda: storage.put("packs/ab/small", bytes(3 * MIB)),
    ):
        with pytest.raises(StorageFull, match="No space left on device; make room") as caught:
            action()
        assert str(tiny_disk) in str(caught.value)
    assert files_below(tiny_disk) == {"packs/ab/small": small}
    assert storage.put_if_absent("packs/ab/fits", bytes(500_000)) is True


def test_an_object_that_can_not_be_written_whole(tmp_path: Path, way: Way) -> None:
    """A limit on the size of files breaks off in the midst of writing, as a full disk does, without being root."""
    storage = LocalStorage(tmp_path / "store", create=True, ways=(way,))
    storage.put("a", b"before")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, limits[1]))
    try:
        for action in (
            lambda: storage.put("a", bytes(2 * MIB)),
            lambda: storage.put("b", bytes(2 * MIB)),
            lambda: storage.put_if_absent("c", bytes(2 * MIB)),
        ):
            with pytest.raises(StorageUnreachable, match="File too large"):
                action()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert files_below(tmp_path / "store") == {"a": b"before"}


# Ways to publish


def not_here(target: Target, data: object) -> bool:
    raise NotSupported


def test_a_file_system_without_any_way_can_still_put(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path, ways=(not_here,))
    storage.put("a", b"1")
    storage.put("a", b"2")
    assert storage.get("a") == b"2"
    with pytest.raises(StorageUnreachable, match="can not create files without replacing"):
        storage.put_if_absent("b", b"")
    assert files_below(tmp_path) == {"a": b"2"}


def test_a_way_that_does_not_work_is_tried_once(tmp_path: Path) -> None:
    tried = []

    def counted(target: Target, data: object) -> bool:
        tried.append(target.name)
        raise NotSupported

    storage = LocalStorage(tmp_path, ways=(counted, by_link, by_rename))
    for name in ("a", "b", "c"):
        assert storage.put_if_absent(name, b"") is True
    assert tried == ["a"]


def test_the_descriptors_are_closed(tmp_path: Path, way: Way) -> None:
    storage = LocalStorage(tmp_path, ways=(way,))

    def use() -> None:
        storage.put("a/b", b"1")
        storage.put("a/b", b"2")
        storage.put_if_absent("a/b", b"3")
        storage.get("a/b")
        list(storage.list(""))
        for missing in ("x", "x/y"):
            with pytest.raises(ObjectMissing):
                storage.get(missing)
        with pytest.raises(StorageUnreachable):
            storage.put("a", b"")
        storage.delete("a/b")

    use()
    before = os.dup(0)
    os.close(before)
    for _ in range(5):
        use()
    after = os.dup(0)
    os.close(after)
    assert after == before


# Crashes

WRITE_FOR_EVER = """
import sys
from chunkstore.storage import LocalStorage
from chunkstore.storage import publishing
storage = LocalStorage(sys.argv[1], durable=False, ways=(getattr(publishing, sys.argv[2]),))
print("ready", flush=True)
number = 0
while True:
    number += 1
    storage.put_if_absent(f"packs/{number % 16:02x}/{number}", number.to_bytes(4, "big") * 500_000)
    storage.put("sessions/1", number.to_bytes(4, "big") * 500_000)
"""


def test_a_killed_writer_leaves_whole_objects_only(tmp_path: Path, way: Way) -> None:
    for turn in range(3):
        root = tmp_path / str(turn)
        storage = LocalStorage.create(root)
        process = subprocess.Popen(
            [sys.executable, "-c", WRITE_FOR_EVER, str(root), way.__name__], stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        with process, process.stdout:
            assert process.stdout.readline() == b"ready\n"
            while not list(storage.list("sessions/")):
                time.sleep(0.001)
            time.sleep(0.013 * turn)
            process.send_signal(signal.SIGKILL)
        infos = list(storage.list(""))
        for info in infos:
            content = storage.get(info.name)
            assert len(content) == 2_000_000
            assert content == content[:4] * 500_000
        litter = set(files_below(root)) - {info.name for info in infos}
        assert all(name.startswith(".tmp/") for name in litter)
        assert len(litter) <= 1
        storage.put("sessions/1", b"next run")
        assert storage.get("sessions/1") == b"next run"


# Litter


DAY = 86400


def litter(root: Path, name: str, age: float) -> Path:
    """A file that somebody left in the directory for temporary files, so many seconds ago."""
    path = root / ".tmp" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"half of an obj")
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_the_next_writer_sweeps_out_what_crashed_writers_left(tmp_path: Path, way: Way) -> None:
    root = LocalStorage.create(tmp_path / "store").location
    old, young = litter(Path(root), "a" * 32, 1.1 * DAY), litter(Path(root), "b" * 32, 0.9 * DAY)
    foreign = litter(Path(root), "notes.txt", 100 * DAY)
    storage = LocalStorage(root, ways=(way,))
    assert list(storage.list("")) == []
    with pytest.raises(ObjectMissing):
        storage.get("a")
    assert old.exists(), "readers leave all as it is"
    storage.put("a", b"1")
    assert not old.exists()
    assert young.exists()
    assert foreign.exists()


def test_who_replaces_sweeps_too_and_each_once(tmp_path: Path) -> None:
    LocalStorage(tmp_path).put("sessions/1", b"1")
    old = litter(tmp_path, "a" * 32, 2 * DAY)
    storage = LocalStorage(tmp_path)
    assert storage.put_if_absent("sessions/1", b"2") is False
    assert old.exists(), "nothing was written yet that would tell the time"
    storage.put("sessions/1", b"3")
    assert not old.exists()
    old = litter(tmp_path, "a" * 32, 2 * DAY)
    storage.put("sessions/1", b"4")
    assert old.exists()


def test_files_of_others_behind_a_link_are_not_swept(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "elsewhere").mkdir()
    other = litter(tmp_path, "c" * 32, 5 * DAY).rename(tmp_path / "elsewhere" / ("c" * 32))
    (tmp_path / "store" / ".tmp").symlink_to(tmp_path / "elsewhere")
    LocalStorage(tmp_path / "store").put("a", b"1")
    assert other.exists()


def test_a_writer_that_was_taken_for_dead_fails_and_promises_nothing(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path, ways=(by_link,))
    storage.put("a", b"1")
    real = os.link

    def link(*arguments: object, **options: object) -> None:
        for path in (tmp_path / ".tmp").iterdir():
            path.unlink()
        real(*arguments, **options)  # type: ignore[arg-type]

    os.link = link  # type: ignore[assignment]
    try:
        with pytest.raises(StorageUnreachable):
            storage.put_if_absent("b", b"2")
    finally:
        os.link = real
    assert [info.name for info in storage.list("")] == ["a"]
    assert storage.put_if_absent("b", b"2") is True


# A file system without hard links


@pytest.fixture
def vfat(tmp_path: Path) -> Iterator[Path]:
    """A real file system of the kind that USB sticks have."""
    make = shutil.which("mkfs.vfat", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if make is None:
        pytest.skip("needs mkfs.vfat (dosfstools)")
    image, root = tmp_path / "image", tmp_path / "stick"
    root.mkdir()
    with image.open("wb") as file:
        file.truncate(16 * MIB)
    subprocess.run([make, str(image)], check=True, capture_output=True)
    if not mount("-o", "loop", "-t", "vfat", str(image), str(root)):
        pytest.skip("can not mount a vfat: needs root and a kernel that has it")
    try:
        yield root
    finally:
        subprocess.run(["umount", str(root)], check=True)


def keeps_what_it_promises(storage: LocalStorage) -> None:
    assert storage.put_if_absent("packs/ab/1", b"1" * 70_000) is True
    assert storage.put_if_absent("packs/ab/1", b"other") is False
    storage.put("sessions/1", b"2")
    storage.put("sessions/1", b"3")
    assert [(info.name, info.size) for info in storage.list("")] == [("packs/ab/1", 70_000), ("sessions/1", 1)]
    assert storage.get("sessions/1") == b"3"
    storage.delete("packs/ab/1")
    assert [info.name for info in storage.list("")] == ["sessions/1"]


def test_a_file_system_without_hard_links(vfat: Path) -> None:
    keeps_what_it_promises(LocalStorage(vfat / "repository", create=True))
    assert os.listdir(vfat / "repository" / ".tmp") == []


def test_renaming_is_enough(tmp_path: Path) -> None:
    """What is left on vfat, on a file system that has more."""

    def without_links(target: Target, data: Buffer) -> bool:
        raise NotSupported

    try:
        keeps_what_it_promises(LocalStorage(tmp_path, ways=(without_links, by_rename)))
    except StorageUnreachable as error:
        if "can not create files without replacing" not in str(error):
            raise
        pytest.skip("the file system of temporary files can not rename without replacing")
    assert os.listdir(tmp_path / ".tmp") == []


def test_directories_are_flushed_into_their_parents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order that a power cut asks for: the file before its name, each new directory in its parent."""
    flushed: list[str] = []
    real = publishing.flush

    def flush(descriptor: int) -> None:
        real(descriptor)
        flushed.append(os.readlink(f"/proc/self/fd/{descriptor}"))

    if not os.path.exists("/proc/self/fd"):
        pytest.skip("needs /proc")
    monkeypatch.setattr(publishing, "flush", flush)
    monkeypatch.setattr(local, "flush", flush)
    root = tmp_path / "new" / "store"
    storage = LocalStorage(root, create=True, ways=(by_link,))
    storage.put_if_absent("packs/ab/1", b"1")
    *directories, file, last = flushed
    assert directories == [str(tmp_path), str(tmp_path / "new"), str(root), str(root / "packs")]
    assert os.path.dirname(file) == str(root / ".tmp")
    assert last == str(root / "packs" / "ab")
    flushed.clear()
    storage.delete("packs/ab/1")
    assert flushed == [str(root / "packs" / "ab")]


def test_errors_name_their_cause(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(StorageUnreachable) as caught:
        LocalStorage(loop).get("a")
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.ELOOP
    assert str(loop) in str(caught.value)
