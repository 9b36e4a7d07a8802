"""Every storage and every wrapper keeps the contract; and URLs become storages."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from chunkstore.errors import InvalidArgument, ObjectMissing, StorageUnreachable
from chunkstore.storage import LocalStorage, MemoryStorage, ObjectInfo, Storage, StorageOptions, Waiting, open_storage
from chunkstore.storage.faulty import Fault, FaultyStorage, RecordingStorage
from chunkstore.storage.location import S3Place, parse_s3
from chunkstore.storage.options import NO_OPTIONS
from chunkstore.storage.publishing import (
    NotSupported,
    Target,
    Way,
    by_link,
    by_rename,
)
from tests.storage_contract import StorageContract, World

WAITING = Waiting(clock=lambda: 0.0, sleep=lambda seconds: None, random=lambda: 0.5)


def files_below(root: Path) -> dict[str, bytes]:
    """All files in a directory, hidden and temporary ones too."""
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def objects_of(storage: MemoryStorage) -> dict[str, bytes]:
    return dict(storage._objects)


def never(target: Target, data: object) -> bool:
    """A way that no file system offers."""
    raise NotSupported


class TestMemoryStorage(StorageContract):
    @pytest.fixture
    def world(self) -> World:
        storage = MemoryStorage(time.time)
        return World(storage, lambda: objects_of(storage))


class TestLocalStorage(StorageContract):
    @pytest.fixture
    def world(self, tmp_path: Path) -> World:
        storage = LocalStorage.create(tmp_path / "store", durable=False)
        return World(storage, lambda: files_below(tmp_path / "store"))


class TestLocalStorageThatIsMadeWhenNeeded(StorageContract):
    many = 300

    @pytest.fixture
    def world(self, tmp_path: Path) -> World:
        root = tmp_path / "not" / "there" / "yet"
        return World(LocalStorage(root, create=True, durable=False), lambda: files_below(root))


@pytest.mark.parametrize("way", [by_link, by_rename], ids=["by_link", "by_rename"])
class TestOtherWaysToPublish(StorageContract):
    """Those for file systems unlike this one, after a first one that fails here."""

    many = 300

    @pytest.fixture
    def world(self, tmp_path: Path, way: Way) -> World:
        storage = LocalStorage(tmp_path, durable=False, ways=(never, way))
        try:
            storage.put_if_absent("probe", b"")
            storage.delete("probe")
        except StorageUnreachable:
            pytest.skip(f"the file system of {tmp_path} does not offer {way.__name__}")
        return World(storage, lambda: files_below(tmp_path))


class TestFaultyStorageWithoutFaults(StorageContract):
    @pytest.fixture
    def world(self) -> World:
        storage = MemoryStorage(time.time)
        return World(FaultyStorage(storage, [Fault(10**9)]), lambda: objects_of(storage))


class TestRecordingStorage(StorageContract):
    many = 300

    @pytest.fixture
    def world(self, tmp_path: Path) -> World:
        return World(RecordingStorage(LocalStorage(tmp_path, durable=False)), lambda: files_below(tmp_path))


def test_in_memory_without_a_clock_nothing_has_a_time() -> None:
    storage = MemoryStorage()
    storage.put("a/b", b"1")
    assert storage.stat("a/b").modified is None
    storage.clock = lambda: 5.0
    assert [info.modified for info in storage.list("")] == [None]
    storage.put("a/b", b"2")
    assert [info.modified for info in storage.list("")] == [5.0]
    storage.clock = None
    storage.put("a/b", b"3")
    assert storage.stat("a/b").modified is None


def test_the_time_is_no_part_of_what_makes_two_infos_equal() -> None:
    assert ObjectInfo("a", 1, 5.0) == ObjectInfo("a", 1) == ObjectInfo("a", 1, 6.0) != ObjectInfo("a", 2, 5.0)
    assert len({ObjectInfo("a", 1, 5.0), ObjectInfo("a", 1, 6.0)}) == 1


def test_types_follow_the_protocol(tmp_path: Path) -> None:
    """Checked by mypy; at run time only that there are as many as are meant."""
    memory = MemoryStorage()
    storages: list[Storage] = [memory, LocalStorage(tmp_path), FaultyStorage(memory), RecordingStorage(memory)]
    assert [storage.location for storage in storages] == ["memory:", str(tmp_path), "memory:", "memory:"]


def test_paths_and_file_urls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a b").mkdir()
    LocalStorage(tmp_path / "a b").put("config/1", b"here")
    monkeypatch.chdir(tmp_path)
    for url in (
        f"{tmp_path}/a b",
        f"{tmp_path}/a b/",
        "a b",
        "./a b",
        f"file://{tmp_path}/a b",
        f"file://{tmp_path}/a%20b",
        f"FILE://localhost{tmp_path}/a%20b/",
    ):
        storage = open_storage(url)
        assert storage.location == str(tmp_path / "a b")
        assert storage.get("config/1") == b"here"


def test_a_path_stays_where_it_was_when_the_process_moves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    storage = open_storage("store", create=True)
    monkeypatch.chdir("/")
    storage.put("config/1", b"1")
    assert (tmp_path / "store" / "config" / "1").read_bytes() == b"1"


@pytest.mark.skipif(sys.platform == "darwin", reason="file names are UTF-8 on macOS")
def test_paths_that_are_not_utf8(tmp_path: Path) -> None:
    open_storage(f"file://{tmp_path}/%ff", create=True).put("a", b"1")
    assert (tmp_path / "\udcff" / "a").read_bytes() == b"1"


def test_opening_makes_nothing(tmp_path: Path) -> None:
    storage = open_storage(str(tmp_path / "store"), create=True)
    assert list(storage.list("")) == []
    with pytest.raises(ObjectMissing):
        storage.get("config/1")
    storage.delete("config/1")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("rest", "bucket", "prefix"),
    [
        ("bucket", "bucket", ""),
        ("bucket/", "bucket", ""),
        ("my.bucket-1/backup", "my.bucket-1", "backup/"),
        ("bucket//a///b/", "bucket", "a/b/"),
        ("bucket/Früher & jetzt/%41", "bucket", "Früher & jetzt/%41/"),
        ("bucket/user@host:1/x", "bucket", "user@host:1/x/"),
    ],
)
def test_buckets_and_prefixes(rest: str, bucket: str, prefix: str) -> None:
    assert parse_s3(rest) == S3Place(bucket, prefix)


@pytest.mark.parametrize(
    ("rest", "reason"),
    [
        ("", "name of a bucket"),
        ("/prefix", "name of a bucket"),
        ("ab", "name of a bucket"),
        ("a" * 64, "name of a bucket"),
        ("Bucket", "name of a bucket"),
        ("under_score", "name of a bucket"),
        ("-bucket", "name of a bucket"),
        ("bucket.", "name of a bucket"),
        ("two..dots", "name of a bucket"),
        ("bücket", "name of a bucket"),
        ("bucket\n", "name of a bucket"),
        ("key:secret@bucket/prefix", "no credentials in the URL"),
        ("localhost:9000/bucket", "--endpoint-url"),
        ("bucket/prefix?versionId=secret", "no \\? and no #"),
        ("bucket/prefix#secret", "no \\? and no #"),
        ("bucket/../secret", r"no \. or \.\."),
        ("bucket/./secret", r"no \. or \.\."),
        ("bucket/secret\n", "control characters"),
        ("bucket/secret\udcff", "UTF-8"),
        ("bucket/" + "secret/" * 200, "no room"),
    ],
)
def test_what_is_no_bucket(rest: str, reason: str) -> None:
    with pytest.raises(InvalidArgument, match=reason) as caught:
        open_storage(f"s3://{rest}", waiting=WAITING)
    assert "secret" not in str(caught.value)


def test_options_for_s3_mean_nothing_elsewhere(tmp_path: Path) -> None:
    for options in (StorageOptions(region="x"), StorageOptions(verify_tls=False), StorageOptions(retention_days=1)):
        for url in (str(tmp_path), f"file://{tmp_path}", "sftp://host/path"):
            with pytest.raises(InvalidArgument, match="only s3://"):
                open_storage(url, options=options, waiting=WAITING)


@pytest.mark.parametrize(
    "values",
    [
        {"limit_upload": 0},
        {"limit_download": -1},
        {"connections": 0},
        {"connections": 65},
        {"addressing_style": "sideways"},
        {"retention_days": 0},
    ],
)
def test_options_that_make_no_sense(values: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument):
        StorageOptions(**values)


def test_who_has_to_wait_must_know_how(tmp_path: Path) -> None:
    for url, options in (("s3://bucket", NO_OPTIONS), (str(tmp_path), StorageOptions(limit_upload=1))):
        with pytest.raises(InvalidArgument, match="told how to wait"):
            open_storage(url, options=options)


MISSING = """
import importlib.abc, sys
class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in ("boto3", "botocore", "paramiko"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing())
from chunkstore.storage import Waiting, open_storage
from chunkstore.errors import InvalidArgument
open_storage(sys.argv[1], create=True).put("a", b"1")
for url in ("s3://bucket", "sftp://host/path"):
    try:
        open_storage(url, waiting=Waiting(lambda: 0, print, lambda: 0))
    except InvalidArgument as error:
        print(error)
"""


def test_libraries_are_imported_where_they_are_needed_and_may_be_missing(tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", MISSING, str(tmp_path)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines() == [
        "s3:// needs boto3, which is not installed: pip install boto3",
        "sftp:// needs paramiko, which is not installed: pip install 'chunkstore[sftp]'",
    ]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://user:secret@host/",
        "s3:/bucket/\0",
        "ftp://host",
        "file://",
        "file://host/secret",
        "file:///a%00secret",
        "a\0secret",
    ],
)
def test_what_is_no_place(url: str) -> None:
    with pytest.raises(InvalidArgument, match=r"file:///path"):
        open_storage(url)
