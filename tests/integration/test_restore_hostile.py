"""Manifests that somebody forged, and targets that fail: nothing outside the target is touched, and each error is clear."""

from __future__ import annotations

import os
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from chunkstore.errors import TargetError
from chunkstore.format.entries import DIRECTORY, FILE, SYMLINK, Entry
from chunkstore.repository.manifest_reader import ManifestEntry, ManifestReader
from chunkstore.storage import MemoryStorage
from chunkstore.tree.overwriting import Overwrite
from chunkstore.tree.problems import TargetFull
from tests.engine import KIB, Client, Taken
from tests.restoring import ALWAYS, IF_CHANGED, REFUSE, restored
from tests.targets import as_nobody
from tests.trees import IS_ROOT, below, look, noise, plant


@pytest.fixture
def client(tmp_path: Path) -> Client:
    client = Client(MemoryStorage(), tmp_path / "client")
    client.create()
    return client


@pytest.fixture
def source(tmp_path: Path) -> Path:
    plant(tmp_path / "source", {b"a": {b"file": b"planted"}, b"b": b"other", b"big": noise(100 * KIB)})
    return tmp_path / "source"


@pytest.fixture
def taken(client: Client, source: Path) -> Taken:
    return client.snapshot(source)


class Forged:
    """A manifest in which entries have other parents, names and kinds: what decoding would refuse, too."""

    def __init__(self, manifest: ManifestReader, source: Path, entries: list[tuple[bytes, Entry]]) -> None:
        self._manifest = manifest
        self._root = os.fsencode(source)
        self._content = manifest.find(self._root + b"/a/file")
        self._entries = entries

    def below(self, path: bytes) -> Iterator[ManifestEntry]:
        assert self._content is not None
        for parent, entry in self._entries:
            where = self._root + b"/" + parent if parent else self._root
            yield self._content._replace(parent=where, entry=entry)

    def find(self, path: bytes) -> ManifestEntry | None:
        return self._manifest.find(path) or next((each for each in self.below(b"") if each.path == path), None)

    def __getattr__(self, name: str) -> object:
        return getattr(self._manifest, name)


def entry(name: bytes, kind: int = FILE, **extra: object) -> Entry:
    is_file = kind == FILE
    return Entry(
        name, kind, 0o644 if is_file else 0o755, os.geteuid(), os.getegid(), 10**18, 0, 1, 7 * is_file, int(is_file),
        extra or None,
    )  # fmt: skip


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """What nobody may touch; the target is beside it."""
    plant(tmp_path / "outside", {b"file": b"precious", b"directory": {b"file": b"precious"}})
    return tmp_path / "outside"


ENTRIES = {
    "a directory that is a link": [(b"", entry(b"a", SYMLINK, target=b"../outside")), (b"a", entry(b"file"))],
    "a link, then a directory of that name": [
        (b"", entry(b"a", SYMLINK, target=b"../outside")), (b"", entry(b"a", DIRECTORY)), (b"a", entry(b"file")),
    ],
    "a directory, then a link of that name": [
        (b"", entry(b"a", DIRECTORY)), (b"", entry(b"a", SYMLINK, target=b"../outside")), (b"a", entry(b"file")),
    ],
    "a deep link": [
        (b"", entry(b"d", DIRECTORY)), (b"d", entry(b"a", SYMLINK, target=b"../../outside")),
        (b"d/a", entry(b"directory", DIRECTORY)), (b"d/a/directory", entry(b"file")),
    ],
    "a name that climbs": [(b"", entry(b"../outside/file")), (b"..", entry(b"outside")), (b"../outside", entry(b"file"))],
    "dots": [(b"", entry(b"..")), (b"", entry(b".")), (b"", entry(b"..", DIRECTORY)), (b".", entry(b"x", SYMLINK, target=b"/"))],
    "an absolute name": [(b"", entry(b"/outside/file")), (b"/", entry(b"tmp", DIRECTORY))],
    "a NUL": [(b"", entry(b"a\0b")), (b"", entry(b"\0", SYMLINK, target=b"x"))],
    "a hard link through a link": [
        (b"", entry(b"a", SYMLINK, target=b"../outside")), (b"a", entry(b"file", link=1)), (b"", entry(b"z", link=1)),
    ],
    "a hard link to a link": [
        (b"", entry(b"a", SYMLINK, target=b"../outside/file", link=1)), (b"", entry(b"z", link=1)),
    ],
    "the same name twice": [(b"", entry(b"x")), (b"", entry(b"x")), (b"", entry(b"x", SYMLINK, target=b"../outside/file"))],
}  # fmt: skip


