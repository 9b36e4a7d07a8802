"""Every storage and every wrapper keeps the contract; and URLs become storages."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from chunkstore.errors import InvalidArgument, ObjectMissing, StorageUnreachable
from chunkstore.storage import (
    Fault,
    FaultyStorage,
    LocalStorage,
    MemoryStorage,
    RecordingStorage,
    Storage,
    open_storage,
)
from chunkstore.storage.publishing import (
    NotSupported,
    Target,
    Way,
    by_link,
    by_rename,
)
from tests.storage_contract import StorageContract, World


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
        storage = MemoryStorage()
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
        storage = MemoryStorage()
        return World(FaultyStorage(storage, [Fault(10**9)]), lambda: objects_of(storage))


class TestRecordingStorage(StorageContract):
    many = 300

    @pytest.fixture
    def world(self, tmp_path: Path) -> World:
        return World(RecordingStorage(LocalStorage(tmp_path, durable=False)), lambda: files_below(tmp_path))


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


@pytest.mark.parametrize("scheme", ["s3", "sftp", "S3"])
def test_schemes_that_are_planned(scheme: str) -> None:
    with pytest.raises(
        InvalidArgument, match=r"not supported yet by this version; give a path or file:///path"
    ) as caught:
        open_storage(f"{scheme}://user:secret@host/path")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["", "http://user:secret@host/", "file://", "file://host/secret", "file:///a%00secret", "a\0secret"]
)
def test_what_is_no_place(url: str) -> None:
    with pytest.raises(InvalidArgument, match=r"file:///path"):
        open_storage(url)