@pytest.mark.parametrize("overwrite", [REFUSE, ALWAYS, IF_CHANGED])
@pytest.mark.parametrize("delete", [False, True])
@pytest.mark.parametrize("name", ENTRIES)
def test_no_manifest_leads_out_of_the_target(
    client: Client, taken: Taken, source: Path, outside: Path, name: str, overwrite: Overwrite, delete: bool
) -> None:
    target = outside.parent / "target"
    if overwrite is not REFUSE:
        plant(target, {b"extra": b"", b"link": str(outside)})
    before = {path: os.lstat(os.path.join(os.fsencode(outside), path)) for path in look(outside)}
    around = set(os.listdir(outside.parent)) | {"target"}
    for dry_run in (True, False):
        try:
            restored(
                client, taken, target, overwrite, dry_run=dry_run, delete=delete and overwrite is not REFUSE,
                manifest=lambda manifest: Forged(manifest, source, ENTRIES[name]),
            )  # fmt: skip
        except AssertionError as e:  # the harness hears of one path twice
            if "Step(" not in str(e):
                raise
        after = {path: os.lstat(os.path.join(os.fsencode(outside), path)) for path in look(outside)}
        for path, status in before.items():
            assert after[path].st_ino == status.st_ino
            assert after[path].st_nlink == status.st_nlink, "it has got another name"
            assert (after[path].st_mode, after[path].st_mtime_ns) == (status.st_mode, status.st_mtime_ns)
        assert after.keys() == before.keys()
        assert (outside / "file").read_bytes() == b"precious"
        assert set(os.listdir(outside.parent)) <= around


def test_a_forged_group_of_links_does_not_join_different_files(
    client: Client, taken: Taken, source: Path, tmp_path: Path
) -> None:
    """Two entries claim to be one file, and are of different owners or modes."""
    entries = [(b"", entry(b"one", link=1)), (b"", entry(b"two", link=1)._replace(mode=0o600))]
    told = restored(
        client, taken, tmp_path / "target", REFUSE, manifest=lambda manifest: Forged(manifest, source, entries)
    )
    assert (told.done.files, told.done.hard_links) == (2, 0)
    one, two = ((tmp_path / "target" / name).stat() for name in ("one", "two"))
    assert one.st_ino != two.st_ino
    assert stat.S_IMODE(two.st_mode) == 0o600


def test_sizes_that_are_not_so(client: Client, taken: Taken, source: Path, tmp_path: Path) -> None:
    """What a manifest says of sizes and holes is checked against the chunks that there are."""
    short, long = entry(b"short")._replace(size=6), entry(b"long")._replace(size=1 << 50)
    holes = entry(b"holes", extents=[[0, 3], [1 << 40, 3]])._replace(size=1 << 50)
    none = entry(b"none")._replace(chunks=0)
    told = restored(
        client, taken, tmp_path / "target", REFUSE,
        manifest=lambda manifest: Forged(manifest, source, [(b"", each) for each in (holes, long, none, short)]),
    )  # fmt: skip
    assert sorted(problem.split(":")[0] for problem in told.done.problems) == ["holes", "long", "none", "short"]
    assert look(tmp_path / "target").keys() == {b""}


# -- targets that fail


@pytest.mark.skipif(not IS_ROOT, reason="only root mounts")
def test_a_full_disk_ends_a_restore_which_goes_on_later(client: Client, source: Path, tmp_path: Path) -> None:
    plant(source, {b"more": {b"%03d" % number: noise(20 * KIB, number) for number in range(30)}})
    taken = client.snapshot(source)
    target = tmp_path / "target"
    target.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "none", target], capture_output=True).returncode:
        pytest.skip("mounting is not allowed")
    try:
        with pytest.raises(TargetFull, match="no space is left"):
            restored(client, taken, target, REFUSE)
        kept = sum(seen.size for seen in look(target).values())
        assert kept > 200 * KIB
        subprocess.run(["mount", "-o", "remount,size=4m", "none", target], check=True)
        done = restored(client, taken, target, IF_CHANGED, delete=True).done
        assert done.problems == []
        assert done.bytes < 800 * KIB - kept + 60 * KIB
        assert below(target) == below(source)
    finally:
        subprocess.run(["umount", target], check=True)


def test_somebody_who_may_not_write_is_told_so(client: Client, taken: Taken) -> None:
    with tempfile.TemporaryDirectory(prefix="chunkstore-") as name:
        place = Path(name)
        place.chmod(0o755)
        theirs, target = client.copy(place / "client"), place / "target"
        plant(target, {b"a": {b"file": b"mine"}})
        target.chmod(0o755)
        (target / "a").chmod(0o555)

        def attempt() -> None:
            told = restored(theirs, taken, target, ALWAYS)
            problems = {problem.split(": ")[0] for problem in told.done.problems}
            assert problems == {str(target / name) for name in ("a/file", "b", "big")}, told
            assert all("Permission denied" in problem for problem in told.done.problems)

        if IS_ROOT:
            for path in (place / "client", *(place / "client").rglob("*")):
                os.chown(path, 65534, 65534)
            as_nobody(attempt)
        assert (target / "a" / "file").read_bytes() == b"mine"


def test_an_unreadable_target_is_an_error(client: Client, taken: Taken, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for target in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(TargetError, match="file"):
            restored(client, taken, target, ALWAYS)
